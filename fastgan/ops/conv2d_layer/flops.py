"""Products of a convolution layer and its derivatives, as torch counts those that the reference is composed of.

Every algorithm counts as the convolution that it computes, Winograd's too, and what is computed anew in a backward pass
to save memory does not count.
"""

from __future__ import annotations

from typing import Any

from fastgan.ops.conv2d_layer.formulas import Wanted, WantedSecond
from fastgan.ops.conv2d_layer.geometry import Geometry
from fastgan.ops.conv2d_layer.passes import Passes
from fastgan.ops.conv2d_layer.resampling import Resampling
from fastgan.ops.upfirdn2d.flops import fir_flops


def forward_flops(x: Any, w: Any, *rest: Any, **_: Any) -> int:
    """Of the arguments of `conv2d_layer_<provider>`."""
    f, up, down, padding = rest[5:9]
    return sum(_products(x, w, f, up, down, padding))


def backward_flops(dy: Any, x: Any, w: Any, *rest: Any, **_: Any) -> int:
    """Of the arguments of `conv2d_layer_backward_<provider>`."""
    f, up, down, padding = rest[7:11]
    want = Wanted(*rest[-1])
    convolution, fir = _products(x, w, f, up, down, padding)
    of_input, of_weight = want.x or want.in_scale, want.w
    return convolution * (of_input + of_weight) + fir * (of_input or (of_weight and up > 1))


def double_backward_flops(ddx: Any, ddw: Any, ddin_scale: Any, ddscale: Any, *rest: Any, **_: Any) -> int:
    """Of the arguments of `conv2d_layer_double_backward_<provider>`; the convolutions are those of `formulas`."""
    x, w, in_scale, u, (f, up, down, padding) = *rest[3:6], rest[10], rest[12:16]
    want = WantedSecond(*rest[-1])
    convolution, fir = _products(x, w, f, up, down, padding)
    styled, tangent = want.in_scale and in_scale is not None, ddx is not None or ddin_scale is not None
    of_images = [
        tangent and (want.dy or want.scale),
        ddw is not None and (want.dy or want.scale),
        (want.x and ddin_scale is not None) or (styled and ddx is not None),
        ddw is not None and (want.x or styled),
    ]
    of_weights = [want.w and tangent]
    if ddscale is not None and u is not None:
        of_images.append(want.x or want.in_scale)
        of_weights.append(want.w)
    return sum(of_images) * (convolution + fir) + sum(of_weights) * convolution


def _products(x: Any, w: Any, f: Any, up: int, down: int, padding: list[int]) -> tuple[int, int]:
    """Of the convolution, and of the FIR before or after it."""
    x0, x1, y0, y1 = padding
    (n, channels, *size), (o, i, kh, kw) = x.shape, w.shape
    resampling = Resampling(Passes(""), Geometry(up, down, (x0, x1, y0, y1)), (kh, kw), f, False)
    inner = (size[0], size[1])
    fir, filtered = resampling.before, channels
    if fir is not None:
        inner = fir.output_size(inner)
    result = resampling.convolution.output_size(inner, (kh, kw))
    places = inner if resampling.convolution.transposed else result
    convolution = 2 * n * o * i * kh * kw * places[0] * places[1]
    if resampling.after is not None:
        fir, filtered, size = resampling.after, o, list(result)
    if fir is None:
        return convolution, 0
    taps = (1,) if fir.f is None else tuple(fir.f.shape)
    return convolution, fir_flops((n, filtered, *size), taps, (fir.up, fir.up), (fir.down, fir.down), fir.padding)
