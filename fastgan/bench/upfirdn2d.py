"""What is measured of upfirdn2d."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from torch import Tensor

from fastgan.bench.case import CPU_SHAPES, CUDA_SHAPES, Case, Inputs, Shape
from fastgan.bench.upfirdn2d_compositions import COMPOSITIONS, Composition
from fastgan.ops import upfirdn2d

SHAPES = {"cpu": CPU_SHAPES, "cuda": CUDA_SHAPES}
# kind -> arguments of upfirdn2d with the filter [1, 3, 3, 1]; x and y keep to the resolution that is the larger.
RESAMPLING: dict[str, dict] = {
    "up 2": {"up": 2, "padding": [2, 1, 2, 1], "gain": 4},
    "down 2": {"down": 2, "padding": 1},
    "filter": {"padding": [2, 1, 2, 1]},
}


def cases(shape: Shape) -> Iterator[Case]:
    """Up, down and in place, with a separable filter and a full one."""
    half = (*shape[:2], shape[2] // 2, shape[3] // 2)
    shapes = {"up 2": (half, shape), "down 2": (shape, half), "filter": (shape, shape)}
    for separable in (True, False):
        for kind, arguments in RESAMPLING.items():
            yield Case(
                "upfirdn2d",
                f"{kind} {'separable' if separable else 'full'}",
                *shapes[kind],
                lambda i, arguments=arguments: upfirdn2d(i.x, i.f, **arguments),
                {way: partial(_of_x, function) for way, function in COMPOSITIONS[kind].items()},
                separable=separable,
                quick=separable,
            )


def _of_x(function: Composition, inputs: Inputs) -> Tensor:
    return function(inputs.x)
