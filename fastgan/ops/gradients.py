"""A switch that penalties use: gradients with respect to the input only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

# A plain global, not a ContextVar: CUDA backward runs on another thread.
_skip_depth = 0


@contextmanager
def skip_weight_gradients() -> Iterator[None]:
    """Leave out parameter gradients of our operators in backward passes that run inside.

    `torch.autograd.grad(y, x, create_graph=True)` tells custom operators that every input wants a gradient. A penalty
    on the input gradient wraps that call in this context, so that bias and weight gradients are not computed only to
    be thrown away. The backward pass of the penalty itself runs outside and is not affected.
    """
    global _skip_depth
    _skip_depth += 1
    try:
        yield
    finally:
        _skip_depth -= 1


def weight_gradients_wanted() -> bool:
    """False inside `skip_weight_gradients()`."""
    return _skip_depth == 0
