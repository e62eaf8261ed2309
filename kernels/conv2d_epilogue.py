"""What follows a convolution, in Triton: y = residual + clamp(act(scale·u + noise + b)·gain, ±clamp); its gradients.

Each pass reads its tensors once and writes once. Halves are computed in float32. There are no atomics: partial sums are
added in a fixed order by `bias_act_sum_kernel`. `finish` is also what `conv2d_kernel` ends with.

The mask holds 4 elements a byte in memory order, low bits first: bits as in bias_act.
"""

# Triton's language is not Python's: `tl.float64` is how an argument is passed, a constexpr any constant.
# pyright: reportInvalidTypeForm=false, reportAssignmentType=false, reportGeneralTypeIssues=false

from __future__ import annotations

import triton
import triton.language as tl

from fastgan.kernels.bias_act import number, rises, stops


@triton.jit
def finish(
    v, scale, noise, b, residual, scale_place, noise_place, channel, place, has_channel, has_pixel, inside,
    gain: tl.float64, fall: tl.float64, clamp: tl.float64,
    CLAMPS: tl.constexpr, RELU: tl.constexpr, COMPUTE: tl.constexpr,
):  # fmt: skip
    """residual + clamp(act(scale·v + noise + b)·gain) and the two bits of the mask; `fall` is the gain below 0.

    Operands are None for none; of the others, what lies at the places, where it is inside.
    """
    if scale is not None:
        v *= tl.load(scale + scale_place, mask=has_channel, other=0.0)
    if noise is not None:
        v += tl.load(noise + noise_place, mask=has_pixel, other=0.0).to(COMPUTE)
    if b is not None:
        v += tl.load(b + channel, mask=has_channel, other=0.0).to(COMPUTE)
    gain, fall, clamp = number(gain, COMPUTE), number(fall, COMPUTE), number(clamp, COMPUTE)
    bits = rises(v, RELU).to(tl.int32)
    # relu makes 0 of infinity too
    result = tl.where(v < 0, 0.0, v) * gain if RELU else v * tl.where(v > 0, gain, fall)
    if CLAMPS:
        bits |= stops(result, clamp).to(tl.int32) << 1
        result = tl.where(result > clamp, clamp, tl.where(result < -clamp, -clamp, result))  # NaN stays
    if residual is not None:
        result += tl.load(residual + place, mask=inside, other=0.0).to(COMPUTE)
    return result, bits


