"""Convolutions as matrix products in Triton, with the epilogue of a layer; and the gradient for their weights.

`conv2d_kernel`: a program multiplies ROWS pixels of y by taps x input channels, COLUMNS output channels at a time. The
samples of x are gathered as they are needed, so that nothing is unfolded in memory; styles are applied to them on the
way, and the sums leave the registers as the finished y. A transposed convolution is one of stride² smaller ones, a
phase each, whose taps never meet an inserted zero.

`conv2d_weight_gradient_kernel`: the pixels are summed over, in slices that the sizes decide;
`conv2d_weight_gradient_sum_kernel` adds the slices in order.

Reads and writes run along memory in channels_last by channels, in contiguous images by pixels; copies to shared memory
that overlap with the products need 4 bytes of either, and so channels_last for halves.
"""

# Triton's language is not Python's: `tl.float64` is how an argument is passed, a constexpr any constant.
# pyright: reportInvalidTypeForm=false, reportAssignmentType=false, reportGeneralTypeIssues=false

from __future__ import annotations

import triton
import triton.language as tl

from fastgan.kernels.conv2d_epilogue import finish


@triton.jit
def _span(length: tl.constexpr, WIDE: tl.constexpr):
    numbers = tl.arange(0, length)
    if WIDE:
        numbers = numbers.to(tl.int64)
    return numbers


@triton.jit
def _places(n, channel, pixel, channels, pixels, LAST: tl.constexpr):
    """What an image's pixel and its channel each add to an element's offset."""
    if LAST:
        return (n * pixels + pixel) * channels, channel
    else:
        return n * channels * pixels + pixel, channel * pixels


@triton.jit
def _samples(x, n, channel, row, column, real, channels, height, width, LAST: tl.constexpr):
    """Elements of images, 0 beyond their edges."""
    inside = real & (row >= 0) & (row < height) & (column >= 0) & (column < width) & (channel < channels)
    of_pixel, of_channel = _places(n, channel, row * width + column, channels, height * width, LAST)
    return tl.load(x + (of_pixel + of_channel), mask=inside, other=0.0)


@triton.jit
def _styled(x, styles, n, channel, channels, COMPUTE: tl.constexpr):
    """x times the styles [batch, channels], rounded once."""
    if styles is not None:
        style = tl.load(styles + n * channels + channel, mask=channel < channels, other=0.0)
        x = (x.to(COMPUTE) * style).to(x.dtype)
    return x


@triton.jit
def _phase(phase, pad, base, size, TAPS: tl.constexpr, UP: tl.constexpr):
    """Of every UP-th result from `phase` on: how many, the first tap of each, how many taps, where in x they begin."""
    place = phase + pad
    first = place % UP
    return (size - phase + (UP - 1)) // UP, first, (TAPS - first + (UP - 1)) // UP, place // UP + base


