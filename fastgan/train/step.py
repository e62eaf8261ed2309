"""The one seam where an update is made: gradients of micro-batches, what is broken left out, the optimizer's step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from fastgan.losses.objective import Move, Term
from fastgan.train.players import Player
from fastgan.train.state import TrainState


@contextmanager
def others_frozen(player: Player, players: Sequence[Player]) -> Iterator[None]:
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


def update(player: Player, terms: Sequence[Term], batches: Sequence[Any], state: TrainState) -> None:
    """One backward pass over the sum of `terms` for each micro-batch, and one optimizer step; of several ranks, on the
    mean of their gradients.

    A NaN or infinite gradient leaves parameters, optimizer and the networks' averages as they were and is counted in
    `state.skipped` and `state.streak`. An optimizer whose step is not fused has the host wait for that.
    """
    before = _flat(state.buffers) if state.buffers else None
    player.optimizer.zero_grad(set_to_none=True)
    trained = [p for p in player.parameters if p.requires_grad]
    for micro, batch in enumerate(batches):
        move = Move(batch, micro == 0, state.statistics.report)
        total = torch.zeros([], device=player.parameters[0].device)
        for term in terms:
            values = term.loss(move)
            state.statistics.report(f"loss/{term.name}", values)
            total = total + values.mean() * (term.weight * term.interval / len(batches))
        if state.ranks is not None and micro == len(batches) - 1:
            state.ranks.overlap(player, terms)
        total.backward(inputs=trained)  # and not of images that a penalty looked at
    if state.ranks is not None:
        state.ranks.reduce(player)
    gradients = [p.grad for p in player.parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if terms[0].interval == 1:
        state.statistics.report(f"gradient/{player.name}", norm)
    broken = (~norm.isfinite()).float()
    state.skipped[player.name] += broken
    state.streak[player.name].add_(1).mul_(broken)
    if before is not None:
        parts = torch.where(broken > 0, before, _flat(state.buffers)).split([b.numel() for b in state.buffers])
        kept = [part.view(buffer.shape) for part, buffer in zip(parts, state.buffers, strict=True)]
        torch._foreach_copy_(state.buffers, kept)  # type: ignore[attr-defined]
    if player.optimizer.defaults.get("fused"):
        # GradScaler's protocol: nothing changes where found_inf is 1, and the host waits for nothing.
        setattr(player.optimizer, "found_inf", broken)  # noqa: B010
        player.optimizer.step()
    elif not broken:
        player.optimizer.step()
    if player.after_update is not None:
        player.after_update()


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    """The numbers of all, in one launch; of several dtypes in one that holds each."""
    return torch.cat([tensor.flatten() for tensor in tensors])
