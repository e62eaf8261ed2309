"""The layers of StyleGAN2 as cases of conv2d_layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fastgan.bench.case import CLAMP, TAPS, Case, Inputs, Shape, leaf
from fastgan.bench.conv2d_layer_compositions import COMPOSITIONS
from fastgan.ops import conv2d_resample, modulated_conv2d, provider, setup_filter

MOST_CHANNELS = 512
# Layers of StyleGAN2 256² with base 16384, 16 images, and of 1024² with base 32768, four: those of 512 channels are
# bound by products, or at 16² by too few of them, those of 64 and 32 by memory.
CUDA_LAYERS: list[Shape] = [
    (16, 64, 256, 256),
    (4, 512, 64, 64),
    (16, 512, 32, 32),
    (4, 32, 1024, 1024),
    (16, 512, 16, 16),
]
CPU_LAYERS: list[Shape] = [(4, 128, 64, 64), (8, 256, 16, 16)]
SHAPES = {"cpu": CPU_LAYERS, "cuda": CUDA_LAYERS}


@dataclass(frozen=True)
class Layer:
    """What a layer does; `act`, `gain` and `clamp` as its operator takes them.

    Attributes:
        kernel: 1 or 3.
        up, down: sampling factors.
        modulated, demodulated, noise, bias, residual: which operands there are.
    """

    kernel: int = 3
    up: int = 1
    down: int = 1
    modulated: bool = False
    demodulated: bool = False
    noise: bool = False
    bias: bool = True
    residual: bool = False
    act: str = "linear"
    gain: float = 1.0
    clamp: float | None = None

    def __call__(self, i: Inputs) -> Tensor:
        """The public operator's result."""
        epilogue: dict[str, Any] = {"b": i.b, "act": self.act, "gain": self.gain, "clamp": self.clamp}
        epilogue |= {"padding": self.kernel // 2, "residual": i.residual}
        if i.w is None:
            raise ValueError("a layer has a weight")
        if i.styles is None:
            return conv2d_resample(i.x, i.w, i.f, up=self.up, down=self.down, **epilogue)
        sampling: dict[str, Any] = {"up": self.up, "resample_filter": i.f, "flip_weight": self.up == 1}
        return modulated_conv2d(i.x, i.w, i.styles, noise=i.noise, demodulate=self.demodulated, **sampling, **epilogue)

    def decided(self, i: Inputs, margin: float) -> Tensor:
        """Where the layer's result is further from its kinks than `margin`, in units of its own size: bool, as y."""
        with provider("reference"), torch.no_grad():
            v = replace(self, act="linear", gain=1.0, clamp=None)(replace(i.double(), residual=None))
        margin *= float(v.square().mean().sqrt())
        far = v.abs() > margin if self.act == "lrelu" else torch.ones_like(v, dtype=torch.bool)
        if self.clamp is not None:
            y = self.gain * (F.leaky_relu(v, 0.2) if self.act == "lrelu" else v)
            far &= (y.abs() - self.clamp).abs() > margin * self.gain
        return far


@dataclass(frozen=True)
class LayerCase(Case):
    """A layer of given sizes; images have the dtype that is measured, parameters and styles float32 (or float64)."""

    layer: Layer = Layer()

    @property
    def w_shape(self) -> Shape:
        return (self.y_shape[1], self.x_shape[1], self.layer.kernel, self.layer.kernel)

    def inputs(self, dtype: torch.dtype, layout: str, device: torch.device) -> Inputs:
        """New random inputs; dy is 0 where rounding might take the result over a kink, where derivatives jump."""
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        layer, (n, channels, *_), (_, out, *size) = self.layer, self.x_shape, self.y_shape

        def some(there: bool, kind: torch.dtype, *shape: int, scale: float = 1.0, mean: float = 0.0) -> Any:
            return leaf(torch.randn(shape, device=device) * scale + mean, kind, layout) if there else None

        unit = 1.0 if layer.demodulated else 1 / math.sqrt(channels * layer.kernel**2)
        inputs = Inputs(
            x=some(True, dtype, *self.x_shape),
            b=some(layer.bias, wide, out, scale=0.5),
            f=None if self.separable is None else setup_filter(TAPS, device=device, separable=self.separable),
            dy=some(True, dtype, *self.y_shape, mean=1.0),
            ddx=some(True, dtype, *self.x_shape),
            w=some(True, wide, *self.w_shape, scale=unit),
            styles=some(layer.modulated, wide, n, channels, scale=0.25, mean=1.0),
            noise=some(layer.noise, dtype, n, 1, *size, scale=0.25),
            residual=some(layer.residual, dtype, *self.y_shape),
            ddstyles=some(layer.modulated, wide, n, channels),
        )
        decided = layer.decided(inputs, max(8 * torch.finfo(dtype).eps, 1e-3))
        return replace(inputs, dy=(inputs.dy.detach() * decided).requires_grad_(), decided=decided)

    def moved(self, direction: str, dtype: torch.dtype) -> int:
        """As of every case; where a gradient of the weight or of styles is made, x is read once more."""
        layer, size, wide = self.layer, dtype.itemsize, max(dtype.itemsize, 4)
        (n, channels, *_), (_, out, height, width) = self.x_shape, self.y_shape
        x, y, w = (torch.Size(shape).numel() for shape in (self.x_shape, self.y_shape, self.w_shape))
        mask = (y * self.mask_bits + 7) // 8
        x, y, w = x * size, y * size, w * wide
        styles = n * channels * wide if layer.modulated else 0
        b, noise = out * wide if layer.bias else 0, n * height * width * size if layer.noise else 0
        forward = x + w + styles + b + noise + (y if layer.residual else 0) + y
        if direction == "forward":
            return forward
        if direction == "forward+backward":
            return forward + mask + (y + mask + x + w + styles) + (x + w + styles + b + noise)
        penalised = x if layer.modulated else 0  # what else is read for styles, or for a gradient of x
        first = (y + mask + w + styles + penalised) + (x + styles)  # dy -> dx, dstyles
        second = (x + styles + y + mask + w + styles + penalised) + (y + w + penalised + styles)  # ddx -> ddy, dw, ...
        return forward + mask + first + second

    def multiplied(self, direction: str) -> int:
        """FLOPs of the convolutions, by the definition of each, borders included; those of FIR filters do not count.

        Forward and backward are three convolutions. R1 makes four: y, dx, ddy and the gradient of w. Path lengths
        make six of a demodulated layer, whose coefficients' gradients are one more each for w and x.
        """
        n, out, channels = self.x_shape[0], self.y_shape[1], self.x_shape[1]
        pixels = min(self.x_shape[2] * self.x_shape[3], self.y_shape[2] * self.y_shape[3])
        count = {"forward": 1, "forward+backward": 3, "double backward": 6 if self.layer.demodulated else 4}
        return count[direction] * 2 * n * out * channels * self.layer.kernel**2 * pixels


_LRELU: dict[str, Any] = {"act": "lrelu", "gain": math.sqrt(2), "clamp": CLAMP}
_MODULATED: dict[str, Any] = {"modulated": True, "demodulated": True, "noise": True}
LAYERS = {
    "G 3x3": Layer(**_MODULATED, **_LRELU),
    "D down 2": Layer(down=2, act="lrelu", clamp=CLAMP),  # √2 of the activation, √½ of the block: gain 1
    "G up 2": Layer(up=2, **_MODULATED, **_LRELU),
    "D 3x3": Layer(**_LRELU),
    "to-RGB": Layer(kernel=1, modulated=True, residual=True, clamp=CLAMP),
    "skip down 2": Layer(kernel=1, down=2, bias=False, residual=True),
    "from-RGB": Layer(kernel=1, **_LRELU),
}


def cases(shape: Shape) -> Iterator[Case]:
    """Every kind of layer at [N, C, H, W]; images of half the size have twice the channels, at most 512."""
    n, c, h, w = shape
    half = (n, min(2 * c, MOST_CHANNELS), h // 2, w // 2)
    rgb = (n, 3, h, w)
    shapes: dict[str, tuple[Shape, Shape]] = {"G up 2": (half, shape), "to-RGB": (shape, rgb), "from-RGB": (rgb, shape)}
    shapes |= {"D down 2": (shape, half), "skip down 2": (shape, half)}
    for kind, layer in LAYERS.items():
        x_shape, y_shape = shapes.get(kind, (shape, shape))
        yield LayerCase(
            "conv2d_layer",
            kind,
            x_shape,
            y_shape,
            layer,
            COMPOSITIONS[kind],
            layer.bias,
            mask_bits=2 if layer.clamp is not None or layer.act == "lrelu" else 0,
            separable=True if layer.up > 1 or layer.down > 1 else None,
            layer=layer,
        )