@triton.jit
def _pack(bits, mask, outer, inner, real_outer, real_inner, OUTER: tl.constexpr, INNER: tl.constexpr):
    """Store the bits [OUTER, INNER] of four neighbours as a byte; their places in memory are `outer` + `inner`."""
    first = tl.min(tl.reshape(tl.where(real_inner, inner, -1), (INNER // 4, 4)), axis=1)[None, :]  # -1: there are none
    shifts = 2 * tl.arange(0, 4)[None, None, :]
    packed = tl.sum(tl.reshape(bits, (OUTER, INNER // 4, 4)) << shifts, axis=2).to(tl.uint8)
    tl.store(mask + (outer // 4 + first // 4), packed, mask=real_outer & (first >= 0))


@triton.jit
def _finish(
    v, y, mask, scale, noise, b, residual, n, o, pixel, channels, noise_step, pixel_place, o_place, real,
    gain: tl.float64, fall: tl.float64, clamp: tl.float64,
    CLAMPS: tl.constexpr, RELU: tl.constexpr, COMPUTE: tl.constexpr, LAST: tl.constexpr, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):  # fmt: skip
    """Store y of a tile, and its mask."""
    place, inside = pixel_place + o_place, real & (o < channels)
    v, bits = finish(
        v, scale, noise, b, residual, n * channels + o, n * noise_step + pixel, o, place, o < channels, real, inside,
        gain, fall, clamp, CLAMPS, RELU, COMPUTE,
    )  # fmt: skip
    if mask is not None:
        if LAST:
            _pack(bits, mask, pixel_place, o_place, real, o < channels, ROWS, COLUMNS)
        else:
            o_across = tl.trans(o < channels)
            _pack(tl.trans(bits), mask, tl.trans(o_place), pixel_place, o_across, real, COLUMNS, ROWS)
    tl.store(y + place, v.to(y.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["batch", "phase_y", "base_y", "phase_x", "base_x"])
def conv2d_kernel(
    x,  # [batch, in_channels, in_y, in_x]
    w,  # [channels, TAPS_Y, TAPS_X, in_channels]
    in_scale,  # [batch, in_channels] or None
    y,  # [batch, channels, out_y, out_x]
    mask,  # [numel / 4] or None; then four neighbours in memory lie in one tile
    scale,  # [batch, channels] or None
    noise,  # [batch or 1, out_y, out_x] or None
    b,  # [channels] or None
    residual,  # as y, or None
    batch,
    in_channels,
    in_y,
    in_x,
    channels,
    out_y,
    out_x,
    phase_y,
    base_y,
    phase_x,
    base_x,
    noise_step,  # 0 where samples share the noise
    gain: tl.float64,
    fall: tl.float64,  # gain of the negative side
    clamp: tl.float64,
    CLAMPS: tl.constexpr,
    RELU: tl.constexpr,  # `fall` is 0
    TAPS_Y: tl.constexpr,
    TAPS_X: tl.constexpr,
    UP: tl.constexpr,  # stride of a transposed convolution, else 1
    DOWN: tl.constexpr,  # stride of another
    TURN: tl.constexpr,  # -1: taps are met in the reversed order, as the transposed does; else 1
    COMPUTE: tl.constexpr,  # dtype of the sums
    PRECISION: tl.constexpr,  # of products of float32
    LAST: tl.constexpr,  # images are channels_last
    SAMPLE: tl.constexpr,  # a tile lies in one sample
    WIDE: tl.constexpr,  # 64-bit offsets
    ROWS: tl.constexpr,  # pixels
    COLUMNS: tl.constexpr,  # output channels
    DEPTH: tl.constexpr,  # input channels
):
    program = tl.program_id(0)
    if WIDE:
        program = program.to(tl.int64)
    column_blocks = tl.cdiv(channels, COLUMNS)
    o = program % column_blocks * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    phase, block = program // column_blocks % (UP * UP), program // column_blocks // (UP * UP)
    size_y, first_y, taps_y, start_y = _phase(phase // UP, phase_y, base_y, out_y, TAPS_Y, UP)
    size_x, first_x, taps_x, start_x = _phase(phase % UP, phase_x, base_x, out_x, TAPS_X, UP)
    pixels = size_y * size_x
    if SAMPLE:
        blocks = tl.cdiv(tl.cdiv(out_y, UP) * tl.cdiv(out_x, UP), ROWS)
        n = block // blocks
        p = block % blocks * ROWS + tl.arange(0, ROWS)[:, None]
        real = p < pixels
    else:
        m = block * ROWS + tl.arange(0, ROWS)[:, None]
        n, p = m // tl.maximum(pixels, 1), m % tl.maximum(pixels, 1)
        real, n = m < batch * pixels, tl.minimum(n, batch - 1)
    row, column = p // tl.maximum(size_x, 1), p % tl.maximum(size_x, 1)

    sums = tl.zeros((ROWS, COLUMNS), COMPUTE)
    taps = taps_y * taps_x
    for step in range(taps * tl.cdiv(in_channels, DEPTH)):
        i = step // taps * DEPTH + _span(DEPTH, WIDE)
        tap_y, tap_x = step % taps // taps_x, step % taps % taps_x
        y0, x0 = start_y + tap_y * TURN, start_x + tap_x * TURN
        a = _samples(x, n, i[None, :], row * DOWN + y0, column * DOWN + x0, real, in_channels, in_y, in_x, LAST)
        a = _styled(a, in_scale, n, i[None, :], in_channels, COMPUTE)
        tap = (first_y + tap_y * UP) * TAPS_X + first_x + tap_x * UP
        place = (o * (TAPS_Y * TAPS_X) + tap) * in_channels + i[:, None]
        weights = tl.load(w + place, mask=(o < channels) & (i[:, None] < in_channels), other=0.0)
        sums = tl.dot(a, weights, sums, input_precision=PRECISION, out_dtype=COMPUTE)

    pixel = p
    if UP > 1:
        pixel = (phase // UP + row * UP) * out_x + phase % UP + column * UP
    pixel_place, o_place = _places(n, o, pixel, channels, out_y * out_x, LAST)
    _finish(
        sums, y, mask, scale, noise, b, residual, n, o, pixel, channels, noise_step, pixel_place, o_place, real,
        gain, fall, clamp, CLAMPS, RELU, COMPUTE, LAST, ROWS, COLUMNS,
    )  # fmt: skip


@triton.jit(do_not_specialize=["batch", "pad_y", "pad_x"])
def conv2d_weight_gradient_kernel(
    still,  # [batch, still_channels, still_y, still_x]: dy, or x where it is transposed
    moved,  # [batch, moved_channels, moved_y, moved_x]: the other, met at every stride-th place
    in_scale,  # [batch, channels of x] or None
    partial,  # [slices, O, TAPS_Y, TAPS_X, I]
    batch,
    still_channels,
    still_y,
    still_x,
    moved_channels,
    moved_y,
    moved_x,
    pad_y,
    pad_x,
    steps,  # of DEPTH pixels, a slice
    STRIDE: tl.constexpr,
    TRANSPOSED: tl.constexpr,
    TAPS_Y: tl.constexpr,
    TAPS_X: tl.constexpr,
    COMPUTE: tl.constexpr,
    PRECISION: tl.constexpr,
    LAST: tl.constexpr,
    SAMPLE: tl.constexpr,  # DEPTH pixels lie in one sample
    WIDE: tl.constexpr,
    ROWS: tl.constexpr,  # channels of still
    COLUMNS: tl.constexpr,  # channels of moved
    DEPTH: tl.constexpr,  # pixels of still
):
    program = tl.program_id(0)
    if WIDE:
        program = program.to(tl.int64)
    row_blocks, column_blocks = tl.cdiv(still_channels, ROWS), tl.cdiv(moved_channels, COLUMNS)
    s = program % row_blocks * ROWS + tl.arange(0, ROWS)[:, None]
    m = program // row_blocks % column_blocks * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    tap = program // row_blocks // column_blocks % (TAPS_Y * TAPS_X)
    part = program // row_blocks // column_blocks // (TAPS_Y * TAPS_X)
    y0, x0 = tap // TAPS_X - pad_y, tap % TAPS_X - pad_x
    pixels = still_y * still_x

    sums = tl.zeros((ROWS, COLUMNS), COMPUTE)
    for step in range(steps):
        start = (part * steps + step) * DEPTH
        k = start + tl.arange(0, DEPTH)
        real, n, p = k < batch * pixels, tl.minimum(k // pixels, batch - 1), k % pixels
        across, down = n[None, :], n[:, None]
        row, column = p // still_x, p % still_x
        inside = real[None, :]
        a = _samples(still, across, s, row[None, :], column[None, :], inside, still_channels, still_y, still_x, LAST)
        row, column, inside = row[:, None] * STRIDE + y0, column[:, None] * STRIDE + x0, real[:, None]
        c = _samples(moved, down, m, row, column, inside, moved_channels, moved_y, moved_x, LAST)
        if SAMPLE:
            across = tl.minimum(start // pixels, batch - 1)
            down = across
        if TRANSPOSED:
            a = _styled(a, in_scale, across, s, still_channels, COMPUTE)
        else:
            c = _styled(c, in_scale, down, m, moved_channels, COMPUTE)
        sums = tl.dot(a, c, sums, input_precision=PRECISION, out_dtype=COMPUTE)

    if TRANSPOSED:
        place = ((part * moved_channels + m) * (TAPS_Y * TAPS_X) + tap) * still_channels + s
    else:
        place = ((part * still_channels + s) * (TAPS_Y * TAPS_X) + tap) * moved_channels + m
    tl.store(partial + place, sums, mask=(s < still_channels) & (m < moved_channels))


@triton.jit
def conv2d_weight_gradient_sum_kernel(
    partial,  # [slices, O, taps, inputs]
    dw,  # [O, inputs, taps]
    slices,
    numel,
    inputs,
    taps,
    WIDE: tl.constexpr,
    ELEMENTS: tl.constexpr,
):
    program = tl.program_id(0)
    if WIDE:
        program = program.to(tl.int64)
    e = program * ELEMENTS + tl.arange(0, ELEMENTS)
    total = tl.zeros((ELEMENTS,), partial.dtype.element_ty)
    part = partial + e
    for _ in range(slices):
        total += tl.load(part, mask=e < numel, other=0.0)
        part += numel
    place = (e // (taps * inputs) * inputs + e % inputs) * taps + e // inputs % taps
    tl.store(dw + place, total.to(dw.dtype.element_ty), mask=e < numel)
