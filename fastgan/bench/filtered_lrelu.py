"""The non-linearities of StyleGAN3's layers as cases of filtered_lrelu."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor

from fastgan.bench.case import Case, Inputs, Shape
from fastgan.bench.filtered_lrelu_compositions import COMPOSITIONS
from fastgan.ops import filtered_lrelu

CLAMP = 256.0
# What convolutions of StyleGAN3-T give: at 64² with base 16384, eight images; at 256² and 1024² with base 32768.
CPU_SHAPES: list[Shape] = [(8, 128, 54, 54), (8, 256, 38, 38)]
CUDA_SHAPES: list[Shape] = [(16, 512, 86, 86), (8, 128, 278, 278), (4, 64, 534, 534), (4, 32, 1046, 1046)]
SHAPES = {"cpu": CPU_SHAPES, "cuda": CUDA_SHAPES}


@dataclass(frozen=True)
class Filters:
    """What surrounds the leaky ReLU of a layer.

    Attributes:
        up, down: factors; each filter has six taps a sample.
        radial: whether the second filter is full, as in configuration R.
    """

    up: int = 2
    down: int = 2
    radial: bool = False

    @property
    def up_taps(self) -> int:
        return 6 * self.up if self.up > 1 else 1

    @property
    def down_taps(self) -> int:
        return 6 * self.down if self.down > 1 else 1

    def output(self, size: int) -> int:
        """Where the result has as many pixels, times up / down, as the image."""
        return size * self.up // self.down

    def padding(self, height: int, width: int) -> list[int]:
        """[x0, x1, y0, y1] that makes the result so large; more of it goes before."""
        sides = []
        for size in (width, height):
            total = (self.output(size) - 1) * self.down + 1 - size * self.up + self.up_taps + self.down_taps - 2
            sides += [(total + self.up) // 2, total - (total + self.up) // 2]
        return sides

    def middle(self, size: int) -> int:
        """Samples between the filters."""
        return (self.output(size) - 1) * self.down + self.down_taps

    def filters(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """fu [taps] and fd [taps], or [taps, taps] that are no outer product; float32 where x is."""
        return _low_pass(self.up_taps, False, x.device), _low_pass(self.down_taps, self.radial, x.device)

    def __call__(self, i: Inputs) -> Tensor:
        """The public operator's result."""
        fu, fd = self.filters(i.x)
        return filtered_lrelu(i.x, fu, fd, i.b, self.up, self.down, self.padding(*i.x.shape[2:]), clamp=CLAMP)


@cache
def _low_pass(taps: int, radial: bool, device: torch.device) -> Tensor:
    """A Gaussian, or a disc of soft edge, that sums to 1: to the last bit its own mirror image, for compositions."""
    place = torch.arange(taps) - (taps - 1) / 2
    distance = (place[:, None].square() + place.square()).sqrt() if radial else place
    f = torch.sigmoid(taps / 3 - distance) if radial else torch.exp(-((3 * distance / taps).square()))
    f = f + f.flip(tuple(range(f.ndim)))
    return (f / f.sum()).to(device)


# As the layers of the paper have them: at one rate, and where the rate doubles; in configuration R likewise.
KINDS = {
    "T": Filters(),
    "T up 2": Filters(up=4),
    "R": Filters(radial=True),
    "R up 2": Filters(up=4, radial=True),
}


@dataclass(frozen=True)
class FilteredCase(Case):
    """One of these calls."""

    filters: Filters = Filters()

    @property
    def middle(self) -> int:
        """Elements between the filters."""
        n, c, h, w = self.x_shape
        return n * c * self.filters.middle(h) * self.filters.middle(w)

    def moved(self, direction: str, dtype: torch.dtype) -> int:
        """As of every case, with a mask of two bits for each element between the filters."""
        x, y = (math.prod(shape) * dtype.itemsize for shape in (self.x_shape, self.y_shape))
        b, mask = self.x_shape[1] * dtype.itemsize, self.middle // 4
        if direction == "forward":
            return x + b + y
        if direction == "forward+backward":
            return (x + b + y + mask) + (y + mask + x + b)
        return (x + b + y + mask) + (y + mask + x) + (x + mask + y)

    def product_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """A FIR's multiply-adds are made one by one, in float32 for halves."""
        return torch.promote_types(dtype, torch.float32)

    def multiplied(self, direction: str) -> int:
        """FLOPs of the filters, two a multiply-add: inserted zeros left out, the cheaper axis first."""
        f, (n, c, h, w), (_, _, height, width) = self.filters, self.x_shape, self.y_shape
        tall, wide = f.middle(h), f.middle(w)
        first = h * wide * f.up_taps // f.up + tall * wide * f.up_taps // f.up
        second = height * wide * f.down_taps + height * width * f.down_taps
        if f.radial:
            second = height * width * f.down_taps**2
        passes = {"forward": 1, "forward+backward": 2, "double backward": 3}
        return passes[direction] * 2 * n * c * (first + second)


def cases(shape: Shape) -> Iterator[Case]:
    """Both configurations, at one rate and where it doubles."""
    n, c, h, w = shape
    for kind, filters in KINDS.items():
        yield FilteredCase(
            "filtered_lrelu",
            kind,
            shape,
            (n, c, filters.output(h), filters.output(w)),
            filters,
            {way: partial(function, filters) for way, function in COMPOSITIONS.items()},
            bias=True,
            quick=filters.up == 2,
            filters=filters,
        )
