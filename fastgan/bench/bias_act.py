"""What is measured of bias_act, and the same in plain torch, every way that torch is quick at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from fastgan.bench.case import CLAMP, CPU_SHAPES, CUDA_SHAPES, Case, Inputs, Shape
from fastgan.ops import bias_act
from fastgan.ops.bias_act.activations import ACTIVATIONS

SHAPES = {"cpu": CPU_SHAPES, "cuda": CUDA_SHAPES}


def cases(shape: Shape) -> Iterator[Case]:
    """lrelu at [N, C, H, W] with and without bias and clamp; the most telling has both."""
    for kind, bias, clamp in (("lrelu bias clamp", True, CLAMP), ("lrelu bias", True, None), ("lrelu", False, None)):
        yield Case(
            "bias_act",
            kind,
            shape,
            shape,
            lambda i, clamp=clamp: bias_act(i.x, i.b, act="lrelu", clamp=clamp),
            {way: lambda i, function=function: function(i.x, i.b) for way, function in compositions(clamp).items()},
            bias,
            mask_bits=2,
            quick=bias and clamp is not None,
        )


def more_cases(shape: Shape) -> Iterator[Case]:
    """Every other activation, for calibration: what has a kink there, and what is smooth, of which swish is timed."""
    for act, formula in ACTIVATIONS.items():
        if act != "lrelu":
            yield Case(
                "bias_act",
                f"{act} bias",
                shape,
                shape,
                lambda i, act=act: bias_act(i.x, i.b, act=act),
                {"silu": _silu} if act == "swish" else {},
                True,
                mask_bits=2 if formula.piecewise_linear else 0,
                quick=act == "swish",
            )


def _silu(i: Inputs) -> Tensor:
    v = i.x if i.b is None else i.x + i.b[:, None, None]
    return F.silu(v) * sqrt(2)


def compositions(clamp: float | None) -> dict[str, Callable[[Tensor, Tensor | None], Tensor]]:
    """Ways to compute clamp(lrelu(x + b) · √2, ±clamp), functions of x [N, C, H, W] and b [C] or None."""

    def bounded(y: Tensor) -> Tensor:
        return y if clamp is None else y.clamp(-clamp, clamp)

    def plus(x: Tensor, b: Tensor | None) -> Tensor:
        return x if b is None else x + b[:, None, None]

    def maximum(x: Tensor, b: Tensor | None) -> Tensor:
        v = plus(x, b) * sqrt(2)
        return bounded(torch.maximum(v, v * 0.2))

    return {
        "leaky_relu": lambda x, b: bounded(F.leaky_relu(plus(x, b), 0.2) * sqrt(2)),
        "leaky_relu in place": lambda x, b: bounded(F.leaky_relu(plus(x, b) * sqrt(2), 0.2, inplace=True)),
        "prelu": lambda x, b: bounded(F.prelu(plus(x, b), x.new_full([1], 0.2)) * sqrt(2)),
        "maximum": maximum,
    }
