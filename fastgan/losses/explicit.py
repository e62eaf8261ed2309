"""Penalties as one graph: the gradient inside becomes ordinary code of the forward pass."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def explicit(penalty: Callable[..., Tensor], backend: str = "inductor") -> Callable[..., Tensor]:
    """The penalty compiled, with the gradient that it takes written out, so that autograd differentiates it once.

    torch.compile refuses to differentiate a compiled gradient. Here the gradient is traced with the network it is of,
    operator by operator, and autograd is left with a function of x and the parameters that has a first derivative. It
    serves every network; what a network does beside its result (a moving average) is traced as well. For each shape of
    the arguments it is compiled once, which takes from seconds to minutes.

    Args:
        penalty: (x, *more) -> [N], takes a gradient by x, such as `lambda x, c: R1(Evaluated(x, D(x, c)))`.
        backend: of torch.compile.

    Returns:
        the penalty; x may require a gradient and be part of a graph, else it becomes a leaf of its own.

    Raises:
        RuntimeError: this torch does not trace gradients (before 2.13).
    """
    import torch._dynamo.config as settings  # takes a second

    if not hasattr(settings, "trace_autograd_ops"):
        raise RuntimeError(f"explicit penalties need torch 2.13 or newer, this is {torch.__version__}")
    compiled = torch.compile(penalty, fullgraph=True, dynamic=False, backend=backend)

    def traced(x: Tensor, *more: object) -> Tensor:
        x = x if x.requires_grad else x.detach().requires_grad_(True)
        with settings.patch(trace_autograd_ops=True):  # type: ignore[attr-defined]
            return compiled(x, *more)

    return traced
