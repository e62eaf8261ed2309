"""What is measured: calls of the operators as StyleGAN2's layers make them, the most telling first."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice, zip_longest

from torch import Tensor

from fastgan.bench import compositions
from fastgan.bench.case import CLAMP, Case, Inputs, Shape
from fastgan.bench.layers import layer_cases
from fastgan.bench.options import OPS
from fastgan.ops import bias_act, upfirdn2d

# Images at the layers of StyleGAN2 with base 32768 and at most 512 channels, four a GPU; by resolution.
CUDA_SHAPES: list[Shape] = [(4, min(32768 // res, 512), res, res) for res in (256, 1024, 512)]
CPU_SHAPES: list[Shape] = [(8, 64, 64, 64), (2, 32, 256, 256)]
# Layers of StyleGAN2 256² with base 16384, 16 images, and of 1024² with base 32768, four: those of 512 channels are
# bound by products, or at 16² by too few of them, those of 64 and 32 by memory.
CUDA_LAYERS: list[Shape] = [
    (16, 512, 32, 32),
    (16, 64, 256, 256),
    (4, 32, 1024, 1024),
    (4, 512, 64, 64),
    (16, 512, 16, 16),
]
CPU_LAYERS: list[Shape] = [(4, 128, 64, 64), (8, 256, 16, 16)]

# kind -> arguments of upfirdn2d with the filter [1, 3, 3, 1]; x and y keep to the resolution that is the larger.
RESAMPLING: dict[str, dict] = {
    "up 2": {"up": 2, "padding": [2, 1, 2, 1], "gain": 4},
    "down 2": {"down": 2, "padding": 1},
    "filter": {"padding": [2, 1, 2, 1]},
}


def _bias_act_cases(shape: Shape) -> Iterator[Case]:
    for kind, bias, clamp in (("lrelu bias clamp", True, CLAMP), ("lrelu bias", True, None), ("lrelu", False, None)):
        ways = compositions.bias_act_lrelu(clamp)
        yield Case(
            "bias_act",
            kind,
            shape,
            shape,
            lambda i, clamp=clamp: bias_act(i.x, i.b, act="lrelu", clamp=clamp),
            {way: lambda i, function=function: function(i.x, i.b) for way, function in ways.items()},
            bias,
            mask_bits=2,
        )


def _upfirdn2d_cases(shape: Shape) -> Iterator[Case]:
    half = (*shape[:2], shape[2] // 2, shape[3] // 2)
    shapes = {"up 2": (half, shape), "down 2": (shape, half), "filter": (shape, shape)}
    for separable in (True, False):
        for kind, arguments in RESAMPLING.items():
            yield Case(
                "upfirdn2d",
                f"{kind} {'separable' if separable else 'full'}",
                *shapes[kind],
                lambda i, arguments=arguments: upfirdn2d(i.x, i.f, **arguments),
                {way: partial(_of_x, function) for way, function in compositions.UPFIRDN2D[kind].items()},
                separable=separable,
            )


def _of_x(function: compositions.Composition, inputs: Inputs) -> Tensor:
    return function(inputs.x)


_CASES = {
    "bias_act": (_bias_act_cases, CPU_SHAPES, CUDA_SHAPES),
    "upfirdn2d": (_upfirdn2d_cases, CPU_SHAPES, CUDA_SHAPES),
    "conv2d_layer": (layer_cases, CPU_LAYERS, CUDA_LAYERS),
}


def cases(device: str, ops: tuple[str, ...] = OPS, quick: bool = False) -> list[Case]:
    """What is measured on a device, the most telling first.

    Args:
        device: "cpu" or "cuda".
        ops: names of operators.
        quick: the first shape alone, and one form of each operator's arguments: bias_act with all of them, upfirdn2d
            with a separable filter; every kind of layer.
    """
    by_shape = zip_longest(
        *(
            [list(made(shape)) for shape in (on_cuda if device == "cuda" else on_cpu)]
            for op, (made, on_cpu, on_cuda) in _CASES.items()
            if op in ops
        ),
        fillvalue=[],
    )
    every = [case for of_ops in islice(by_shape, 1 if quick else None) for some in of_ops for case in some]
    return [
        case
        for case in every
        if not quick or case.kind == "lrelu bias clamp" or case.separable or case.op == "conv2d_layer"
    ]
