"""One measurement: a call of an operator, its inputs, its derivatives, and what they must move and multiply."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fastgan.ops import setup_filter

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32, "fp64": torch.float64}
LAYOUTS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}
DIRECTIONS = ("forward", "forward+backward", "double backward")
CLAMP = 1.76777  # √2 · 20 / 16: between two values that bias_act takes on inputs that are odd sixteenths
TAPS = (1, 3, 3, 1)

Shape = tuple[int, int, int, int]
# Images at the layers of StyleGAN2 with base 32768 and at most 512 channels, four a GPU; by resolution.
CUDA_SHAPES: list[Shape] = [(4, min(32768 // res, 512), res, res) for res in (256, 1024, 512)]
CPU_SHAPES: list[Shape] = [(8, 64, 64, 64), (2, 32, 256, 256)]


@dataclass(frozen=True)
class Inputs:
    """Tensors of one measurement, leaves that want gradients.

    Attributes:
        x: [N, C, H, W].
        b: [C] or [O], or None.
        f: filter of upfirdn2d, or None.
        dy: cotangent of y.
        ddx: cotangent of dx.
        w: weight of a convolution [O, C, kh, kw], or None.
        styles: factors on its input channels [N, C], or None.
        noise: added to its result [N, 1, H', W'], or None.
        residual: added to the layer's result, or None.
        ddstyles: cotangent of the gradient of styles, or None.
        decided: where rounding cannot take y over a kink, bool of y's shape; dy is 0 elsewhere. None: everywhere.
    """

    x: Tensor
    b: Tensor | None
    f: Tensor | None
    dy: Tensor
    ddx: Tensor
    w: Tensor | None = None
    styles: Tensor | None = None
    noise: Tensor | None = None
    residual: Tensor | None = None
    ddstyles: Tensor | None = None
    decided: Tensor | None = None

    def double(self) -> Inputs:
        """The same values in float64."""
        tensors = {name: value for name, value in vars(self).items() if value is not None and name != "decided"}
        return replace(self, **{name: t.detach().double().requires_grad_(name != "f") for name, t in tensors.items()})

    def leaves(self, *names: str) -> dict[str, Tensor]:
        """Those of the named tensors that there are, by name."""
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


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
        mask_bits: kept an element of y for the backward pass.
        separable: whether f has one axis; None without a filter.
        quick: whether a quick run measures it.
        coarse: error that compositions may have beyond ours, of numbers about 1.
    """

    op: str
    kind: str
    x_shape: Shape
    y_shape: Shape
    function: Function
    compositions: Mapping[str, Function]
    bias: bool = False
    mask_bits: int = 0
    separable: bool | None = None
    quick: bool = True
    coarse: float = 0.0

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
            return leaf(values, dtype, layout)

        f = None if self.separable is None else setup_filter(TAPS, device=device, separable=self.separable)
        b = random(self.x_shape[1:2]) if self.bias else None
        # dy is 1 on average: a db that sums to nothing would be nothing but rounding errors.
        return Inputs(random(self.x_shape), b, f, random(self.y_shape, 1.0), random(self.x_shape))

    def moved(self, direction: str, dtype: torch.dtype) -> int:
        """Bytes that must be read and written: images, biases and masks once each a pass, filters not counted."""
        size = dtype.itemsize
        x, y = (torch.Size(shape).numel() * size for shape in (self.x_shape, self.y_shape))
        b = self.x_shape[1] * size if self.bias else 0
        mask = (torch.Size(self.y_shape).numel() * self.mask_bits + 7) // 8
        if direction == "forward":
            return x + b + y
        if direction == "forward+backward":
            return (x + b + y + mask) + (y + mask + x + b)
        return (x + b + y + mask) + (y + mask + x) + (x + mask + y)  # x, b -> y; dy -> dx; ddx -> ddy

    def multiplied(self, direction: str) -> int:
        """FLOPs of the products that must be made, two a multiply-add; 0 where there are none worth a word."""
        return 0

    def product_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """Whose matrix products bound them, of images of a dtype."""
        return dtype


def leaf(values: Tensor, dtype: torch.dtype, layout: str) -> Tensor:
    """The values as a tensor that wants a gradient; an image in the layout named."""
    form = LAYOUTS[layout] if values.ndim == 4 else torch.contiguous_format
    return values.to(dtype).contiguous(memory_format=form).requires_grad_()


def run(function: Function, inputs: Inputs, direction: str) -> dict[str, Tensor]:
    """Calls a function once, with its derivatives as `direction` says.

    Returns:
        "forward": y. "forward+backward": y and the gradients of all inputs that there are: dx, db, dw, ... "double
        backward", as R1 and the path-length penalty have it: dx and, with styles, dstyles, which take no gradient of
        other parameters; and the gradients of their products with ddx and ddstyles: ddy, and of w, x and styles those
        that they depend on, as dw2, dx2 and dstyles2.
    """
    if direction == "forward":
        with torch.no_grad():
            return {"y": function(inputs)}
    y = function(inputs)
    if direction == "forward+backward":
        wanted = inputs.leaves("x", "b", "w", "styles", "noise", "residual")
        grads = torch.autograd.grad(y, list(wanted.values()), inputs.dy)
        return {"y": y.detach(), **{f"d{name}": grad.detach() for name, grad in zip(wanted, grads, strict=True)}}
    penalised = inputs.leaves("x", "styles")
    first = torch.autograd.grad(y, list(penalised.values()), inputs.dy, create_graph=True)
    wanted = inputs.leaves("dy", "w") | (inputs.leaves("x", "styles") if inputs.styles is not None else {})
    cotangents = list(inputs.leaves("ddx", "ddstyles").values())
    second = torch.autograd.grad(first, list(wanted.values()), cotangents)
    names = ["ddy", *(f"d{name}2" for name in wanted if name != "dy")]
    return {
        **{f"d{name}": grad.detach() for name, grad in zip(penalised, first, strict=True)},
        **dict(zip(names, second, strict=True)),
    }