@triton.jit
def conv2d_epilogue_kernel(
    u,  # [batch, channels, pixels] in memory order
    scale,  # [batch, channels] or None
    noise,  # [batch or 1, pixels] or None
    b,  # [channels] or None
    residual,  # as u, or None
    y,
    mask,  # [ceil(numel / 4)] or None
    numel,
    channels,
    pixels,
    noise_step,  # 0 where samples share the noise
    gain: tl.float64,
    fall: tl.float64,  # gain of the negative side
    clamp: tl.float64,
    CLAMPS: tl.constexpr,
    RELU: tl.constexpr,  # `fall` is 0
    COMPUTE: tl.constexpr,  # dtype
    LAST: tl.constexpr,  # channels are innermost, else pixels
    WHOLE: tl.constexpr,  # the innermost are a multiple of 4
    WIDE: tl.constexpr,  # 64-bit offsets
    GROUPS: tl.constexpr,  # of four elements, a program
):
    block = tl.program_id(0)
    if WIDE:
        block = block.to(tl.int64)
    group = block * GROUPS + tl.arange(0, GROUPS)
    lane = tl.arange(0, 4)[None, :]
    i = group[:, None] * 4 + lane  # [GROUPS, 4]
    columns = channels if LAST else pixels
    if WHOLE:  # four neighbours share a row
        inside = (group * 4 < numel)[:, None]
        row, column = (group * 4 // columns)[:, None], (group * 4 % columns)[:, None] + lane
    else:
        inside = i < numel
        row, column = i // columns, i % columns
    if LAST:
        n, pixel, channel = row // pixels, row % pixels, column
    else:
        n, pixel, channel = row // channels, column, row % channels

    v = tl.load(u + i, mask=inside, other=0.0).to(COMPUTE)
    result, bits = finish(
        v, scale, noise, b, residual, n * channels + channel, n * noise_step + pixel, channel, i,
        inside, inside, inside, gain, fall, clamp, CLAMPS, RELU, COMPUTE,
    )  # fmt: skip
    if mask is not None:
        bits = tl.where(inside, bits, 0) << (2 * lane)
        tl.store(mask + group, tl.sum(bits, axis=1).to(tl.uint8), mask=group * 4 < numel)
    tl.store(y + i, result.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _through(dy, mask, i, byte, shift, inside, gain: tl.float64, fall: tl.float64, COMPUTE: tl.constexpr):
    """The slope of one tile, 0 where it was clamped, and dy times it."""
    d = tl.load(dy + i, mask=inside, other=0.0).to(COMPUTE)
    slope = number(gain, COMPUTE)[:, None, None]
    if mask is not None:
        bits = tl.load(mask + byte, mask=inside, other=0).to(tl.int32) >> shift
        slope = tl.where((bits & 1) != 0, slope, number(fall, COMPUTE)[:, None, None])
        slope = tl.where((bits & 2) != 0, 0.0, slope)
    return slope, tl.where(slope == 0, 0.0, d * slope)  # a slope of 0 stops infinite gradients too


@triton.jit
def _sum_pixels(total, LAST: tl.constexpr):
    """[ROWS, GROUPS, LANES] -> [ROWS, 1, 1], or [1, GROUPS, LANES] where rows are pixels."""
    if LAST:
        return tl.sum(total, axis=0, keep_dims=True)
    else:
        return tl.sum(tl.sum(total, axis=2, keep_dims=True), axis=1, keep_dims=True)


@triton.jit
def _sum_channels(total, LAST: tl.constexpr):
    return _sum_pixels(total, not LAST)


@triton.jit
def conv2d_epilogue_backward_kernel(
    dy,  # [batch, channels, pixels] in memory order
    mask,  # None where it is linear without a bound
    y,  # None where u is given, or the sums of g·u are not wanted
    u,  # None where y suffices
    scale,  # [batch, channels] or None
    noise,  # [batch or 1, pixels] or None
    b,  # [channels] or None
    du,
    products,  # [batch, channels, chunks]: sums of g·u, where g is du / scale; or None
    sums,  # [batch, channels, chunks]: of g; or None
    noise_sums,  # [batch, pixels, channel_blocks]: of g; or None
    channels,
    pixels,
    groups,  # of LANES of the innermost
    noise_step,
    chunks,  # programs along the pixels of a sample
    channel_blocks,  # programs along its channels
    gain: tl.float64,
    fall: tl.float64,
    COMPUTE: tl.constexpr,
    LAST: tl.constexpr,  # rows are pixels and groups are channels, else the other way around
    LANES: tl.constexpr,  # 4 where the innermost are a multiple of it, so that a byte of mask lies in one row; else 1
    WIDE: tl.constexpr,
    STEPS: tl.constexpr,  # tiles of one program, along the pixels
    ROWS: tl.constexpr,
    GROUPS: tl.constexpr,  # of a tile
):
    program = tl.program_id(0)
    if WIDE:
        program = program.to(tl.int64)
    channel_block, chunk, n = (
        program % channel_blocks,
        program // channel_blocks % chunks,
        program // channel_blocks // chunks,
    )
    row = (chunk * (STEPS * ROWS) if LAST else channel_block * ROWS) + tl.arange(0, ROWS)[:, None, None]
    group = (channel_block * GROUPS if LAST else chunk * (STEPS * GROUPS)) + tl.arange(0, GROUPS)[None, :, None]
    lane = tl.arange(0, LANES)[None, None, :]
    rows = pixels if LAST else channels
    channel = group * LANES + lane if LAST else row
    place = n * channels + channel
    factor, bias = tl.full((1, 1, 1), 1.0, COMPUTE), tl.full((1, 1, 1), 0.0, COMPUTE)
    if scale is not None:
        factor = tl.load(scale + place, mask=channel < channels, other=1.0)
    if b is not None:
        bias = tl.load(b + channel, mask=channel < channels, other=0.0).to(COMPUTE)

    product, total = tl.full((ROWS, GROUPS, LANES), 0.0, COMPUTE), tl.full((ROWS, GROUPS, LANES), 0.0, COMPUTE)
    for _ in range(STEPS):
        inside = (row < rows) & (group < groups)  # [ROWS, GROUPS, 1]
        pixel = row if LAST else group * LANES + lane
        first = (n * rows + row) * (groups * LANES) + group * LANES
        i = first + lane
        shift = 2 * lane if LANES == 4 else 2 * (i % 4).to(tl.int32)
        slope, g = _through(dy, mask, i, first // 4, shift, inside, gain, fall, COMPUTE)
        tl.store(du + i, (g * factor).to(du.dtype.element_ty), mask=inside)
        total += g
        if u is not None:
            product += g * tl.load(u + i, mask=inside, other=0.0).to(COMPUTE)
        elif y is not None:
            v = tl.load(y + i, mask=inside, other=0.0).to(COMPUTE) / tl.where(slope == 0, 1.0, slope) - bias
            if noise is not None:
                v -= tl.load(noise + n * noise_step + pixel, mask=pixel < pixels, other=0.0).to(COMPUTE)
            product += tl.where(slope == 0, 0.0, g * (v / factor))
        if noise_sums is not None:
            across = _sum_channels(g, LAST)
            tl.store(
                noise_sums + (n * pixels + pixel) * channel_blocks + channel_block,
                across.to(noise_sums.dtype.element_ty),
                mask=pixel < pixels,
            )
        if LAST:
            row += ROWS
        else:
            group += GROUPS
    if products is not None:
        found = _sum_pixels(product, LAST).to(products.dtype.element_ty)
        tl.store(products + place * chunks + chunk, found, mask=channel < channels)
    if sums is not None:
        found = _sum_pixels(total, LAST).to(sums.dtype.element_ty)
        tl.store(sums + place * chunks + chunk, found, mask=channel < channels)
