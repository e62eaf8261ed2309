"""The first half of filtered_lrelu in Triton: bias, zero insertion and FIR, then the leaky ReLU or what the mask says.

Its result, the middle, goes through memory in float32 (or float64), and upfirdn2d's kernel makes the second FIR of it:
Triton has no shared memory that a FIR could read its neighbours from. x is read through the caches, taps / up times
along each axis.

A program takes groups of 16 elements of one class of a row of the middle, whose bits are one word of the mask; see
fastgan/ops/filtered_lrelu/geometry.py.
"""

# Triton's language is not Python's: `tl.float64` is how an argument is passed, a constexpr any constant.
# pyright: reportInvalidTypeForm=false, reportAssignmentType=false, reportGeneralTypeIssues=false

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from fastgan.kernels.bias_act import number, rises, stops
from fastgan.kernels.launch import WIDEST, Plan, compute_type, divide_up
from fastgan.kernels.upfirdn2d import first_tap

_LANES = 16
_UNITS, _WARPS = 32, 8  # groups a program, two elements a thread: four spill; not tuned on any device yet


@triton.jit(
    do_not_specialize=[
        "channels",
        "in_y",
        "in_x",
        "middle_y",
        "middle_x",
        "units",
        "phase_y",
        "base_y",
        "phase_x",
        "base_x",
    ]
)
def filtered_lrelu_kernel(
    x,  # images by their strides
    f,  # [taps] or [taps_y, taps_x]
    b,  # [channels]
    middle,  # images by their strides
    mask,  # int32 [planes, middle_y, words of a row]
    units,  # words in all
    channels,
    in_y,
    in_x,
    middle_y,
    middle_x,
    x_image,
    x_channel,
    x_row,
    x_column,
    middle_image,
    middle_channel,
    middle_row,
    middle_column,
    phase_y,
    base_y,
    phase_x,
    base_x,
    up_gain: tl.float64,
    gain: tl.float64,
    slope: tl.float64,
    clamp: tl.float64,
    UP: tl.constexpr,
    TAPS_Y: tl.constexpr,
    TAPS_X: tl.constexpr,
    SEPARABLE: tl.constexpr,
    FLIP: tl.constexpr,
    MASKED: tl.constexpr,  # the mask is read
    CLAMPS: tl.constexpr,
    RELU: tl.constexpr,  # the slope is 0
    CLASSES: tl.constexpr,
    WORDS: tl.constexpr,  # of a class of a row
    COMPUTE: tl.constexpr,  # dtype
    WIDE: tl.constexpr,  # 64-bit offsets
    UNITS: tl.constexpr,
    LANES: tl.constexpr,
):
    block = tl.program_id(0)
    if WIDE:
        block = block.to(tl.int64)
    unit = block * UNITS + tl.arange(0, UNITS)
    lane = tl.arange(0, LANES)[None, :]
    there = (unit < units)[:, None]
    word, line = unit % (CLASSES * WORDS), unit // (CLASSES * WORDS)
    column = ((word % WORDS)[:, None] * LANES + lane) * CLASSES + (word // WORDS)[:, None]
    row, plane = (line % middle_y)[:, None], (line // middle_y)[:, None]
    image, channel = plane // channels, plane % channels

    first_y, tap_y = first_tap(row, phase_y, base_y, 1, UP)
    first_x, tap_x = first_tap(column, phase_x, base_x, 1, UP)
    # The sum below correlates: a convolution reads f from its end.
    step: tl.constexpr = 1 if FLIP else -1
    start_y: tl.constexpr = 0 if FLIP else TAPS_Y - 1
    start_x: tl.constexpr = 0 if FLIP else TAPS_X - 1
    base = image * x_image + channel * x_channel
    bias = tl.full((UNITS, 1), 0.0, COMPUTE)
    if b is not None:
        bias = tl.load(b + channel, mask=there, other=0.0).to(COMPUTE)
    v = tl.full((UNITS, LANES), 0.0, COMPUTE)
    for n in range((TAPS_X + UP - 1) // UP):
        sample_x, k_x = first_x + n, tap_x + n * UP
        index_x, real_x = start_x + k_x * step, k_x < TAPS_X
        seen_x = there & real_x & (sample_x >= 0) & (sample_x < in_x)
        column_sum = tl.full((UNITS, LANES), 0.0, COMPUTE)
        for m in range((TAPS_Y + UP - 1) // UP):
            sample_y, k_y = first_y + m, tap_y + m * UP
            index_y, real_y = start_y + k_y * step, k_y < TAPS_Y
            seen = seen_x & (real_y & (sample_y >= 0) & (sample_y < in_y))
            value = tl.load(x + base + sample_y * x_row + sample_x * x_column, mask=seen, other=0.0).to(COMPUTE)
            if b is not None:
                value = tl.where(seen, value + bias, 0.0)
            if SEPARABLE:
                weight = tl.load(f + index_y, mask=real_y, other=0.0)
            else:
                weight = tl.load(f + index_y * TAPS_X + index_x, mask=real_y & real_x, other=0.0)
            column_sum += value * weight.to(COMPUTE)
        if SEPARABLE:
            column_sum *= tl.load(f + index_x, mask=real_x, other=0.0).to(COMPUTE)
        v += column_sum
    v *= number(up_gain, COMPUTE)

    above, below, limit = number(gain, COMPUTE), number(gain * slope, COMPUTE), number(clamp, COMPUTE)
    if MASKED:
        bits = (tl.load(mask + unit, mask=unit < units, other=0)[:, None] >> (2 * lane)) & 3
        factor = tl.where(bits >= 2, 0.0, tl.where((bits & 1) != 0, above, below))
        y = tl.where(factor == 0, 0.0, v * factor)
    else:
        y = tl.where(v < 0, 0.0, v) * above if RELU else v * tl.where(v > 0, above, below)
        if mask is not None:
            bits = rises(v, RELU).to(tl.int32)
            if CLAMPS:
                bits += 2 * stops(y, limit).to(tl.int32)
            tl.store(mask + unit, tl.sum(bits << (2 * lane), axis=1), mask=unit < units)
        if CLAMPS:  # NaN stays
            y = tl.where(y > limit, limit, tl.where(y < -limit, -limit, y))
    place = image * middle_image + channel * middle_channel + row * middle_row + column * middle_column
    tl.store(middle + place, y, mask=there & (column < middle_x))


def filtered_lrelu_middle(
    x: Any,
    f: Any,
    b: Any,
    middle: Any,
    mask: Any,
    up: int,
    padding: tuple[int, int],
    classes: tuple[int, int],
    formula: tuple[float, float, float, float],
    flip_filter: bool,
    masked: bool,
) -> Plan:
    """The middle, and the mask where it is to be written.

    Args:
        x: [N, C, H, W], contiguous or channels_last, not empty.
        f: [taps] or [fh, fw], contiguous.
        b: [C] or None.
        middle: [N, C, Hm, Wm], float32 or float64.
        mask: int32 [N, C, Hm, words of a row] or None.
        up: factor.
        padding: (x0, y0); what follows the image shows in the size of the middle.
        classes: of a row of the middle, and the elements of each.
        formula: gain of the FIR; gain, slope and clamp of the leaky ReLU, below 0 for none.
        flip_filter: correlate.
        masked: the mask tells the slopes.
    """
    n, c, height, width = middle.shape
    words = classes[1] // _LANES
    units = n * c * height * classes[0] * words
    phase_x, phase_y = -padding[0] % up, -padding[1] % up
    names = ("image", "channel", "row", "column")
    arguments = dict(x=x, f=f, b=b, middle=middle, mask=mask)
    arguments |= dict(units=units, channels=c, in_y=x.shape[2], in_x=x.shape[3], middle_y=height, middle_x=width)
    arguments |= {f"x_{name}": stride for name, stride in zip(names, x.stride(), strict=True)}
    arguments |= {f"middle_{name}": stride for name, stride in zip(names, middle.stride(), strict=True)}
    arguments |= dict(phase_y=phase_y, base_y=(padding[1] + phase_y) // up)
    arguments |= dict(phase_x=phase_x, base_x=(padding[0] + phase_x) // up)
    up_gain, gain, slope, clamp = map(float, formula)
    arguments |= dict(up_gain=up_gain, gain=gain, slope=slope, clamp=clamp)
    arguments |= dict(UP=up, TAPS_Y=f.shape[0], TAPS_X=f.shape[-1], SEPARABLE=f.ndim == 1, FLIP=flip_filter)
    arguments |= dict(MASKED=masked, CLAMPS=clamp >= 0, RELU=slope == 0, CLASSES=classes[0], WORDS=words)
    arguments |= dict(COMPUTE=compute_type(x), WIDE=max(x.numel(), middle.numel(), units * _LANES) > WIDEST)
    arguments |= dict(UNITS=_UNITS, LANES=_LANES)
    return Plan(filtered_lrelu_kernel, divide_up(units, _UNITS), arguments, _WARPS)
