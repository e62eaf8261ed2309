"""What is measured: calls of the operators as StyleGAN2's layers make them, their inputs, the bytes they must move."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from fastgan.bench import compositions
from fastgan.ops import bias_act, setup_filter, skip_weight_gradients, upfirdn2d

OPS = ("bias_act", "upfirdn2d")
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32, "fp64": torch.float64}
LAYOUTS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}
DIRECTIONS = ("forward", "forward+backward", "double backward")
CLAMP = 1.76777  # √2 · 20 / 16: between two values that bias_act takes on inputs that are odd sixteenths

# Images at the layers of StyleGAN2 with base 32768 and at most 512 channels, four a GPU; by resolution.
CUDA_SHAPES = {res: (4, min(32768 // res, 512), res, res) for res in (256, 1024, 512)}
CPU_SHAPES = {64: (8, 64, 64, 64), 256: (2, 32, 256, 256)}

# kind -> arguments of upfirdn2d with the filter [1, 3, 3, 1]; x and y keep to the resolution that is the larger.
RESAMPLING: dict[str, dict] = {
    "up 2": {"up": 2, "padding": [2, 1, 2, 1], "gain": 4},
    "down 2": {"down": 2, "padding": 1},
    "filter": {"padding": [2, 1, 2, 1]},
}


@dataclass(frozen=True)
class Inputs:
    """Tensors of one measurement, leaves that want gradients.

    Attributes:
        x: [N, C, H, W].
        b: [C], or None.
        f: filter of upfirdn2d, or None.
        dy: cotangent of y.
        ddx: cotangent of dx.
    """

    x: Tensor
    b: Tensor | None
    f: Tensor | None
    dy: Tensor
    ddx: Tensor

    def double(self) -> Inputs:
        """The same values in float64."""
        tensors = {name: value for name, value in vars(self).items() if value is not None}
        return replace(self, **{name: t.detach().double().requires_grad_(name != "f") for name, t in tensors.items()})


Function = Callable[[Inputs], Tensor]


@dataclass(frozen=True)
class Case:
    """One call of one operator.

    Attributes:
        op: name of the operator.
        kind: what it does there.
        x_shape: [N, C, H, W].
        y_shape: of the result.
        function: the call.
        compositions: the same in plain torch, by way.
        bias: whether there is a b.
        mask_bits: kept an element of x for the backward pass.
        separable: whether f has one axis; None without a filter.
    """

    op: str
    kind: str
    x_shape: tuple[int, int, int, int]
    y_shape: tuple[int, int, int, int]
    function: Function
    compositions: Mapping[str, Function]
    bias: bool = False
    mask_bits: int = 0
    separable: bool | None = None

    @property
    def name(self) -> str:
        return f"{self.op} {self.kind} {'x'.join(map(str, self.x_shape))}"

    def inputs(self, dtype: torch.dtype, layout: str, device: torch.device) -> Inputs:
        """New random inputs.

        Where a mask is kept, x is an odd multiple of 1/16 and b a multiple of 1/8, both within ±4: halves hold their
        sum exactly, and no value lies so near a kink that rounding could put it on the other side.
        """

        def random(shape: tuple[int, ...], mean: float = 0.0) -> Tensor:
            values = torch.randn(shape, device=device).add_(mean)
            if self.mask_bits:
                values = values.mul_(8).round_().clamp_(-31, 31).add_(0.5 if len(shape) == 4 else 0.0).div_(8)
            form = LAYOUTS[layout] if len(shape) == 4 else torch.contiguous_format
            return values.to(dtype).contiguous(memory_format=form).requires_grad_()

        f = None if self.separable is None else setup_filter([1, 3, 3, 1], device=device, separable=self.separable)
        b = random(self.x_shape[1:2]) if self.bias else None
        # dy is 1 on average: a db that sums to nothing would be nothing but rounding errors.
        return Inputs(random(self.x_shape), b, f, random(self.y_shape, 1.0), random(self.x_shape))

    def moved(self, direction: str, dtype: torch.dtype) -> int:
        """Bytes that must be read and written: images, biases and masks once each, filters not counted."""
        size = dtype.itemsize
        x, y = (torch.Size(shape).numel() * size for shape in (self.x_shape, self.y_shape))
        b = self.x_shape[1] * size if self.bias else 0
        mask = (torch.Size(self.x_shape).numel() * self.mask_bits + 7) // 8
        if direction == "forward":
            return x + b + y
        if direction == "forward+backward":
            return (x + b + y + mask) + (y + mask + x + b)
        return (x + b + y + mask) + (y + mask + x) + (x + mask + y)  # x, b -> y; dy -> dx; ddx -> ddy


def run(function: Function, inputs: Inputs, direction: str) -> dict[str, Tensor]:
    """Calls a function once, with its derivatives as `direction` says.

    Returns:
        "forward": y. "forward+backward": y, dx and, with a bias, db. "double backward", as R1 has it: dx, which takes
        no gradient of b, and ddy, the gradient of dx's product with ddx.
    """
    if direction == "forward":
        with torch.no_grad():
            return {"y": function(inputs)}
    y = function(inputs)
    if direction == "forward+backward":
        wanted = {"dx": inputs.x} | ({} if inputs.b is None else {"db": inputs.b})
        return {
            "y": y.detach(),
            **dict(zip(wanted, torch.autograd.grad(y, list(wanted.values()), inputs.dy), strict=True)),
        }
    with skip_weight_gradients():
        (dx,) = torch.autograd.grad(y, inputs.x, inputs.dy, create_graph=True)
    (ddy,) = torch.autograd.grad(dx, inputs.dy, inputs.ddx)
    return {"dx": dx.detach(), "ddy": ddy}


def _bias_act_cases(shape: tuple[int, int, int, int]) -> Iterator[Case]:
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


def _upfirdn2d_cases(shape: tuple[int, int, int, int]) -> Iterator[Case]:
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


def cases(device: str, ops: tuple[str, ...] = OPS, quick: bool = False) -> list[Case]:
    """What is measured on a device, the most telling first.

    Args:
        device: "cpu" or "cuda".
        ops: names of operators.
        quick: the first resolution alone, and one form of each operator's arguments: bias_act with all of them,
            upfirdn2d with a separable filter.
    """
    made = {"bias_act": _bias_act_cases, "upfirdn2d": _upfirdn2d_cases}
    shapes = list((CUDA_SHAPES if device == "cuda" else CPU_SHAPES).values())
    every = [case for shape in shapes[: 1 if quick else None] for op in OPS if op in ops for case in made[op](shape)]
    return [case for case in every if not quick or case.kind == "lrelu bias clamp" or case.separable]
