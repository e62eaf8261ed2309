"""bias_act in Triton: y = clamp(act(x + b) · gain, ±clamp), its first and second derivative, and the sum that db is.

Each pass reads its tensors once and writes once: forward x -> y and 2 bits an element, backward dy and those bits (or
x) -> dx and one partial sum a tile. Halves are computed in float32. There are no atomics: the partial sums are added
in a fixed order by `bias_act_sum_kernel`.

The mask holds 4 elements a byte in memory order, low bits first: bit 0: the side above 0, bit 1: no gradient passes the
clamp.
"""

# Triton's language is not Python's: `tl.float64` is how an argument is passed, a constexpr any constant.
# pyright: reportInvalidTypeForm=false, reportAssignmentType=false, reportGeneralTypeIssues=false

from __future__ import annotations

import triton
import triton.language as tl

# tanh, sigmoid, ... by name; PIECEWISE stands for every activation that is a slope on each side of 0, but relu.
PIECEWISE = "piecewise"


@triton.jit
def number(value, dtype):
    return tl.full((1,), value, dtype)  # all 53 bits of it: Triton takes plain numbers for float32


@triton.jit
def _expm1(x):
    terms: tl.constexpr = 14 if x.dtype == tl.float64 else 8
    p = tl.full(x.shape, 1.0, x.dtype)  # x (1 + x/2 (1 + x/3 (...))), for |x| < 0.4
    for k in tl.static_range(terms, 1, -1):
        p = p * x * (1.0 / k) + 1.0
    return tl.where(tl.abs(x) < 0.4, p * x, tl.exp(x) - 1.0)


@triton.jit
def _log1p(x):
    """For 0 <= x <= 1: 2 atanh(x / (2 + x)), an odd series in s <= 1/3."""
    terms: tl.constexpr = 17 if x.dtype == tl.float64 else 8
    s = x / (x + 2.0)
    p = tl.full(x.shape, 0.0, x.dtype)
    for k in tl.static_range(terms, 0, -1):
        p = p * (s * s) + 1.0 / (2 * k - 1)
    return 2.0 * s * p


@triton.jit
def _sigmoid(v):
    e = tl.exp(-tl.abs(v))
    return tl.where(v < 0, e, 1.0) / (1.0 + e)


@triton.jit
def _sigmoid_slope(v):
    e = tl.exp(-tl.abs(v))
    return e / ((1.0 + e) * (1.0 + e))


@triton.jit
def _sigmoid_curvature(v):  # s (1 - s) (1 - 2 s)
    e = tl.exp(-tl.abs(v))
    d = 1.0 + e
    t = e * (1.0 - e) / (d * d * d)
    return tl.where(v < 0, t, -t)


@triton.jit
def _tanh(v):
    e = _expm1(-2.0 * tl.abs(v))  # tanh|v| = (1 - exp(-2|v|)) / (1 + exp(-2|v|))
    t = -e / (e + 2.0)
    return tl.where(v < 0, -t, t)


@triton.jit
def _tanh_slope(v):
    e = tl.exp(-2.0 * tl.abs(v))  # 1 - tanh², without the cancellation
    return 4.0 * e / ((1.0 + e) * (1.0 + e))


@triton.jit
def rises(v, RELU: tl.constexpr):
    """Above 0, and at relu's NaN, as in torch."""
    if RELU:
        return (v <= 0) == 0
    return v > 0


@triton.jit
def stops(y, clamp):
    """Where a clamp lets no gradient pass; at NaN neither."""
    return (tl.abs(y) <= clamp) == 0


@triton.jit
def _value(v, slope, gain, ACT: tl.constexpr):
    """act(v) · gain"""
    if ACT == "tanh":
        return _tanh(v) * gain
    elif ACT == "sigmoid":
        return _sigmoid(v) * gain
    elif ACT == "elu":
        return tl.where(v > 0, v, _expm1(v)) * gain
    elif ACT == "selu":  # Klambauer et al. 2017: scale, and scale times alpha
        return tl.where(v > 0, 1.0507009873554805 * v, 1.7580993408473766 * _expm1(v)) * gain
    elif ACT == "softplus":
        return (tl.where(v > 0, v, 0.0) + _log1p(tl.exp(-tl.abs(v)))) * gain
    elif ACT == "swish":
        return v * _sigmoid(v) * gain
    elif ACT == "relu":
        return tl.where(v < 0, 0.0, v) * gain
    else:
        tl.static_assert(ACT == "piecewise")
        return v * tl.where(v > 0, gain, slope * gain)


