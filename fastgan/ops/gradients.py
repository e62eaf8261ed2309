"""What a backward pass asks an operator for."""

from __future__ import annotations

from typing import Any

import torch


def needed(ctx: Any) -> tuple[bool, ...]:
    """`ctx.needs_input_grad`, less the inputs whose gradient the backward pass that is running leaves unused.

    `torch.autograd.grad(y, x, create_graph=True)`, as penalties call it, goes through every operator between x and y,
    and `needs_input_grad` is true there for parameters also, whose gradients would be computed only to be thrown away.
    The engine knows which nodes a pass will come to: this one, whatever its thread, and whatever others run beside it.
    torch's own operators ask it the same.

    Args:
        ctx: of the backward of a `torch.autograd.Function` or a registered operator, which is running.

    Returns:
        one bool an input.
    """
    nodes = (node for node, _ in ctx.next_functions if node is not None)  # one for each input that needs a gradient
    return tuple(need and _reaches(next(nodes)) for need in ctx.needs_input_grad)


def _reaches(node: Any) -> bool:
    try:
        return torch._C._will_engine_execute_node(node)
    except RuntimeError:  # a leaf whose gradient `torch.autograd.grad` was asked for
        return True
