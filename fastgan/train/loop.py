"""The training loop: players move in turn. No model is named here; every GAN is a configuration of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from fastgan.train.state import TrainState
from fastgan.train.step import others_frozen, update


def train(
    state: TrainState,
    total_images: int,
    tick_images: int,
    on_tick: Callable[[TrainState], None],
    should_stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Step until `total_images` have been seen.

    Args:
        state: where to start; advanced in place.
        total_images: real images after which to end.
        tick_images: images between calls of on_tick, which is also called at the end. Ticks lie at multiples of this
            number, whether or not the run was interrupted.
        on_tick: statistics, grids, checkpoints.
        should_stop: asked after every step; True ends the loop with the step, and its tick if one is due, complete.

    Returns:
        True if total_images was reached, False if should_stop ended it.
    """
    while state.images < total_images:
        step(state)
        before = state.images - state.game.images_per_step
        if state.images // tick_images > before // tick_images or state.images >= total_images:
            on_tick(state)
        if should_stop():
            return state.images >= total_images
    return True


def step(state: TrainState) -> None:
    """One training step: every player makes its updates in turn, then the moving averages follow."""
    game, ranks = state.game, state.ranks
    if ranks is not None:
        ranks.begin_step()
    for schedule in game.schedules:
        value = schedule.set(state.images)
        if schedule.name is not None:
            state.statistics.report(schedule.name, torch.tensor(value, dtype=torch.float64, device="cpu"))
    for player in game.players:
        with others_frozen(player, game.players):
            for _ in range(player.repeats):
                batches = [player.source.next() for _ in range(player.accumulate)]
                for terms in player.stages(state.step):
                    stage = f"{player.name}, {terms[0].name}"
                    state.graphs(stage, partial(update, player, terms, state=state), batches, player.constants)
    state.step += 1
    state.images += game.images_per_step
    if ranks is not None:
        ranks.end_step(game)
    state.graphs("averages", lambda _: [average.update() for average in game.averages.values()], [])
