"""Random leaves, and a call with its first and second derivatives."""

from __future__ import annotations

import torch

from tests.ops.cases import arranged


def derivatives(call, leaves, dy, ddx=None):
    """y and the gradients of the leaves; with ddx also those of dx's product with it, for dy and the leaves."""
    y = call(*leaves)
    first = torch.autograd.grad(y, leaves, dy, create_graph=ddx is not None)
    if ddx is None:
        return [y.detach(), *first]
    wanted = [dy, *leaves]
    second = torch.autograd.grad(first[0], wanted, ddx, allow_unused=True)
    second = [torch.zeros_like(t) if g is None else g for t, g in zip(wanted, second, strict=True)]
    return [t.detach() for t in (y, *first, *second)]


def random(shape, dtype, memory_format="contiguous"):
    """A leaf on the CPU."""
    return arranged(torch.randn(shape, dtype=torch.float64).to(dtype), memory_format).requires_grad_()
