"""The loop expresses games it was not written for, takes lazy steps as defined, and leaves broken gradients out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fastgan.losses.objective import Term, lazy_correction
from fastgan.train.game import Game
from fastgan.train.loop import step, train
from fastgan.train.players import Player, adam
from fastgan.train.state import TrainState
from fastgan.train.step import update
from tests.train.games import Points, cyclegan, wgan


def run(state: TrainState, steps: int) -> None:
    for _ in range(steps):
        step(state)


def test_wgan_learns_and_moves_the_critic_five_times():
    state = wgan(n_critic=5)
    players: Any = state.game.players
    critic, g = players
    assert critic.source.drawn == 0
    run(state, 300)
    assert critic.source.drawn == 1500 and g.source.drawn == 300
    assert state.images == 300 * 5 * 32
    assert all(weight.abs().max() <= 0.1 for weight in critic.parameters)
    fakes = state.game.averages["G"].module(torch.randn(2000, 4))
    torch.testing.assert_close(fakes.mean(0), torch.tensor([2.0, -1.0]), rtol=0, atol=0.4)


def test_cyclegan_learns_both_directions():
    state = cyclegan()
    run(state, 400)
    a, b = Points(2000, (1.0, 0.0), 9).next(), Points(2000, (-2.0, 1.0), 10).next()
    G_ab, G_ba = state.game.averages["G_ab"].module, state.game.averages["G_ba"].module
    torch.testing.assert_close(G_ab(a).mean(0), b.mean(0), rtol=0, atol=0.4)
    torch.testing.assert_close(G_ba(b).mean(0), a.mean(0), rtol=0, atol=0.4)
    assert (G_ba(G_ab(a)) - a).abs().mean() < 0.2
    history: Any = state.game.players[1].extras["history_a"]
    assert history.filled > 0


def test_lazy_terms_step_alone_and_are_weighted_by_their_interval():
    calls: list[str] = []
    module = nn.Linear(1, 1, bias=False)

    def main(move):
        calls.append("main")
        return module.weight.sum() * 2

    def lazy(move):
        calls.append("lazy")
        return module.weight.sum() * 5

    terms = (Term("main", main), Term("lazy", lazy, weight=0.5, interval=3))
    player = Player("p", {"m": module}, torch.optim.SGD(module.parameters(), lr=1.0), terms, Points(4, (0, 0), 0))
    state = TrainState(Game((player,), {}, 4))
    before = module.weight.item()
    run(state, 3)
    assert calls == ["main", "lazy", "main", "main"]  # the lazy term is due at step 0
    assert module.weight.item() == pytest.approx(before - 3 * 2 - 0.5 * 3 * 5, abs=1e-5)
    run(state, 1)
    assert calls[4:] == ["main", "lazy"]


def test_lazy_correction_of_adam():
    module = nn.Linear(1, 1)
    terms = (Term("main", lambda move: move.batch), Term("r1", lambda move: move.batch, interval=16))
    assert lazy_correction(terms) == pytest.approx(16 / 17)
    assert lazy_correction(terms[:1]) == 1
    (group,) = adam({"m": module}, terms, 0.002, (0.5, 0.99)).param_groups
    assert float(group["lr"]) == pytest.approx(0.002 * 16 / 17)
    assert group["betas"] == pytest.approx((0.5 ** (16 / 17), 0.99 ** (16 / 17)))


def test_micro_batches_average_to_the_whole_batch():
    seen: list[bool] = []

    def loss_of(module):
        def loss(move):
            seen.append(move.first)
            return module(move.batch).square()

        return loss

    results = []
    for accumulate, batch in ((1, 8), (4, 2)):
        torch.manual_seed(0)
        module = nn.Linear(2, 1)
        player = Player(
            "p",
            {"m": module},
            torch.optim.SGD(module.parameters(), lr=0.1),
            (Term("t", loss_of(module)),),
            Points(8, (1, 2), 0),
            accumulate=accumulate,
        )
        whole = player.source.next()
        update(player, player.terms, list(whole.split(batch)), TrainState(Game((player,), {}, 8)))
        results.append(module.weight.detach())
    torch.testing.assert_close(results[0], results[1])
    assert seen == [True, True, False, False, False]


@pytest.mark.parametrize("optimizer", ["fused adam", "sgd"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_broken_gradients_are_skipped_and_counted(optimizer, bad):
    module = nn.Linear(2, 1)
    factor = torch.tensor(1.0)
    terms = (Term("t", lambda move: module(move.batch) * factor),)
    sgd = torch.optim.SGD(module.parameters(), lr=0.1)
    chosen = adam({"m": module}, terms, 0.1) if optimizer == "fused adam" else sgd
    player = Player("p", {"m": module}, chosen, terms, Points(4, (1, 2), 0))
    state = TrainState(Game((player,), {}, 4))
    step(state)
    before = [p.detach().clone() for p in module.parameters()]
    factor.fill_(bad)
    step(state)
    assert all(torch.equal(p, q) for p, q in zip(module.parameters(), before, strict=True))
    assert state.skipped["p"] == 1
    factor.fill_(1.0)
    step(state)
    assert not torch.equal(next(module.parameters()), before[0])
    assert state.skipped["p"] == 1


def test_only_the_moving_player_collects_gradients():
    state = cyclegan()
    collecting = []
    for player in state.game.players:
        draw = player.source.next

        def drawn(draw=draw):
            collecting.append([{p.requires_grad for p in each.parameters} for each in state.game.players])
            return draw()

        player.source.next = drawn
    run(state, 1)
    assert collecting == [[{True}, {False}], [{False}, {True}]]


def test_ticks_lie_at_multiples_and_stop_is_obeyed():
    state = cyclegan(batch=32)
    ticks: list[int] = []
    assert train(state, 320, 100, lambda s: ticks.append(s.images))
    assert ticks == [128, 224, 320]
    assert not train(state, 10_000, 1000, lambda s: None, should_stop=lambda: state.images >= 640)
    assert state.images == 640
    assert train(state, 640, 100, lambda s: ticks.append(-1))  # nothing left to do
    assert ticks == [128, 224, 320]


def test_players_and_terms_are_checked():
    with pytest.raises(ValueError, match="interval of term 't' must be at least 1, got 0"):
        Term("t", lambda move: move.batch, interval=0)
    module = nn.Linear(1, 1)
    sgd = torch.optim.SGD(module.parameters(), lr=0.1)
    main, lazy = Term("t", lambda move: move.batch), Term("l", lambda move: move.batch, interval=2)
    with pytest.raises(ValueError, match="player 'p' needs a term of interval 1"):
        Player("p", {"m": module}, sgd, (lazy,), Points(1, (0, 0), 0))
    with pytest.raises(ValueError, match="repeats and accumulate must be at least 1, got 0, 1"):
        Player("p", {"m": module}, sgd, (main,), Points(1, (0, 0), 0), repeats=0)
    player = Player("p", {"m": module}, sgd, (main,), Points(1, (0, 0), 0))
    with pytest.raises(ValueError, match="players must have different names, got p, p"):
        Game((player, player), {}, 1)


@pytest.mark.parametrize("stop_at", range(1, 7))
def test_a_stop_leaves_out_no_tick(stop_at):
    seen: list[int] = []
    state = wgan(n_critic=1)  # 32 images a step
    ticks = (6 * 32, 64, lambda state: seen.append(state.images))
    assert train(state, *ticks, should_stop=lambda: state.step == stop_at) == (stop_at == 6)
    assert state.step == stop_at
    train(state, *ticks)
    assert seen == [64, 128, 192]


def test_networks_can_be_trained_by_hand_after_a_step_and_frozen_layers_stay_frozen():
    state = wgan(n_critic=1)
    frozen = state.game.players[1].parameters[0]
    frozen.requires_grad_(False)
    before = [p.clone() for player in state.game.players for p in player.parameters]
    run(state, 2)
    after = [p for player in state.game.players for p in player.parameters]
    assert [p.requires_grad for p in after] == [p is not frozen for p in after]
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [p is frozen for p in after]


def test_a_step_that_raises_leaves_nothing_frozen():
    state = wgan(n_critic=1)
    state.game.players[0].source.next = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        step(state)
    assert all(p.requires_grad for player in state.game.players for p in player.parameters)
