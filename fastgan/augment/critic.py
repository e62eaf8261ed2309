"""The only way in which a game sees a discriminator: alone, or behind an augmentation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

# A tensor that changes with progress, and its value after so many images; `train.schedule.Schedule` is made of it.
Scheduled = tuple[Tensor, Callable[[int], float]]


class Augment(Protocol):
    """An augmentation, built by a function (options, channels, device): the training options, the channels of each of
    several images that D sees beside each other, and where it works.

    What its next call depends on lies in tensors on the device, changed in place, and in `state_dict`.
    """

    def __call__(self, images: Tensor) -> Tensor:
        """images [N, C, H, W] -> the same shape, differentiable to any order."""
        ...

    def adapt(self, real_logits: Tensor) -> None:
        """Take in real_logits, D's of augmented reals, once for each of D's updates."""
        ...

    def figures(self) -> Mapping[str, Tensor]:
        """name -> what statistics are kept of, 0-dimensional."""
        ...

    def schedules(self) -> tuple[Scheduled, ...]:
        """What changes with progress alone; needs no state."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed run has to bring back."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor], /) -> Any:
        """Bring back a state."""
        ...


class Critic:
    """logits = D(augment(x), c).

    Args:
        D: (x, c) -> logits.
        augment: None for none.
    """

    def __init__(self, D: Callable[[Tensor, Tensor | None], Tensor], augment: Augment | None = None) -> None:
        self.D, self.augment = D, augment

    def __call__(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """x [N, C, H, W] and labels or None -> D's logits."""
        return self.D(x if self.augment is None else self.augment(x), c)

    def of_both(self, a: tuple[Tensor, Tensor | None], b: tuple[Tensor, Tensor | None], group: int):
        """D's logits of two batches of one size, evaluated as one.

        Args:
            a, b: x [N, C, H, W] and labels or None.
            group: samples in a group of D's minibatch statistics, which are strided: sample i of M groups is in group
                i mod M. Of the whole, half of the groups are of a's samples alone, those that they are in by
                themselves, the other half of b's.

        Returns:
            logits of a, and of b.
        """
        groups = len(a[0]) // group

        def in_turns(a: Tensor, b: Tensor) -> Tensor:
            pairs = zip(a.split(groups), b.split(groups), strict=True)
            return torch.cat([part for pair in pairs for part in pair])

        c = None if a[1] is None or b[1] is None else in_turns(a[1], b[1])
        parts = self(in_turns(a[0], b[0]), c).split(groups)
        return torch.cat(parts[::2]), torch.cat(parts[1::2])

    def adapt(self, real_logits: Tensor) -> Mapping[str, Tensor]:
        """Hand real_logits, D's of reals, to the augmentation; its figures."""
        if self.augment is None:
            return {}
        with torch.no_grad():
            self.augment.adapt(real_logits)
        return self.augment.figures()
