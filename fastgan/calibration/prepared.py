"""What a trial with its inputs can be asked for, and how exact it must be."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from fastgan.ops import providers
from fastgan.ops.verdicts import Measured

TORCH = "torch"  # the best that plain torch does
_TF32 = 2**-11  # by which rounding to it changes a number at most, as a share of it
TRUSTED = ("reference", TORCH)  # what the others are measured by: never in need of a proof


class Prepared(Protocol):
    """A trial with its inputs."""

    steps: tuple[str, ...]  # what is compared one after another

    def results(self, form: str, step: str) -> dict[str, Tensor]:
        """What a form computes."""
        ...

    def truth(self, step: str) -> tuple[dict[str, Tensor], float]:
        """What float64 gives, and how far from it the reference is in the trial's dtype; computed once."""
        ...

    def error(self, form: str, step: str, results: dict[str, Tensor]) -> tuple[float, float]:
        """How far the results are from float64, and how far they may be."""
        ...

    def call(self, form: str) -> Any:
        """All that is timed, once; of the form `TORCH` the best composition of torch's operators."""
        ...

    def compositions(self) -> tuple[str, ...]:
        """Ways of plain torch that are no form."""
        ...

    def take(self, composition: str) -> None:
        """Which of them `TORCH` is."""
        ...

    def tensors(self) -> tuple[Tensor, ...]:
        """Images as large as the results."""
        ...

    def measured(self) -> tuple[Measured, str]:
        """What such calls are looked up by, and the form that serves them without measurements."""
        ...


def limit(own: float, x: Tensor, rounded: bool = True) -> float:
    """As far from float64 as the reference is, twice, and the noise of long sums.

    Where products of float32 may be of tf32, cuDNN may have used more bits all the same: it chooses by the sizes.

    Args:
        own: distance of the reference.
        x: an image of the call.
        rounded: whether it has products that may be rounded.
    """
    if rounded and x.is_cuda and providers.fast_products(x):
        own = max(own, _TF32)
    return 2 * own + (1e-12 if x.dtype == torch.float64 else 1e-5)
