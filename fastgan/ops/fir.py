"""Geometry of FIR passes, for every operator that has one: sizes, paddings, adjoints, and how they are given.

Sizes and taps are (height, width), factors (x, y), paddings (x0, x1, y0, y1), as the public functions take them.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fastgan.ops.arguments import as_int, check_dense, sizes

Size = tuple[int, int]
Factors = tuple[int, int]
Padding = tuple[int, int, int, int]

_SEQUENCE = (list, tuple)  # a union of types would be built anew on every call
# Bounds that no image needs: offsets stay within 64 bits, and a slip is named instead of asking for terabytes.
_LARGEST_FACTOR = 2**12
LONGEST = 2**24


def output_size(size: Sequence[int], taps: Sequence[int], up: Factors, down: Factors, padding: Padding) -> Size:
    """(H', W') = ⌊((H, W)·up + padding - taps) / down⌋ + 1 of an image of (H, W)."""
    px0, px1, py0, py1 = padding
    height = (size[0] * up[1] + py0 + py1 - taps[0]) // down[1] + 1
    width = (size[1] * up[0] + px0 + px1 - taps[1]) // down[0] + 1
    return height, width


def adjoint_padding(
    size: Sequence[int], result: Sequence[int], taps: Sequence[int], up: Factors, down: Factors, padding: Padding
) -> Padding:
    """Padding of the pass that takes the gradient of a result back to an input of `size`: the same with up and down
    exchanged and the filter turned round."""
    px0, _, py0, _ = padding
    return (
        taps[1] - px0 - 1,
        size[1] * up[0] - result[1] * down[0] + px0 - up[0] + 1,
        taps[0] - py0 - 1,
        size[0] * up[1] - result[0] * down[1] + py0 - up[1] + 1,
    )


def keeping_padding(padding: Padding, taps: Sequence[int], up: Factors = (1, 1), down: Factors = (1, 1)) -> Padding:
    """`padding` and what makes the result of an axis n·up/down long, where up or down is 1; more of it goes before."""
    (px0, px1, py0, py1), (fh, fw), (ux, uy), (dx, dy) = padding, taps, up, down
    return (
        px0 + (fw + ux - dx) // 2,
        px1 + (fw - ux - dx + 1) // 2,
        py0 + (fh + uy - dy) // 2,
        py1 + (fh - uy - dy + 1) // 2,
    )


class FirPass(NamedTuple):
    """One upfirdn2d of images, as it is computed; see there.

    Attributes:
        f: [taps] or [fh, fw]; None for the identity.
        up, down: sampling factors (x, y).
        padding: (x0, x1, y0, y1) at the up-sampled rate.
        flip_filter: correlate instead of convolving.
        gain: factor of the result.
    """

    f: Tensor | None
    up: Factors
    down: Factors
    padding: Padding
    flip_filter: bool
    gain: float

    @property
    def arguments(self) -> tuple:
        """Those of the operators upfirdn2d_<provider> that follow x."""
        return (self.f, *self.up, *self.down, *self.padding, self.flip_filter, self.gain)

    @property
    def taps(self) -> Size:
        return (1, 1) if self.f is None else (self.f.shape[0], self.f.shape[-1])

    def output_size(self, size: Sequence[int]) -> Size:
        """(H', W') of an image of (H, W)."""
        return output_size(size, self.taps, self.up, self.down, self.padding)

    def adjoint(self, size: Sequence[int], result: Sequence[int]) -> FirPass:
        """From the gradient of a result of this size to that of an input of `size`."""
        padding = adjoint_padding(size, result, self.taps, self.up, self.down, self.padding)
        return FirPass(self.f, self.down, self.up, padding, not self.flip_filter, self.gain)


class Sampling(NamedTuple):
    """How a convolution layer resamples: R(w, x) = ↓down(w ∗ f ∗ x), or w ∗ f ∗ ↑up(x).

    Attributes:
        up: up-sampling factor.
        down: down-sampling factor; one of the two is 1.
        padding: (x0, x1, y0, y1) at the up-sampled rate, that of the FIR included.
    """

    up: int
    down: int
    padding: Padding

    @classmethod
    def of(cls, up: int, down: int, padding: Padding, taps: Size | None) -> Sampling:
        """With the padding of a FIR of these taps added to that of the kernel."""
        if taps is not None and (up > 1 or down > 1):
            padding = keeping_padding(padding, taps, (up, up), (down, down))
        return cls(up, down, padding)

    def crop(self, kernel: Sequence[int]) -> Padding:
        """Padding of the FIR after a transposed convolution by a kernel of (kh, kw).

        That one starts k - 1 samples before a valid one, and leaves out the last up - 1 inserted zeros.
        """
        px0, px1, py0, py1 = self.padding
        kh, kw = kernel
        return px0 - (kw - 1), px1 - (kw - self.up), py0 - (kh - 1), py1 - (kh - self.up)

    def output_size(self, size: Sequence[int], kernel: Sequence[int], taps: Size | None) -> Size:
        """(H', W') of an image of (H, W): kernel and FIR together are one filter of as many taps, less one."""
        fh, fw = (1, 1) if taps is None or self.up == self.down == 1 else taps
        both = (fh + kernel[0] - 1, fw + kernel[1] - 1)
        return output_size(size, both, (self.up, self.up), (self.down, self.down), self.padding)


def sampling_of(
    x: Tensor, w: Tensor, f: Tensor | None, up: int, down: int, padding: int | Sequence[int]
) -> tuple[Sampling, Size]:
    """How a layer resamples, and the size of its result.

    Raises:
        ValueError: up, down or padding does not fit the images.
    """
    padding = tuple(padding) if isinstance(padding, (list, tuple)) else padding
    taps = None if f is None else taps_of(f)
    key: Any = (up, down, padding, sizes(x)[2:], sizes(w)[2:], taps)
    return _remembered(*key) if _are_ints(key) else _sampling(*key)


def _sampling(
    up: int, down: int, padding: int | Sequence[int], image: Size, kernel: Size, taps: Size | None
) -> tuple[Sampling, Size]:
    factors = (as_int(up), as_int(down))
    for name, factor, given in zip(("up", "down"), factors, (up, down), strict=True):
        if factor is None or factor < 1:
            raise ValueError(f"{name} must be an int of at least 1, got {given!r}")
    if min(factors) > 1:
        raise ValueError(f"up and down must not both exceed 1, got {up} and {down}")
    given = list(padding) if isinstance(padding, tuple) else padding
    sampling = Sampling.of(*factors, checked_padding(given), taps)
    height, width = sampling.output_size(image, kernel, taps)
    if height < 1 or width < 1:
        raise ValueError(
            f"padding {given!r} leaves images of {image[0]}x{image[1]} no output under a kernel of "
            f"{kernel[0]}x{kernel[1]}: it would be {height}x{width}"
        )
    return sampling, (height, width)


_remembered = functools.lru_cache(1024)(_sampling)  # ints and tuples of them


def _are_ints(key: tuple) -> bool:
    """Whether all are plain ints: no bool, which equals one, no other kind of number, none that a compiler follows."""
    if torch.compiler.is_compiling():
        return False
    return all(_are_ints(each) if isinstance(each, tuple) else each is None or type(each) is int for each in key)


def taps_of(f: Tensor) -> Size:
    """(fh, fw) of a filter [taps] or [fh, fw]."""
    shape = sizes(f)
    return shape[0], shape[-1]


def checked_taps(f: Tensor | None, name: str = "f") -> Size:
    """(fh, fw) of a filter, (1, 1) of None; raises what `upfirdn2d` does for one that is no filter."""
    if f is None:
        return (1, 1)
    check_dense(name, f, optional=True)
    if f.ndim not in (1, 2) or 0 in sizes(f):
        raise ValueError(f"{name} must have shape [taps] or [fh, fw], got {list(f.shape)}")
    return taps_of(f)


def checked_filter(f: Tensor | None, x: Tensor, name: str = "f") -> Tensor:
    """f as the kernels take it: contiguous, float64 for images in float64, else float32; [1] for None."""
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    if f is None:
        return x.new_ones([1], dtype=dtype)
    checked_taps(f, name)
    if f.requires_grad:
        raise ValueError(f"{name} must not require grad: a filter is a constant")
    if f.device != x.device:
        raise ValueError(f"{name} must be on x's device {x.device}, got {f.device}")
    return f if f.dtype == dtype and f.is_contiguous() else f.to(dtype).contiguous()


def checked_factors(name: str, value: int | Sequence[int]) -> Factors:
    """(x, y) of a sampling factor given as one int or [x, y]."""
    pair: Any = _ints(value) if isinstance(value, _SEQUENCE) else _ints(value) * 2
    if len(pair) != 2 or not all(factor is not None and 1 <= factor <= _LARGEST_FACTOR for factor in pair):
        raise ValueError(f"{name} must be an int or [x, y], each from 1 to {_LARGEST_FACTOR}; got {value!r}")
    return pair


def checked_padding(value: int | Sequence[int]) -> Padding:
    """(x0, x1, y0, y1) of a padding given as one int, [x, y] or all four."""
    sides: Any = _ints(value)
    if len(sides) not in (1, 2, 4) or not all(side is not None and abs(side) <= LONGEST for side in sides):
        raise ValueError(f"padding must be an int, [x, y] or [x0, x1, y0, y1] within ±{LONGEST}; got {value!r}")
    if len(sides) < 4:
        sides = (sides[0], sides[0], sides[-1], sides[-1])
    return sides


def _ints(value: int | Sequence[int]) -> tuple[int | None, ...]:
    """One int, or those of a list; None for what is none."""
    return tuple(as_int(each) for each in value) if isinstance(value, _SEQUENCE) else (as_int(value),)
