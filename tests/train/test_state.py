"""A run that is saved, rebuilt and resumed goes on bit for bit as one that was not."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from fastgan.checkpoint import load_checkpoint, save_checkpoint
from fastgan.data import Batches, ImageDataset
from fastgan.models.registry import build
from fastgan.train.gan import two_player_game
from fastgan.train.loop import step
from fastgan.train.options import TrainingOptions
from fastgan.train.state import TrainState
from tests.train.games import cyclegan, wgan


def stylegan2_game(**changes) -> TrainState:
    images = torch.randint(0, 256, (11, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    dataset = ImageDataset(images, torch.arange(11) % 3, ("a", "b", "c"))
    options = TrainingOptions(
        batch=4, r1_gamma=0.5, r1_interval=3, pl_weight=2.0, pl_interval=2, mirror=True, kimg=1, tick=1
    )
    options = dataclasses.replace(options, **changes)
    architecture = {"resolution": 16, "num_classes": 3, "channel_base": 64, "channel_max": 8, "z_dim": 8, "w_dim": 8}
    _, G, D = build("stylegan2", mapping_layers=2, **architecture)
    if options.channels_last:
        G, D = G.to(memory_format=torch.channels_last), D.to(memory_format=torch.channels_last)
    layout = {"mirror": options.mirror, "channels_last": options.channels_last}
    source = Batches(dataset, options.micro_batch, seed=0, **layout)
    return two_player_game(G, D, options, source, torch.device("cpu"))


def dcgan_game() -> TrainState:
    images = torch.randint(0, 256, (7, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    options = TrainingOptions(batch=3, betas=(0.5, 0.999), kimg=1, tick=1)
    _, G, D = build("dcgan", resolution=32, channel_base=128, channel_max=16, z_dim=8)
    return two_player_game(G, D, options, Batches(ImageDataset(images), 3, seed=0), torch.device("cpu"))


GAMES = {
    "stylegan2": stylegan2_game,
    "stylegan2-accumulating": lambda: stylegan2_game(batch_gpu=2),
    "stylegan2-contiguous": lambda: stylegan2_game(channels_last=False),
    "stylegan2-d-twice": lambda: stylegan2_game(d_repeats=2),
    "dcgan": dcgan_game,
    "wgan": wgan,
    "cyclegan": cyclegan,
}


def flatten(tree, prefix=""):
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from flatten(value, f"{prefix}/{key}")
    else:
        yield prefix, tree


def assert_same(a: TrainState, b: TrainState) -> None:
    mine, theirs = dict(flatten(a.capture())), dict(flatten(b.capture()))
    assert mine.keys() == theirs.keys()
    for key, value in mine.items():
        same = torch.equal(value, theirs[key]) if isinstance(value, torch.Tensor) else value == theirs[key]
        assert same, key


@pytest.mark.parametrize("steps", [1, 5, 6])  # before, off and on the lazy boundaries; batches cross an epoch's end
@pytest.mark.parametrize("game", GAMES.values(), ids=GAMES)
def test_resume_is_exact(game, steps, tmp_path):
    torch.manual_seed(1)
    whole = game()
    for _ in range(steps):
        step(whole)
    save_checkpoint(tmp_path / "c.safetensors", whole.capture(), metadata={})
    for _ in range(4):
        step(whole)
    torch.manual_seed(2)  # other weights and random numbers, all to be overwritten
    resumed = game()
    resumed.restore(load_checkpoint(tmp_path / "c.safetensors")[0])
    for _ in range(4):
        step(resumed)
    assert_same(whole, resumed)
    assert whole.statistics.means() == resumed.statistics.means()


def test_another_game_is_refused():
    with pytest.raises(ValueError, match=r"the checkpoint holds players \['G', 'critic'\], this run has \['D', 'G'\]"):
        cyclegan().restore(wgan().capture())


def test_training_changes_every_parameter():
    state = stylegan2_game()
    before = [[p.detach().clone() for p in player.parameters] for player in state.players]
    for _ in range(2):
        step(state)
    for player, old in zip(state.players, before, strict=True):
        for p, q in zip(player.parameters, old, strict=True):
            assert not torch.equal(p, q), f"{player.name}: a parameter of shape {list(p.shape)} has not moved"


def test_moving_average_of_w_follows_the_discriminator_step_once():
    state = stylegan2_game(batch_gpu=2)
    G = state.players[0].modules["G"]
    calls = []
    original = G.forward
    G.forward = lambda *args, **kwargs: calls.append(kwargs.get("update_emas", False)) or original(*args, **kwargs)
    step(state)
    assert calls == [False, False, True, False]  # G's two micro-batches, then D's


def test_impossible_games_are_refused():
    with pytest.raises(ValueError, match="pl_weight must be 0 for a generator without mapping and synthesis, got 2.0"):
        options = TrainingOptions(batch=3, pl_weight=2.0)
        _, G, D = build("dcgan", resolution=32, channel_base=128, channel_max=16)
        two_player_game(G, D, options, None, torch.device("cpu"))
    with pytest.raises(ValueError, match="r1_gamma must be 0 for a discriminator with batch normalisation"):
        two_player_game(G, D, TrainingOptions(batch=3, r1_gamma=1.0), None, torch.device("cpu"))
