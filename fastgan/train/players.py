"""Players: who is updated, by which optimizer, against which objective, on which batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fastgan.losses.objective import Term, lazy_correction


class Stateful(Protocol):
    """Anything that resume has to bring back."""

    def state_dict(self) -> dict: ...

    def load_state_dict(self, state: dict, /) -> Any: ...


class Source(Stateful, Protocol):
    """An infinite stream of batches, of whatever type the player's terms expect."""

    def next(self) -> Any: ...


class Shared:
    """The same batches for two players: what the first draws, `follower` gives to the second in the same step.

    Where the second moves more often than the first, it draws further batches of its own.

    Args:
        batches: where they come from.
    """

    def __init__(self, batches: Source) -> None:
        self.batches = batches
        self.waiting: deque[Any] = deque()
        self.follower = _Follower(self)

    def next(self) -> Any:
        """A new batch, which waits for the follower."""
        self.waiting.append(self.batches.next())
        return self.waiting[-1]

    def divide(self, rank: int, world: int) -> None:
        """Draw the batches of one of several ranks."""
        self.batches.divide(rank, world)  # type: ignore[attr-defined]

    def state_dict(self) -> dict:
        """Where the batches stand. Between steps none waits."""
        return self.batches.state_dict()

    def load_state_dict(self, state: dict, /) -> None:
        """Go on from `state_dict`."""
        self.waiting.clear()
        self.batches.load_state_dict(state)


class _Follower:
    def __init__(self, leader: Shared) -> None:
        self.leader = leader

    def next(self) -> Any:
        return self.leader.waiting.popleft() if self.leader.waiting else self.leader.batches.next()

    def divide(self, rank: int, world: int) -> None:
        """Nothing: the leader's is that of both."""

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict, /) -> None:
        """Nothing: the leader's is that of both."""


def adam(
    modules: Mapping[str, nn.Module],
    terms: tuple[Term, ...],
    lr: float,
    betas: tuple[float, float] = (0.0, 0.99),
    eps: float = 1e-8,
) -> torch.optim.Adam:
    """Adam over the modules' parameters, corrected for the extra steps of lazy terms: lr·c, β^c (`lazy_correction`).

    Its learning rate is a tensor on the parameters' device, which a `Schedule` may write into.
    """
    c = lazy_correction(terms)
    parameters = [p for module in modules.values() for p in module.parameters() if p.requires_grad]
    device = parameters[0].device
    # torch's fused step reads float32 on a GPU, any number on a CPU.
    rate = torch.tensor(lr * c, dtype=torch.float64 if device.type == "cpu" else torch.float32, device=device)
    decays, graphs = (betas[0] ** c, betas[1] ** c), device.type == "cuda"
    optimizer = torch.optim.Adam(parameters, lr=lr * c, betas=decays, eps=eps, fused=True, capturable=graphs)
    for group in optimizer.param_groups:
        group["initial_lr"], group["lr"] = lr * c, rate
    return optimizer


@dataclass
class Player:
    """One side of the game.

    Attributes:
        name: key of the player in checkpoints and statistics.
        modules: the networks that its optimizer updates, by name.
        optimizer: over those networks' parameters.
        terms: the objective.
        source: yields one batch per micro-batch.
        repeats: updates per training step (n_critic).
        accumulate: micro-batches per update; gradients are averaged over them. Minibatch statistics (standard
            deviation, batch norm) see one micro-batch at a time.
        extras: named objects with state of their own (a path-length mean, an image buffer), checkpointed as well.
        after_update: called after every optimizer step (weight clipping).
    """

    name: str
    modules: Mapping[str, nn.Module]
    optimizer: torch.optim.Optimizer
    terms: tuple[Term, ...]
    source: Source
    repeats: int = 1
    accumulate: int = 1
    extras: Mapping[str, Stateful] = field(default_factory=dict)
    after_update: Callable[[], None] | None = None

    def __post_init__(self):
        if self.repeats < 1 or self.accumulate < 1:
            raise ValueError(
                f"player {self.name!r}: repeats and accumulate must be at least 1, "
                f"got {self.repeats}, {self.accumulate}"
            )
        if not any(term.interval == 1 for term in self.terms):
            raise ValueError(f"player {self.name!r} needs a term of interval 1")
        self.parameters: list[Tensor] = [p for group in self.optimizer.param_groups for p in group["params"]]

    @property
    def constants(self) -> list[tuple[float, ...]]:
        """What the host hands to the optimizer's step by value: a recording of an update holds it as it was."""
        return [group.get("betas", ()) for group in self.optimizer.param_groups]

    def stages(self, step: int) -> list[tuple[Term, ...]]:
        """The groups of terms due at this step: those of interval 1 together, then those of each longer."""
        due = {term.interval for term in self.terms if step % term.interval == 0}
        return [tuple(term for term in self.terms if term.interval == each) for each in sorted(due)]
