"""Registers an operator with torch: schema, shape function, autograd formula and batching rule, once for every compiled
provider."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import forward_ad

from fastgan.ops.arguments import stacked, tracing
from fastgan.ops.flops import enter_flops

LIBRARY = torch.library.Library("fastgan", "FRAGMENT")  # held for the life of the process: dropping it unregisters

_BATCHED_BACKWARD: Any = torch._C._parse_dispatch_key("VmapMode")  # not in torch.func, whose vmap is another


def transforming() -> bool:
    """True inside torch.func's transforms, whose tensors do not tell whether a gradient is wanted."""
    return not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active()


def _in_batched_backward() -> bool:
    """True inside `torch.autograd.grad(..., is_grads_batched=True)`, whose tensors hide their batch from us."""
    return torch._C._dispatch_tls_is_dispatch_key_included(_BATCHED_BACKWARD)


def over_samples(operator: Callable, batch_size: int, in_dims: tuple, inputs: tuple) -> tuple:
    """What `operator` gives for every sample of a vmap, stacked: the kernels know one batch axis, which is x's own.

    Args:
        operator: of inputs without the mapped axis, to a tensor or a tuple of tensors.
        batch_size: of the mapped axis.
        in_dims: where each input has it, no int where it has none.
        inputs: of the operator.

    Returns:
        the results, and where they have the axis: in front.
    """

    if batch_size == 0:
        raise ValueError("vmap over an axis of 0 samples leaves an operator nothing to compute; leave the call out")

    def sample(index):
        taken = zip(inputs, in_dims, strict=True)
        return operator(*(value.select(axis, index) if isinstance(axis, int) else value for value, axis in taken))

    results = [sample(index) for index in range(batch_size)]
    if isinstance(results[0], torch.Tensor):
        return stacked(results), 0
    return tuple(stacked(parts) for parts in zip(*results, strict=True)), (0,) * len(results[0])


def register(
    name: str,
    schema: str,
    fake: Callable,
    setup_context: Callable | None = None,
    backward: Callable | None = None,
    flops: Callable | None = None,
) -> Callable:
    """Define `fastgan::name` with its fake (shape) function and its autograd formula.

    An operator without `backward` raises when it is differentiated: torch would otherwise return wrong higher
    derivatives with no more than a warning. `flops` tells of a call, by its arguments, what `flops.enter_flops` wants.

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
    if flops is not None:
        enter_flops(operator.overloadpacket, flops)

    def forward(ctx, *inputs):
        with torch._C._AutoDispatchBelowAutograd():
            output = operator(*inputs)
        if setup_context is not None:
            setup_context(ctx, inputs, output)
        return output

    def setup(ctx, inputs, output):
        if setup_context is not None:
            setup_context(ctx, inputs, output)

    def refuse_tangent(ctx, *tangents):
        raise NotImplementedError(
            f"fastgan::{name} has no derivative in forward mode (torch.func.jvp, jacfwd, hessian, forward_ad): take "
            'reverse mode (vjp, jacrev, torch.autograd.grad), or compute inside fastgan.provider("reference")'
        )

    def formula(**members):
        members |= {"backward": staticmethod(backward or refuse), "jvp": staticmethod(refuse_tangent)}
        return type(name, (torch.autograd.Function,), members)

    def vmap(info, in_dims, *inputs):
        return over_samples(call, info.batch_size, in_dims, inputs)

    eager = formula(forward=staticmethod(forward))
    transformed = formula(  # for torch.func, which needs the parts one by one
        forward=staticmethod(lambda *inputs: operator(*inputs)),
        setup_context=staticmethod(setup),
        vmap=staticmethod(vmap),
    )

    def call(*inputs):
        if torch.compiler.is_compiling():
            return operator(*inputs)
        if transforming():
            return transformed.apply(*inputs)
        recorded = tracing()  # the operator itself, which has its derivative where the graph runs
        if not recorded and (torch.is_grad_enabled() or forward_ad._current_level >= 0):  # no_grad leaves forward mode
            return operator(*inputs) if _in_batched_backward() else eager.apply(*inputs)
        with torch._C._AutoDispatchBelowAutograd():
            return operator(*inputs)

    return call
