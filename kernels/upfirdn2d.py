"""upfirdn2d in Triton: insert zeros, pad, filter and decimate, in one pass.

Polyphase: output sample o of an axis starts at position o · down - pad0 of the up-sampled input; the taps that fall
on inserted zeros are never visited. x is read through the caches (taps / up along each axis), y written once, and
the filter read from device memory, so that a launch neither waits for the host nor depends on f's values.
"""

# Triton's language is not Python's: `tl.float64` is how an argument is passed, a constexpr any constant.
# pyright: reportInvalidTypeForm=false, reportAssignmentType=false, reportGeneralTypeIssues=false

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def first_tap(o, phase, base, down, UP: tl.constexpr):
    """Input sample and kernel tap at which output o begins; `phase` and `base` keep what is divided positive."""
    position = o * down + phase
    first = (position + (UP - 1)) // UP
    return first - base, first * UP - position


@triton.jit(do_not_specialize=["planes", "in_y", "in_x", "out_y", "phase_y", "base_y", "phase_x", "base_x"])
def upfirdn2d_kernel(
    x,  # [planes, in_y, in_x, pixel]
    f,  # [taps] or [taps_y, taps_x]
    y,  # [planes, out_y, out_x, pixel]
    planes,
    in_y,
    in_x,
    out_y,
    out_x,
    pixel,  # numbers a pixel: 1 of a contiguous tensor, C of a channels_last one
    down_y,
    down_x,
    phase_y,
    base_y,
    phase_x,
    base_x,
    gain: tl.float64,
    UP_Y: tl.constexpr,
    UP_X: tl.constexpr,
    TAPS_Y: tl.constexpr,
    TAPS_X: tl.constexpr,
    SEPARABLE: tl.constexpr,
    FLIP: tl.constexpr,
    COMPUTE: tl.constexpr,  # dtype
    WIDE: tl.constexpr,  # 64-bit offsets
    PLANES: tl.constexpr,  # the tile
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    PIXEL: tl.constexpr,
):
    block = tl.program_id(0)
    if WIDE:
        block = block.to(tl.int64)
    across = tl.cdiv(pixel, PIXEL)
    number = (block % across * PIXEL + tl.arange(0, PIXEL))[None, None, None, :]
    block = block // across
    across = tl.cdiv(out_x, COLUMNS)
    column = (block % across * COLUMNS + tl.arange(0, COLUMNS))[None, None, :, None]
    block = block // across
    across = tl.cdiv(out_y, ROWS)
    row = (block % across * ROWS + tl.arange(0, ROWS))[None, :, None, None]
    plane = (block // across * PLANES + tl.arange(0, PLANES))[:, None, None, None]

    first_y, tap_y = first_tap(row, phase_y, base_y, down_y, UP_Y)
    first_x, tap_x = first_tap(column, phase_x, base_x, down_x, UP_X)
    # The sum below correlates: a convolution reads f from its end.
    step: tl.constexpr = 1 if FLIP else -1
    start_y: tl.constexpr = 0 if FLIP else TAPS_Y - 1
    start_x: tl.constexpr = 0 if FLIP else TAPS_X - 1
    inside = (plane < planes) & (number < pixel)
    total = tl.full((PLANES, ROWS, COLUMNS, PIXEL), 0.0, COMPUTE)
    for n in range((TAPS_X + UP_X - 1) // UP_X):
        sample_x, k_x = first_x + n, tap_x + n * UP_X
        index_x, real_x = start_x + k_x * step, k_x < TAPS_X
        seen_x = inside & real_x & (sample_x >= 0) & (sample_x < in_x)
        column_sum = tl.full((PLANES, ROWS, COLUMNS, PIXEL), 0.0, COMPUTE)
        for m in range((TAPS_Y + UP_Y - 1) // UP_Y):
            sample_y, k_y = first_y + m, tap_y + m * UP_Y
            index_y, real_y = start_y + k_y * step, k_y < TAPS_Y
            seen = seen_x & (real_y & (sample_y >= 0) & (sample_y < in_y))
            place = ((plane * in_y + sample_y) * in_x + sample_x) * pixel + number
            value = tl.load(x + place, mask=seen, other=0.0).to(COMPUTE)
            if SEPARABLE:
                weight = tl.load(f + index_y, mask=real_y, other=0.0)
            else:
                weight = tl.load(f + index_y * TAPS_X + index_x, mask=real_y & real_x, other=0.0)
            column_sum += value * weight.to(COMPUTE)
        if SEPARABLE:
            column_sum *= tl.load(f + index_x, mask=real_x, other=0.0).to(COMPUTE)
        total += column_sum
    total *= tl.full((1,), gain, COMPUTE)  # all 53 bits: Triton takes plain numbers for float32
    place = ((plane * out_y + row) * out_x + column) * pixel + number
    tl.store(y + place, total.to(y.dtype.element_ty), mask=inside & (row < out_y) & (column < out_x))
