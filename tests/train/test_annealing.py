"""Rates that go along half a cosine from where they begin to where they end."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fastgan.config.options import AdversarialOptions
from fastgan.models.r3gan import R3GANOptions
from fastgan.train.ema import Ema
from fastgan.train.games.annealing import half_life
from fastgan.train.graphs import Graphs
from fastgan.train.loop import step
from fastgan.train.schedule import half_cosine
from fastgan.train.state import TrainState
from tests.train.recorded import Tapes
from tests.train.test_state import dcgan_game, r3gan_game


def rates(state: TrainState) -> dict[str, list[float]]:
    """What the next update of each player would use: learning rate, β₂, weights of the penalties."""
    found = {}
    for player in state.game.players:
        (group,) = player.optimizer.param_groups
        weights = [float(term.weight) for term in player.terms[1:]]
        found[player.name] = [float(group["lr"]), group["betas"][1], *weights]
    return found


def test_half_a_cosine():
    course = half_cosine(1.0, 0.2, 1000)
    assert [course(images) for images in (0, 500, 1000, 10**6)] == pytest.approx([1.0, 0.6, 0.2, 0.2])
    assert course(1000) == 0.2
    assert course(250) == pytest.approx(0.2 + 0.8 * (1 + 0.5**0.5) / 2)
    assert half_cosine(1.0, 0.2, 0)(0) == 0.2  # no burn-in


@pytest.mark.parametrize(("images", "share"), [(0, 1.0), (16, 0.5), (32, 0.0), (100, 0.0)])
def test_rates_follow_the_images_seen(images, share):
    """A share of what was first, the rest of what is last: 2e-4 and 5e-5, 0.9 and 0.99, γ/2 and a tenth of it."""
    state = r3gan_game(burn_in=0.032, penalties={"r1": (2.0, 1), "r2": (4.0, 1)})
    state.images = images
    step(state)
    lr, beta2 = 5e-5 + 1.5e-4 * share, 0.99 - 0.09 * share
    gamma = 0.1 + 0.9 * share
    expected = {"G": [lr, beta2], "D": [lr, beta2, gamma, 2 * gamma]}
    assert {name: pytest.approx(values, rel=1e-6) for name, values in expected.items()} == rates(state)
    told = state.statistics.means()
    assert told["lr/G"] == pytest.approx(lr) and told["beta2/D"] == pytest.approx(beta2)
    assert told["weight/r1"] == pytest.approx(gamma) and told["weight/r2"] == pytest.approx(2 * gamma)


def test_lazy_penalties_correct_the_rates_from_first_to_last():
    state = r3gan_game(burn_in=0.032, penalties={"r1": (2.0, 3), "r2": (4.0, 1)})
    for images, lr, beta2 in ((0, 2e-4, 0.9), (32, 5e-5, 0.99)):
        state.images = images
        step(state)
        assert rates(state)["D"][:2] == pytest.approx([lr * 3 / 4, beta2 ** (3 / 4)])
        assert rates(state)["G"][:2] == pytest.approx([lr, beta2])


def test_adam_averages_by_the_scheduled_decay():
    state = r3gan_game(burn_in=0.008)  # two steps
    optimizer = state.game.players[0].optimizer
    seen: list[Any] = []
    optimizer.register_step_pre_hook(lambda *_: seen.append([p.grad.clone() for p in state.game.players[0].parameters]))
    for _ in range(3):
        step(state)
    expected = [torch.zeros_like(gradient) for gradient in seen[0]]
    for beta2, gradients in zip((0.9, 0.945, 0.99), seen, strict=True):
        expected = [beta2 * v + (1 - beta2) * g.square() for v, g in zip(expected, gradients, strict=True)]
    found = [optimizer.state[p]["exp_avg_sq"] for p in state.game.players[0].parameters]
    torch.testing.assert_close(found, expected)


def test_a_penalty_counts_by_its_scheduled_weight():
    """Twice the weight at the end of a burn-in that halves it: the same gradients as without any."""
    found = []
    for gamma, end in ((4.0, 0.5), (2.0, 1.0)):
        torch.manual_seed(3)
        state = r3gan_game(burn_in=0.004, penalty_end=end, penalties={"r1": (gamma, 1), "r2": (gamma, 1)})
        state.images = 4
        step(state)
        found.append([p.grad for p in state.game.players[1].parameters])
    torch.testing.assert_close(*found, rtol=0, atol=0)


def test_the_average_forgets_the_beginning():
    options = R3GANOptions(kimg=1.0, burn_in=0.1, ema_kimg=0.04, ema_start=0.02)
    schedule = Ema(torch.nn.Linear(1, 1), half_life(options), options.ema_rampup).schedule(10)
    for images, expected in ((0, 20.0 + 20 * (1 - 0.95105652) / 2), (40, 30.0), (90, 40.0), (500, 40.0)):
        assert schedule.at(images) == pytest.approx(1 - 0.5 ** (10 / expected))


def test_other_games_stay_as_they_are():
    state = dcgan_game()
    assert len(state.game.schedules) == 1  # that of the average
    assert half_life(AdversarialOptions(ema_kimg=2.0)) == 2000.0


def test_a_resumed_run_follows_its_schedules():
    """In the middle of the burn-in: what the schedules write is what the restored optimizers read."""
    whole = r3gan_game(burn_in=0.1)
    for _ in range(3):
        step(whole)
    tree = whole.capture()
    resumed = r3gan_game(burn_in=0.1)
    step(resumed)  # its optimizers have state of their own
    fresh = r3gan_game(burn_in=0.1)
    for state in (resumed, fresh):
        state.restore(tree)
    for state in (whole, resumed, fresh):
        step(state)
    assert rates(whole) == rates(resumed) == rates(fresh)
    ends = ((2e-4, 5e-5), (0.9, 0.99), (0.025, 0.0025), (0.025, 0.0025))
    assert rates(whole)["D"] == pytest.approx([half_cosine(first, last, 100)(12) for first, last in ends])


def test_a_recording_with_other_numbers_of_the_host_is_dropped():
    tapes = Tapes()
    graphs, done = Graphs(tapes), torch.zeros([])
    for constants in [1.0] * 5 + [2.0] * 6:
        graphs("add", lambda _, constants=constants: done.add_(constants), [], constants)
    assert tapes.recorded == 2 and done == 5 * 1.0 + 6 * 2.0
    assert len(graphs._recordings) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"burn_in": -1.0}, "burn_in must be a number of at least 0, got -1.0"),
        ({"beta2_end": 1.0}, r"beta2_end must be a number in \[0, 1\), got 1.0"),
        ({"beta2_end": 1.5}, r"beta2_end must be a number in \[0, 1\), got 1.5"),
        ({"lr_end": "slow"}, "lr_end must be a number of at least 0, got 'slow'"),
        ({"penalty_end": float("nan")}, "penalty_end must be a number of at least 0, got nan"),
        ({"ema_start": None}, "ema_start must be a number of at least 0, got None"),
    ],
)
def test_impossible_options_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        R3GANOptions(**changes)


def test_the_burn_in_is_a_tenth_of_the_run_unless_told():
    assert R3GANOptions(kimg=200.0).burn_in_images() == 20_000
    assert R3GANOptions(kimg=200.0, burn_in=3.0).burn_in_images() == 3000
