"""A run that is saved, rebuilt and resumed goes on bit for bit as one that was not."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from fastgan.checkpoint import load_checkpoint, save_checkpoint
from fastgan.config.options import AdversarialOptions, StyledOptions
from fastgan.data import ImageDataset
from fastgan.models.registry import build, family
from fastgan.train.games.noise import play
from fastgan.train.loop import step
from fastgan.train.state import TrainState
from tests.train.games import cyclegan, wgan
from tests.train.translating import paired, unpaired


def stylegan2_game(**changes) -> TrainState:
    images = torch.randint(0, 256, (11, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    dataset = ImageDataset(images, torch.arange(11) % 3, ("a", "b", "c"))
    options = StyledOptions(
        batch=4, penalties={"r1": (0.5, 3)}, pl_weight=2.0, pl_interval=2, mirror=True, kimg=1, tick=1
    )
    options = dataclasses.replace(options, **changes)
    architecture = {"resolution": 16, "num_classes": 3, "channel_base": 64, "channel_max": 8, "z_dim": 8, "w_dim": 8}
    _, G, D = build("stylegan2", mapping_layers=2, **architecture)
    if options.channels_last:
        G, D = G.to(memory_format=torch.channels_last), D.to(memory_format=torch.channels_last)
    return TrainState(play({"G": G, "D": D}, options, {"image": dataset}, torch.device("cpu")))


def dcgan_game(**changes) -> TrainState:
    images = torch.randint(0, 256, (7, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    options = AdversarialOptions(**{"batch": 3, "betas": (0.5, 0.999), "kimg": 1, "tick": 1, **changes})
    _, G, D = build("dcgan", resolution=32, channel_base=128, channel_max=16, z_dim=8)
    return TrainState(play({"G": G, "D": D}, options, {"image": ImageDataset(images)}, torch.device("cpu")))


def r3gan_game(**changes) -> TrainState:
    images = torch.randint(0, 256, (7, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    dataset = ImageDataset(images, torch.arange(7) % 3, ("a", "b", "c"))
    changes = {"batch": 4, "kimg": 1, "tick": 1, "burn_in": 0.03, "ema_start": 0.01} | changes
    _, G, D = build("r3gan", resolution=16, channel_base=128, channel_max=16, z_dim=8, num_classes=3)
    options: Any = family("r3gan").options(**changes)
    return TrainState(play({"G": G, "D": D}, options, {"image": dataset}, torch.device("cpu")))


def stylegan3_game() -> TrainState:
    images = torch.randint(0, 256, (7, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    options: Any = family("stylegan3-r").options(batch=4, batch_gpu=2, kimg=1, tick=1)
    _, G, D = build("stylegan3-r", resolution=16, channel_base=32, channel_max=4, z_dim=8, w_dim=8, layers=3)
    return TrainState(play({"G": G, "D": D}, options, {"image": ImageDataset(images)}, torch.device("cpu")))


GAMES = {
    "stylegan2": stylegan2_game,
    "stylegan2-accumulating": lambda: stylegan2_game(batch_gpu=2),
    "stylegan2-contiguous": lambda: stylegan2_game(channels_last=False),
    "stylegan2-d-twice": lambda: stylegan2_game(d_repeats=2),
    "stylegan2-relativistic": lambda: stylegan2_game(
        loss="relativistic", penalties={"r1": (1.0, 1), "r2": (1.0, 1)}, augment="instance-noise"
    ),
    "stylegan2-ada": lambda: stylegan2_game(augment="ada", augpipe="bgcfnc", ada_kimg=0.05),
    "stylegan2-wgan-gp": lambda: stylegan2_game(loss="wasserstein", penalties={"wgan-gp": (10.0, 1)}, batch_gpu=2),
    "stylegan3-r": stylegan3_game,
    "dcgan": dcgan_game,
    "r3gan": r3gan_game,  # 30 of its at most 40 images are its burn-in
    "r3gan-lazy": lambda: r3gan_game(batch_gpu=2, penalties={"r1": (1.0, 3), "r2": (1.0, 1)}),
    "wgan": wgan,
    "cyclegan": cyclegan,
    "paired": lambda: TrainState(paired(decay=1.0, d_repeats=2, augment="instance-noise")),
    "unpaired": lambda: TrainState(unpaired(batch=4, batch_gpu=2, penalties={"r2": (1.0, 2)})),
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
    before = [[p.detach().clone() for p in player.parameters] for player in state.game.players]
    for _ in range(2):
        step(state)
    for player, old in zip(state.game.players, before, strict=True):
        for p, q in zip(player.parameters, old, strict=True):
            assert not torch.equal(p, q), f"{player.name}: a parameter of shape {list(p.shape)} has not moved"


def test_moving_average_of_w_follows_the_discriminator_step_once():
    state = stylegan2_game(batch_gpu=2)
    G = state.game.players[0].modules["G"]
    calls = []
    original = G.forward
    G.forward = lambda *args, **kwargs: calls.append(kwargs.get("update_emas", False)) or original(*args, **kwargs)
    step(state)
    assert calls == [False, False, True, False]  # G's two micro-batches, then D's


def test_impossible_games_are_refused():
    with pytest.raises(ValueError, match="pl_weight must be 0 for a generator without mapping and synthesis, got 2.0"):
        _, G, D = build("dcgan", resolution=32, channel_base=128, channel_max=16)
        play({"G": G, "D": D}, StyledOptions(batch=3, pl_weight=2.0), {}, torch.device("cpu"))
    with pytest.raises(
        ValueError, match="penalties must be empty for a discriminator with batch normalisation.*got r1"
    ):
        play({"G": G, "D": D}, AdversarialOptions(batch=3, penalties={"r1": (1.0, 16)}), {}, torch.device("cpu"))
