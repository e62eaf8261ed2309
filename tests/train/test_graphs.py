"""Updates replayed from a recording are the updates, and nothing in a step keeps them from being recorded."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fastgan.choices import imported
from fastgan.config.options import replace
from fastgan.data import ImageDataset
from fastgan.models.registry import build, family
from fastgan.ops import provider
from fastgan.train.game import Game
from fastgan.train.graphs import Graphs, graphs_on
from fastgan.train.loop import step
from fastgan.train.state import TrainState
from tests.train.recorded import Tapes

STYLED = {"resolution": 16, "channel_base": 64, "channel_max": 8, "z_dim": 8, "w_dim": 8, "mapping_layers": 2}
TRANSLATING = {"resolution": 16, "channel_base": 4, "d_channel_base": 4, "receptive_field": 16}
ALL_PENALTIES = {"r1": (1.0, 2), "r2": (1.0, 1), "wgan-gp": (1.0, 1), "wgan-lp": (1.0, 3), "dragan": (1.0, 3)}
GAMES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "stylegan2": ("stylegan2", STYLED, {"pl_interval": 3, "penalties": {"r1": (1.0, 2)}}),
    "labels": ("stylegan2", STYLED | {"num_classes": 3}, {"batch_gpu": 4, "penalties": {"r1": (1.0, 1)}}),
    "penalties": ("stylegan2", STYLED, {"penalties": ALL_PENALTIES, "augment": "blur", "d_repeats": 2}),
    "stylegan3-t": ("stylegan3-t", STYLED | {"layers": 4}, {"augment": "instance-noise"}),
    "ada": ("stylegan2", STYLED, {"augment": "ada", "augpipe": "bgcfnc", "ada_kimg": 0.1}),
    "dcgan": ("dcgan", {"resolution": 16, "z_dim": 8, "channel_base": 64}, {}),
    "relativistic": ("dcgan", {"resolution": 16, "z_dim": 8, "channel_base": 64}, {"loss": "relativistic"}),
    "r3gan": ("r3gan", {"resolution": 16, "z_dim": 8, "channel_base": 128}, {"burn_in": 0.03}),
    "pix2pix": ("pix2pix", TRANSLATING, {"batch": 2}),
    "cyclegan": ("cyclegan", TRANSLATING | {"num_blocks": 1}, {"batch": 2, "buffer": 3}),
}


def game_of(name: str, device: str = "cpu") -> Game:
    torch.manual_seed(0)
    model, architecture, training = GAMES[name]
    chosen = family(model)
    networks = dict(zip(chosen.networks, build(model, **architecture)[1:], strict=True))
    for network in networks.values():
        network.to(device)
    options = replace(chosen.options(), "training", **{"batch": 8, "kimg": 1, "tick": 1} | training)
    generator = torch.Generator().manual_seed(1)

    def images() -> ImageDataset:
        pixels = torch.randint(0, 256, (24, 16, 16, 3), dtype=torch.uint8, generator=generator)
        return ImageDataset(pixels, labels=torch.arange(24) % 3, class_names=tuple("xyz"))

    fields = {"images": ["image"]}.get(chosen.data, ["a", "b"])
    sets = {field: images() if architecture.get("num_classes") else images().unlabelled() for field in fields}
    return imported(chosen.play)(networks, options, sets, torch.device(device))


def trained(name: str, steps: int, graphs: Graphs, beginning: dict | None = None) -> tuple[dict, dict[str, float]]:
    torch.set_num_threads(1)
    state = TrainState(game_of(name), graphs=graphs)
    torch.manual_seed(2)
    if beginning is not None:
        state.restore(beginning)
    for _ in range(steps):
        step(state)
    return state.capture(), state.statistics.means()


def assert_same(a: Any, b: Any, where: str = "") -> None:
    if isinstance(a, Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_same(a[key], b[key], f"{where}/{key}")
    else:
        assert a == b, where


@pytest.mark.parametrize("name", GAMES)
def test_a_replayed_training_is_the_training(name):
    """Every tensor of the state, random numbers of noise and augmentations included, and every statistic."""
    tapes = Tapes()
    graphs = Graphs(tapes)
    replayed, means = trained(name, 12, graphs)
    assert graphs.notes == [] and tapes.recorded >= 3
    expected, expected_means = trained(name, 12, Graphs())
    assert_same(replayed, expected)
    assert means == expected_means


@pytest.mark.parametrize("name", ["labels", "penalties", "cyclegan"])
def test_a_replayed_training_that_is_resumed_is_the_training(name):
    """Off the intervals of lazy terms; nothing is recorded at first, as in a process of its own."""
    half, _ = trained(name, 7, Graphs(Tapes()))
    resumed, _ = trained(name, 6, Graphs(Tapes()), half)
    assert_same(resumed, trained(name, 13, Graphs())[0])


@pytest.mark.parametrize("name", GAMES)
def test_nothing_in_a_step_asks_the_device(name, monkeypatch):
    """On the meta device a value cannot be read, and a tensor of another device cannot take part."""
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: None)  # torch's fused step knows no meta device
    state = TrainState(game_of(name, "meta"))
    for _ in range(3):
        step(state)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["stylegan2", "stylegan3-t", "cyclegan"])
@pytest.mark.parametrize("by", ["native"])
def test_updates_replayed_on_a_gpu_are_the_updates(gpu, by, name):
    """64 steps, in which every update is recorded and replayed; sums on a GPU may differ in their last digits."""
    device, states = torch.device("cuda"), []
    for wanted in (False, True):
        with provider(by):
            state = TrainState(game_of(name, "cuda"), graphs=graphs_on(device, wanted))
            torch.manual_seed(2)
            for _ in range(64):
                step(state)
        assert state.graphs.notes == []
        states.append(state)
    assert states[1].graphs._recordings and not states[0].graphs._recordings
    for eager, replayed in zip(*(state.statistics.means().items() for state in states), strict=True):
        assert replayed[0] == eager[0] and replayed[1] == pytest.approx(eager[1], rel=0.05, abs=0.05)


def test_noise_differs_from_replay_to_replay():
    drawn: list[Tensor] = []
    graphs = Graphs(Tapes())
    for _ in range(6):
        batch = {"z": torch.zeros(3)}
        graphs("draw", lambda batches: batches[0].update(noise=batches[0]["z"] + torch.randn(3)), [batch])
        drawn.append(batch["noise"].clone())
    assert len({tuple(each.tolist()) for each in drawn}) == 6


def test_batches_of_another_layout_are_recorded_apart():
    tapes, seen = Tapes(), torch.zeros(2)
    graphs = Graphs(tapes)
    for size in (1, 2) * 6:
        graphs("count", lambda batches: seen[len(batches[0]) - 1].add_(batches[0].sum()), [torch.ones(size)])
    assert seen.tolist() == [6.0, 12.0] and tapes.recorded == 2


def test_what_cannot_be_recorded_is_done_as_it_stands_and_told():
    graphs, total = Graphs(Tapes()), torch.zeros([])

    def work(batches):
        if batches[0].sum() > 0:  # a branch on a tensor's value
            total.add_(1)

    for _ in range(8):
        graphs("branch", work, [torch.ones(2)])
    assert total.item() == 8
    assert graphs.notes == [
        "branch is not replayed as a CUDA graph: aten._local_scalar_dense.default waits for the device"
    ]


def test_a_restored_state_is_recorded_anew():
    tapes = Tapes()
    state = TrainState(game_of("dcgan"), graphs=Graphs(tapes))
    for _ in range(5):
        step(state)
    tree, recorded = state.capture(), tapes.recorded
    tree["emas"] = {name: average.module.state_dict() for name, average in state.game.averages.items()}
    state.restore(tree)
    for _ in range(5):
        step(state)
    assert tapes.recorded == 2 * recorded
