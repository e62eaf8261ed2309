"""What the sizes of a layer decide: checked and worked out once, for all calls alike."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fastgan.ops.arguments import as_int, sizes
from fastgan.ops.fir import Sampling, Size, checked_padding, taps_of

_MOST = 1024  # layers that are remembered: ints and tuples of them


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


_remembered = functools.lru_cache(_MOST)(_sampling)


def _are_ints(key: tuple) -> bool:
    """Whether all are plain ints: no bool, which equals one, no other kind of number, none that a compiler follows."""
    if torch.compiler.is_compiling():
        return False
    return all(_are_ints(each) if isinstance(each, tuple) else each is None or type(each) is int for each in key)
