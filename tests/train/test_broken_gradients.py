"""Gradients and values that are not finite: what stays as it was, and what is counted."""

from __future__ import annotations

import math

import pytest
import torch

from fastgan.train.loop import step
from fastgan.train.rollback import is_good
from fastgan.train.state import TrainState
from fastgan.train.statistics import Statistics
from tests.train.test_state import GAMES, flatten


def break_latents(state: TrainState) -> None:
    """All that is drawn for generated images is NaN."""
    for player in state.game.players:
        player.source.next = lambda draw=player.source.next: {
            name: each * math.nan if name == "z" else each for name, each in draw().items()
        }


@pytest.mark.parametrize("name", ["stylegan2", "stylegan2-accumulating", "stylegan3-r", "dcgan"])
def test_averages_are_not_poisoned(name) -> None:
    torch.manual_seed(0)
    state: TrainState = GAMES[name]()
    for _ in range(2):
        step(state)
    draws = [player.source.next for player in state.game.players]

    def kept() -> dict[str, torch.Tensor]:
        buffers = {f"buffer {i}": buffer for i, buffer in enumerate(state.buffers)}
        extras = {f"{p.name} {k}": e.state_dict() for p in state.game.players for k, e in p.extras.items()}
        found = buffers | {k: v for k, v in flatten(extras) if isinstance(v, torch.Tensor)}
        return {name: value.clone() for name, value in found.items()}

    before = kept()
    assert len(before) >= 4
    break_latents(state)
    step(state)
    assert all(torch.equal(value, before[name]) for name, value in kept().items())
    assert all(count >= 1 for count in state.streak.values())
    means = state.statistics.means()
    assert all(math.isfinite(means[name]) for name in ("score/real", "loss/D")) and means["nonfinite/loss/G"] > 0
    for player, draw in zip(state.game.players, draws, strict=True):
        player.source.next = draw  # type: ignore[method-assign]
    step(state)
    assert all(count == 0 for count in state.streak.values())
    moved = kept()
    assert any(not torch.equal(value, before[name]) for name, value in moved.items())
    assert is_good(state, state.capture())


def test_without_the_guard_averages_would_be_poisoned() -> None:
    for name in ("stylegan2", "stylegan3-r", "dcgan"):
        state: TrainState = GAMES[name]()
        step(state)
        guarded, state.buffers = state.buffers, []
        break_latents(state)
        step(state)
        assert any(not buffer.isfinite().all() for buffer in guarded), name


def test_images_that_are_not_finite_are_skipped() -> None:
    state: TrainState = GAMES["stylegan2"]()
    step(state)
    (_, D), weights = state.game.players, [p.detach().clone() for p in state.game.players[1].parameters]
    draw = D.source.next
    D.source.next = lambda: {k: v * math.inf if k == "image" else v for k, v in draw().items()}
    skipped = state.skipped["D"].item()
    step(state)
    assert state.skipped["D"] == skipped + 1 and state.skipped["G"] == 0 and state.streak["D"] == 1
    assert all(torch.equal(p, before) for p, before in zip(D.parameters, weights, strict=True))


def test_a_streak_is_of_updates_in_a_row() -> None:
    state: TrainState = GAMES["stylegan2"]()
    draw, healthy = state.game.players[1].source.next, []

    def drawn():
        batch = draw()
        return batch if not healthy else {k: v * math.nan if k == "image" else v for k, v in batch.items()}

    state.game.players[1].source.next = drawn
    streak = state.streak["D"]
    counts = []
    for broken in (False, True, True, False, True):
        healthy[:] = [None] * broken
        step(state)
        counts.append(streak.item())
    assert state.streak["D"] is streak
    # R1 is due at steps 0 and 3 and is an update of its own.
    assert counts == [0, 1, 2, 0, 1] and state.skipped["D"] == 3


def test_values_that_are_not_finite_are_counted_apart() -> None:
    statistics = Statistics()
    statistics.report("a", torch.tensor([1.0, math.nan, 3.0, math.inf]))
    statistics.report("b", torch.tensor(-math.inf))
    saved = statistics.state_dict()
    means = statistics.means()
    assert (means["a"], means["nonfinite/a"], means["nonfinite/b"]) == (2.0, 2.0, 1.0)
    assert math.isnan(means["b"]) and statistics.means() == {}
    statistics.report("a", torch.tensor([5.0]))
    statistics.load_state_dict(saved)
    statistics.report("a", torch.tensor([5.0]))
    means = statistics.means()
    assert (means["a"], means["nonfinite/a"]) == (3.0, 2.0)


def test_statistics_of_an_older_checkpoint_go_on() -> None:
    statistics = Statistics()
    statistics.load_state_dict({"a": torch.tensor([2.0, 6.0], dtype=torch.float64)})
    statistics.report("a", torch.tensor([math.nan, 0.0]))
    assert statistics.means() == {"a": 2.0, "nonfinite/a": 1.0}
