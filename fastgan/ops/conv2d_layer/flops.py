"""Products of a convolution layer and its derivatives, as torch counts those that the reference is composed of.

Every algorithm counts as the convolution that it computes, Winograd's too, and what is computed anew in a backward pass
to save memory does not count.
"""

from __future__ import annotations

from typing import Any

from fastgan.ops.conv2d_layer.formulas import LayerCall, PerBackwardInput, PerInput
from fastgan.ops.conv2d_layer.passes import Passes
from fastgan.ops.upfirdn2d.flops import fir_flops


def forward_flops(*arguments: Any, **_: Any) -> int:
    """Of the arguments of `conv2d_layer_<provider>`."""
    return sum(_products(LayerCall(*arguments[:-2])))


def backward_flops(dy: Any, *arguments: Any, **_: Any) -> int:
    """Of the arguments of `conv2d_layer_backward_<provider>`."""
    call, want = LayerCall.of_derivative(arguments[:-1]), PerInput(*arguments[-1])
    convolution, fir = _products(call)
    of_input, of_weight = want.x or want.in_scale, want.w
    return convolution * (of_input + of_weight) + fir * (of_input or (of_weight and call.up > 1))


def double_backward_flops(*arguments: Any, **_: Any) -> int:
    """Of the arguments of `conv2d_layer_double_backward_<provider>`; the convolutions are those of `formulas`."""
    dd, call = PerInput(*arguments[:6]), LayerCall.of_derivative(arguments[7:-1])
    want = PerBackwardInput(*arguments[-1])
    convolution, fir = _products(call)
    tangent = dd.x is not None or dd.in_scale is not None
    of_images = [
        tangent and (want.dy or want.scale),
        dd.w is not None and (want.dy or want.scale),
        (want.x and dd.in_scale is not None) or (want.in_scale and dd.x is not None),
        dd.w is not None and (want.x or want.in_scale),
    ]
    of_weights = [want.w and tangent]
    if dd.scale is not None and call.u is not None:
        of_images.append(want.x or want.in_scale)
        of_weights.append(want.w)
    return sum(of_images) * (convolution + fir) + sum(of_weights) * convolution


def _products(call: LayerCall) -> tuple[int, int]:
    """Of the convolution, and of the FIR before or after it."""
    (n, channels, *size), (o, i, kh, kw) = call.x.shape, call.w.shape
    resampled = call.convolution(Passes(""))
    inner = (size[0], size[1])
    fir, filtered = resampled.before, channels
    if fir is not None:
        inner = fir.output_size(inner)
    result = resampled.convolution.output_size(inner, (kh, kw))
    places = inner if resampled.convolution.transposed else result
    convolution = 2 * n * o * i * kh * kw * places[0] * places[1]
    if resampled.after is not None:
        fir, filtered, size = resampled.after, o, list(result)
    if fir is None:
        return convolution, 0
    taps = (1,) if fir.f is None else tuple(fir.f.shape)
    return convolution, fir_flops((n, filtered, *size), taps, fir.up, fir.down, fir.padding)
