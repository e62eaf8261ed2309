"""Products of filtered_lrelu, as torch counts those of the convolutions that the reference is composed of."""

from __future__ import annotations

from typing import Any

from fastgan.ops.fir import output_size
from fastgan.ops.upfirdn2d.flops import fir_flops


def filtered_lrelu_flops(x: Any, fu: Any, fd: Any, b: Any, up: int, down: int, *padding: Any, **__: Any) -> int:
    """Of the compiled operator's arguments: those with inserted zeros and with padding among them."""
    return _both(x.shape, fu.shape, fd.shape, up, down, tuple(padding[:4]), (0, 0, 0, 0))


def masked_flops(x: Any, mask: Any, fu: Any, fd: Any, up: int, down: int, *padding: Any, **__: Any) -> int:
    """Likewise of the masked pass."""
    return _both(x.shape, fu.shape, fd.shape, up, down, tuple(padding[:4]), tuple(padding[4:8]))


def _both(x: Any, fu: Any, fd: Any, up: int, down: int, padding: Any, inner: Any) -> int:
    middle = output_size(x[2:], (fu[0], fu[-1]), (up, up), (1, 1), padding)
    first = fir_flops(x, fu, (up, up), (1, 1), padding)
    return first + fir_flops((*x[:2], *middle), fd, (1, 1), (down, down), inner)