@triton.jit
def _first(v, slope, gain, ACT: tl.constexpr):
    """act'(v) · gain"""
    if ACT == "tanh":
        return _tanh_slope(v) * gain
    elif ACT == "sigmoid":
        return _sigmoid_slope(v) * gain
    elif ACT == "elu":
        return tl.where(v > 0, 1.0, tl.exp(v)) * gain
    elif ACT == "selu":
        return tl.where(v > 0, 1.0507009873554805, 1.7580993408473766 * tl.exp(v)) * gain
    elif ACT == "softplus":
        return _sigmoid(v) * gain
    elif ACT == "swish":
        return (_sigmoid(v) + v * _sigmoid_slope(v)) * gain
    elif ACT == "relu":
        return tl.where(rises(v, True), gain, 0.0)
    else:
        tl.static_assert(ACT == "piecewise")
        return tl.where(v > 0, gain, slope * gain)


@triton.jit
def _second(v, gain, ACT: tl.constexpr):
    """act''(v) · gain"""
    if ACT == "tanh":
        return -2.0 * _tanh(v) * _tanh_slope(v) * gain
    elif ACT == "sigmoid":
        return _sigmoid_curvature(v) * gain
    elif ACT == "elu":
        return tl.where(v > 0, 0.0, tl.exp(v)) * gain
    elif ACT == "selu":
        return tl.where(v > 0, 0.0, 1.7580993408473766 * tl.exp(v)) * gain
    elif ACT == "softplus":
        return _sigmoid_slope(v) * gain
    else:
        tl.static_assert(ACT == "swish")
        return (2.0 * _sigmoid_slope(v) + v * _sigmoid_curvature(v)) * gain


