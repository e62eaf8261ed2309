"""The training loop: players move in turn. No model is named here; every GAN is a configuration of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from fastgan.losses.objective import Term
from fastgan.train.players import Player
from fastgan.train.state import TrainState


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
        before = state.images - state.images_per_step
        if state.images // tick_images > before // tick_images or state.images >= total_images:
            on_tick(state)
        if should_stop():
            return state.images >= total_images
    return True


def step(state: TrainState) -> None:
    """One training step: every player makes its updates in turn, then the moving averages follow."""
    for player in state.players:
        with _others_frozen(player, state.players):
            for _ in range(player.repeats):
                batches = [player.source.next() for _ in range(player.accumulate)]
                for terms in player.stages(state.step):
                    update(player, terms, batches, state)
    state.step += 1
    state.images += state.images_per_step
    for ema in state.emas.values():
        ema.update(state.images, state.images_per_step)


@contextmanager
def _others_frozen(player: Player, players: Sequence[Player]) -> Iterator[None]:
    """No gradients for what the other players update; what was frozen before stays so, and nothing else does."""
    own = set(map(id, player.parameters))
    others = [p for other in players for p in other.parameters if p.requires_grad and id(p) not in own]
    for parameter in others:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in others:
            parameter.requires_grad_(True)


def update(player: Player, terms: tuple[Term, ...], batches: list, state: TrainState) -> None:
    """One backward pass over the sum of `terms` and one optimizer step.

    A NaN or infinite gradient leaves parameters and optimizer as they were and is counted in `state.skipped`.
    """
    player.optimizer.zero_grad(set_to_none=True)
    for micro, batch in enumerate(batches):
        total = torch.zeros([], device=player.parameters[0].device)
        for term in terms:
            values = term.loss(batch, micro)
            state.statistics.report(f"loss/{term.name}", values)
            total = total + values.mean() * (term.weight * term.interval / len(batches))
        total.backward()
    gradients = [p.grad for p in player.parameters if p.grad is not None]
    broken = (~torch.nn.utils.get_total_norm(gradients).isfinite()).float()
    state.skipped[player.name] += broken
    if player.optimizer.defaults.get("fused"):
        # GradScaler's protocol: nothing changes where found_inf is 1, and the host waits for nothing.
        setattr(player.optimizer, "found_inf", broken)  # noqa: B010
        player.optimizer.step()
    elif not broken:
        player.optimizer.step()
    if player.after_update is not None:
        player.after_update()
