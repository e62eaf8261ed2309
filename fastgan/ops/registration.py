"""Registers an operator with torch: schema, shape function and autograd formula, once for every compiled provider."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.autograd import forward_ad

LIBRARY = torch.library.Library("fastgan", "FRAGMENT")  # held for the life of the process: dropping it unregisters


def transforming() -> bool:
    """True inside torch.func's transforms, whose tensors do not tell whether a gradient is wanted."""
    return not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active()


def register(
    name: str, schema: str, fake: Callable, setup_context: Callable | None = None, backward: Callable | None = None
) -> Callable:
    """Define `fastgan::name` with its fake (shape) function and its autograd formula.

    An operator without `backward` raises when it is differentiated: torch would otherwise return wrong higher
    derivatives with no more than a warning.

    Returns:
        what calls the operator. Eager calls record the same formula themselves and go below the dispatcher's autograd
        layer, which is written in Python and costs more than a small image does.
    """
    LIBRARY.define(name + schema)
    torch.library.register_fake(f"fastgan::{name}", fake, lib=LIBRARY)

    def refuse(ctx, *grads):
        raise RuntimeError(
            f"fastgan::{name} is the last derivative that this operator has; it cannot be differentiated"
        )

    torch.library.register_autograd(f"fastgan::{name}", backward or refuse, setup_context=setup_context, lib=LIBRARY)
    operator = getattr(torch.ops.fastgan, name).default

    def forward(ctx, *inputs):
        with torch._C._AutoDispatchBelowAutograd():
            output = operator(*inputs)
        if setup_context is not None:
            setup_context(ctx, inputs, output)
        return output

    def setup(ctx, inputs, output):
        if setup_context is not None:
            setup_context(ctx, inputs, output)

    def formula(**members):
        return type(name, (torch.autograd.Function,), {"backward": staticmethod(backward or refuse), **members})

    eager = formula(forward=staticmethod(forward))
    transformed = formula(  # for torch.func, which needs the parts one by one
        forward=staticmethod(lambda *inputs: operator(*inputs)),
        setup_context=staticmethod(setup),
        generate_vmap_rule=True,
    )

    def call(*inputs):
        if torch.compiler.is_compiling():
            return operator(*inputs)
        if transforming():
            return transformed.apply(*inputs)
        recorded = torch.jit.is_tracing()  # the operator itself, which has its derivative where the graph runs
        if not recorded and (torch.is_grad_enabled() or forward_ad._current_level >= 0):  # no_grad leaves forward mode
            return eager.apply(*inputs)
        with torch._C._AutoDispatchBelowAutograd():
            return operator(*inputs)

    return call
