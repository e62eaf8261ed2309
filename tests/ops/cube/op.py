"""cube, an operator that nobody needs: public function, checks, torch operators with their derivatives, description.

Written by the section "Adding an operator" of CONTRIBUTING.md, outside of the package.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fastgan.ops import providers
from fastgan.ops.arguments import check_dense, number
from fastgan.ops.gradients import needed
from fastgan.ops.operator import OPERATORS, Operator
from fastgan.ops.registration import register
from tests.ops.cube.reference import cube_reference

BLOCK = 1024


def cube(x: Tensor, gain: float = 1) -> Tensor:
    """y = gain·x³.

    Args:
        x: any shape, float64 or float32; copied to contiguous where it is not.
        gain: factor of the result.

    Returns:
        Shape and dtype of x.

    Raises:
        TypeError, ValueError: an argument that does not fit, named.

    Gradients: any order.
    Keeps for backward: x.
    """
    check_dense("x", x)
    gain = number("gain", gain)
    provider = providers.choose("cube", x.device.type, x.dtype)
    if provider == "reference":
        return cube_reference(x, gain)
    return OPERATORS["cube"].registered[provider].forward(x.contiguous(), gain)


class Cube:
    """Forward and backward of one provider; the second derivative is composed of torch's operators."""

    def __init__(self, provider: str, kernels: Mapping[str, str]):
        self.forward = register(
            f"cube_{provider}",
            "(Tensor x, float gain) -> Tensor",
            lambda x, gain: torch.empty_like(x),
            self._save,
            self._forward_backward,
        )
        self._backward = register(
            f"cube_backward_{provider}",
            "(Tensor dy, Tensor x, float gain) -> Tensor",
            lambda dy, x, gain: torch.empty_like(x),
            self._save,
            self._backward_backward,
        )

    @staticmethod
    def _save(ctx, inputs, output):
        *tensors, ctx.gain = inputs
        ctx.save_for_backward(*tensors)

    def _forward_backward(self, ctx, dy):
        return self._backward(dy.contiguous(), *ctx.saved_tensors, ctx.gain), None

    def _backward_backward(self, ctx, ddx):
        (dy, x), needs = ctx.saved_tensors, needed(ctx)
        ddy = self._backward(ddx.contiguous(), x, ctx.gain) if needs[0] else None
        return ddy, 6 * ctx.gain * x * dy * ddx if needs[1] else None, None


def _launch_forward(x: Tensor, gain: float) -> Tensor:
    kernels: Any = importlib.import_module("tests.ops.cube.kernels")
    y = torch.empty_like(x)
    kernels.cube_forward_kernel[(-(-x.numel() // BLOCK),)](x, y, gain, x.numel(), BLOCK=BLOCK)
    return y


def _launch_backward(dy: Tensor, x: Tensor, gain: float) -> Tensor:
    kernels: Any = importlib.import_module("tests.ops.cube.kernels")
    dx = torch.empty_like(x)
    kernels.cube_backward_kernel[(-(-x.numel() // BLOCK),)](dy, x, dx, gain, x.numel(), BLOCK=BLOCK)
    return dx


OPERATORS["cube"] = Operator(
    "cube",
    lambda: cube(torch.linspace(-1, 1, 30), gain=2.0),
    kernels=("triton",),
    register=Cube,
    triton={"cube": _launch_forward, "cube_backward": _launch_backward},
    bench="tests.ops.cube.bench",
)