@triton.jit
def bias_act_forward_kernel(
    x,  # [numel] in memory order
    b,  # [channels] or None
    y,
    mask,  # [ceil(numel / 4)] or None
    numel,
    channels,
    inner,  # element i has channel i // inner % channels
    slope: tl.float64,  # of the negative side, for PIECEWISE
    gain: tl.float64,
    clamp: tl.float64,
    ACT: tl.constexpr,
    CLAMPS: tl.constexpr,
    COMPUTE: tl.constexpr,  # dtype
    CHANNEL: tl.constexpr,  # of four neighbours: "same", "next" to each other, or found one by one: "each"
    WHOLE: tl.constexpr,  # numel is a multiple of 4
    WIDE: tl.constexpr,  # 64-bit offsets
    GROUPS: tl.constexpr,  # of four elements, a program
):
    block = tl.program_id(0)
    if WIDE:
        block = block.to(tl.int64)
    group = block * GROUPS + tl.arange(0, GROUPS)
    lane = tl.arange(0, 4)[None, :]
    i = group[:, None] * 4 + lane  # [GROUPS, 4]
    inside = i < numel
    if WHOLE:
        inside = tl.broadcast_to((group * 4 < numel)[:, None], (GROUPS, 4))
    slope, gain, clamp = number(slope, COMPUTE), number(gain, COMPUTE), number(clamp, COMPUTE)

    v = tl.load(x + i, mask=inside, other=0.0).to(COMPUTE)
    if b is not None:
        if CHANNEL == "same":
            channel = (group * 4 // inner % channels)[:, None]
        elif CHANNEL == "next":
            channel = (group * 4 % channels)[:, None] + lane
        else:
            channel = i // inner % channels
        v += tl.load(b + channel).to(COMPUTE)
    result = _value(v, slope, gain, ACT)
    if mask is not None:
        bits = (inside & rises(v, ACT == "relu")).to(tl.int32)
        if CLAMPS:
            bits |= (inside & stops(result, clamp)).to(tl.int32) << 1
        tl.store(mask + group, tl.sum(bits << (2 * lane), axis=1).to(tl.uint8), mask=group * 4 < numel)
    if CLAMPS:
        result = tl.where(result > clamp, clamp, tl.where(result < -clamp, -clamp, result))  # NaN stays
    tl.store(y + i, result.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _gradient(dy, ddx, x, b_value, mask, i, byte, shift, inside, slope, gain, clamp, ACT, CLAMPS, COMPUTE):
    """dx of one tile: dy times the slope, or ddx times dy times the curvature; 0 where clamped."""
    d = tl.load(dy + i, mask=inside, other=0.0).to(COMPUTE)
    if mask is not None:
        bits = tl.load(mask + byte, mask=inside, other=0).to(tl.int32) >> shift
        factor = tl.where((bits & 2) != 0, 0.0, tl.where((bits & 1) != 0, gain, slope * gain))
        return tl.where(factor == 0, 0.0, d * factor)  # a slope of 0 stops infinite gradients too
    elif x is not None:
        v = tl.load(x + i, mask=inside, other=0.0).to(COMPUTE) + b_value
        if ddx is not None:
            result = tl.load(ddx + i, mask=inside, other=0.0).to(COMPUTE) * (d * _second(v, gain, ACT))
        else:
            factor = _first(v, slope, gain, ACT)
            result = d * factor
            if ACT == "piecewise" or ACT == "relu":
                result = tl.where(factor == 0, 0.0, result)
        if CLAMPS:
            value = _value(v, slope, gain, ACT)
            if ACT == "piecewise" or ACT == "relu":
                result = tl.where(stops(value, clamp), 0.0, result)
            else:
                result = tl.where(tl.abs(value) > clamp, 0.0, result)
        return result
    else:  # linear without a bound
        return d * gain


@triton.jit
def bias_act_backward_kernel(
    dy,
    ddx,  # None in the first derivative
    x,  # None where the mask, or nothing, suffices
    b,  # [channels] or None
    mask,  # None where x, or nothing, suffices
    dx,
    partial,  # sums of dx, or None: [rows, chunks] or [chunks, columns]
    rows,
    groups,  # columns / LANES
    channels,
    chunks,  # programs along the axis that is summed
    slope: tl.float64,
    gain: tl.float64,
    clamp: tl.float64,
    ACT: tl.constexpr,
    CLAMPS: tl.constexpr,
    COMPUTE: tl.constexpr,
    INNERMOST: tl.constexpr,  # columns are channels and rows are summed; else row r has channel r % channels
    LANES: tl.constexpr,  # 4 where columns are a multiple of it, so that a byte of mask lies in one row; else 1
    WIDE: tl.constexpr,
    STEPS: tl.constexpr,  # tiles of one program, along the axis that is summed
    ROWS: tl.constexpr,
    GROUPS: tl.constexpr,  # of a tile
):
    program = tl.program_id(0)
    if WIDE:
        program = program.to(tl.int64)
    if INNERMOST:
        blocks = tl.cdiv(groups, GROUPS)
        row_block, group_block = program // blocks, program % blocks
        r = row_block * (STEPS * ROWS) + tl.arange(0, ROWS)
        g = group_block * GROUPS + tl.arange(0, GROUPS)
    else:
        row_block, group_block = program // chunks, program % chunks
        r = row_block * ROWS + tl.arange(0, ROWS)
        g = group_block * (STEPS * GROUPS) + tl.arange(0, GROUPS)
    lane = tl.arange(0, LANES)[None, None, :]
    slope, gain, clamp = number(slope, COMPUTE), number(gain, COMPUTE), number(clamp, COMPUTE)
    b_value = tl.full((1, 1, 1), 0.0, COMPUTE)
    if b is not None:
        if INNERMOST:
            c = g[None, :, None] * LANES + lane
            b_value = tl.load(b + c, mask=c < channels, other=0.0).to(COMPUTE)
        else:
            b_value = tl.load(b + r % channels).to(COMPUTE)[:, None, None]

    total = tl.full((ROWS, GROUPS, LANES), 0.0, COMPUTE)
    for _ in range(STEPS):
        first = r[:, None, None] * groups + g[None, :, None]  # [ROWS, GROUPS, 1]
        i = first * LANES + lane
        inside = (r < rows)[:, None, None] & (g < groups)[None, :, None]
        byte, shift = first, 2 * lane
        if LANES == 1:
            byte, shift = i // 4, 2 * (i % 4).to(tl.int32)
        result = _gradient(dy, ddx, x, b_value, mask, i, byte, shift, inside, slope, gain, clamp, ACT, CLAMPS, COMPUTE)
        tl.store(dx + i, result.to(dx.dtype.element_ty), mask=inside)
        total += tl.where(inside, result, 0.0)
        if INNERMOST:
            r += ROWS
        else:
            g += GROUPS
    if partial is not None:
        if INNERMOST:
            place = row_block * groups * LANES + g[:, None] * LANES + tl.arange(0, LANES)[None, :]
            tl.store(partial + place, tl.sum(total, axis=0), mask=(g < groups)[:, None])
        else:
            sums = tl.sum(tl.sum(total, axis=2), axis=1)
            tl.store(partial + r * chunks + group_block, sums, mask=r < rows)


@triton.jit
def bias_act_sum_kernel(
    partial,  # [outer, channels, chunks]
    db,  # [channels]
    outer,
    channels,
    chunks,
    WIDE: tl.constexpr,
    CHANNELS: tl.constexpr,
    TERMS: tl.constexpr,
):
    program = tl.program_id(0)
    if WIDE:
        program = program.to(tl.int64)
    c = (program * CHANNELS + tl.arange(0, CHANNELS))[:, None]
    total = tl.full((CHANNELS, TERMS), 0.0, partial.dtype.element_ty)
    start = 0
    while start < outer * chunks:
        term = (start + tl.arange(0, TERMS))[None, :]
        place = (term // chunks * channels + c) * chunks + term % chunks
        total += tl.load(partial + place, mask=(c < channels) & (term < outer * chunks), other=0.0)
        start += TERMS
    sums = tl.sum(total, axis=1)
    c = program * CHANNELS + tl.arange(0, CHANNELS)
    tl.store(db + c, sums.to(db.dtype.element_ty), mask=c < channels)
