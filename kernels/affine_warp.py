"""affine_warp in Triton: samples at twice the rate, where a map leads, and pixels of them, under a colour matrix.

Forward in three launches: the samples of y, each from 7·7 pixels of x, into memory; these halved along rows, then
along columns. The adjoint in four: D's adjoint is U / 2 along each axis and U's is 2 D, so the first makes samples of
dy, which ends at its outer pixels, and the last two make dx, a pixel from all that show mirror images of it. Between
them every sample of x's period gathers those of y that read it: the few around its place under the inverse map, or,
where there is no inverse or they would be more, all.

A map that copies pixels has taps of 1 and 0. There are no atomics: sums have their order. A program has up to four
channels of a few samples, whose places they share. Places are float64. Halves are computed in float32.
"""

# Triton's language is not Python's: a constexpr is any constant.
# pyright: reportInvalidTypeForm=false, reportAssignmentType=false, reportGeneralTypeIssues=false

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from fastgan.kernels.bias_act import number
from fastgan.kernels.launch import TILES, WIDEST, Plan, compute_type, divide_up, power_of_two

COLORS = 4  # channels of a program; a colour matrix has no more
SYM6 = tl.constexpr((  # low-pass of the wavelet; tap 5 is the centre
    0.01089235016328, 0.00246830618592, -0.08343160770584002, -0.03416156079324, 0.34722898647835, 0.55694639196396,
    0.23895218566605, -0.05136248493090002, -0.01489187564922, 0.03162528132994, 0.00124996104639,
    -0.005515933754690001,
))  # fmt: skip


@triton.jit
def _program(channels, places, WIDE: tl.constexpr, CHANNELS: tl.constexpr, PLACES: tl.constexpr):
    """A program's image, channels [CHANNELS, 1] and places [1, PLACES]; of 64 bits where offsets are."""
    program = tl.program_id(0)
    if WIDE:
        program = program.to(tl.int64)
    tiles, groups = tl.cdiv(places, PLACES), tl.cdiv(channels, CHANNELS)
    place = program % tiles * PLACES + tl.arange(0, PLACES)[None, :]
    c = program // tiles % groups * CHANNELS + tl.arange(0, CHANNELS)[:, None]
    return program // tiles // groups, c, place


@triton.jit
def _map(theta, n, h, w):
    """From y's samples to x's, both counted from the first pixel; whether reachable, and a copy of pixels: [1, 1]."""
    theta += 6 * n + tl.arange(0, 1)[None, :]
    xx, xy, tx = tl.load(theta).to(tl.float64), tl.load(theta + 1).to(tl.float64), tl.load(theta + 2).to(tl.float64)
    yx, yy, ty = tl.load(theta + 3).to(tl.float64), tl.load(theta + 4).to(tl.float64), tl.load(theta + 5).to(tl.float64)
    across, down = w.to(tl.float64) - 1.0, h.to(tl.float64) - 1.0
    shift_x = 2.0 * tx + across - xx * across - xy * down
    shift_y = 2.0 * ty + down - yx * across - yy * down
    margin = across + down + 2.0
    reached_x = tl.abs(xx) * (across + 6.0) + tl.abs(xy) * (down + 6.0) + 2.0 * tl.abs(tx) + margin
    reached_y = tl.abs(yx) * (across + 6.0) + tl.abs(yy) * (down + 6.0) + 2.0 * tl.abs(ty) + margin
    reachable = (reached_x < 16777216.0) & (reached_y < 16777216.0)
    copies = (tl.abs(xx) + tl.abs(xy) == 1.0) & (tl.abs(yx) + tl.abs(yy) == 1.0) & (tl.abs(xx * yy - xy * yx) == 1.0)
    copies = copies & (shift_x * 0.5 == tl.floor(shift_x * 0.5)) & (shift_y * 0.5 == tl.floor(shift_y * 0.5))
    return xx, xy, yx, yy, shift_x, shift_y, reachable, copies & (xx * xy == 0.0)


@triton.jit
def _remainder(place, period):
    rest = place % period
    return tl.where(rest < 0, rest + period, rest)


@triton.jit
def _read(place, size, ADJOINT: tl.constexpr):
    """The pixel that a place shows, and whether it shows one: dy ends, x goes on by reflection."""
    if ADJOINT:
        return place, (place >= 0) & (place < size)
    rest = _remainder(place, tl.maximum(2 * size - 2, 1))
    return tl.where(rest < size, rest, 2 * size - 2 - rest), place == place


@triton.jit
def _split(place, COMPUTE: tl.constexpr):
    """Of a place: the pixel whose samples are at or below it, whether the second of these, and the part beyond it."""
    low = tl.floor(place)
    sample = low.to(tl.int32)
    odd = (sample & 1) == 1
    return sample >> 1, odd, (place - low).to(COMPUTE)


@triton.jit
def _tap(odd, part, copies, T: tl.constexpr, COMPUTE: tl.constexpr):
    """What pixel e - 3 + T weighs at a place between two samples, the first of them 2e, or 2e + 1 where it is odd."""
    own: tl.constexpr = 2.0 * SYM6[11 - 2 * T] if T < 6 else 0.0
    next: tl.constexpr = 2.0 * SYM6[12 - 2 * T] if T > 0 else 0.0
    last: tl.constexpr = 2.0 * SYM6[13 - 2 * T] if T > 0 else 0.0
    whole: tl.constexpr = 1.0 if T == 3 else 0.0
    even_one, odd_one, before = number(own, COMPUTE), number(next, COMPUTE), number(last, COMPUTE)
    weight = tl.where(odd, (1.0 - part) * odd_one + part * before, (1.0 - part) * even_one + part * odd_one)
    return tl.where(copies, tl.where(odd, 0.0, whole).to(COMPUTE), weight)


@triton.jit(do_not_specialize=["channels", "h", "w"])
def affine_warp_samples_kernel(
    x,  # [N, C, H, W]: x or dy
    theta,  # [N, 2, 3]
    samples,  # [N, C, 2H + 10, 2W + 10]
    channels,
    h,
    w,
    stride_c,
    stride_h,
    stride_w,
    ADJOINT: tl.constexpr,
    COMPUTE: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit offsets
    CHANNELS: tl.constexpr,  # of a program
    PLACES: tl.constexpr,
):
    columns, places = 2 * w + 10, (2 * w + 10) * (2 * h + 10)
    n, c, place = _program(channels, places, WIDE, CHANNELS, PLACES)
    xx, xy, yx, yy, shift_x, shift_y, reachable, copies = _map(theta, n, h, w)
    inside = (c < channels) & (place < places)
    at_x, at_y = (place % columns - 5).to(tl.float64), (place // columns - 5).to(tl.float64)
    if not ADJOINT:
        at_x, at_y = xx * at_x + xy * at_y + shift_x, yx * at_x + yy * at_y + shift_y
    pixel_x, odd_x, part_x = _split(at_x, COMPUTE)
    pixel_y, odd_y, part_y = _split(at_y, COMPUTE)
    x += n * channels * h * w + c * stride_c
    total = tl.full((CHANNELS, PLACES), 0.0, COMPUTE)
    for i in tl.static_range(7):
        row, real_y = _read(pixel_y + (i - 3), h, ADJOINT)
        weight_y = _tap(odd_y, part_y, copies, i, COMPUTE)
        of_row = tl.full((CHANNELS, PLACES), 0.0, COMPUTE)
        for j in tl.static_range(7):
            column, real_x = _read(pixel_x + (j - 3), w, ADJOINT)
            weight = _tap(odd_x, part_x, copies, j, COMPUTE)
            wanted = inside & real_x & real_y & reachable & (weight != 0.0) & (weight_y != 0.0)
            if WIDE:
                row, column = row.to(tl.int64), column.to(tl.int64)
            of_row += weight * tl.load(x + row * stride_h + column * stride_w, mask=wanted, other=0.0).to(COMPUTE)
        total += weight_y * of_row
    tl.store(samples + (n * channels + c) * places + place, total, mask=inside)


@triton.jit
def _copies_seen(xx, xy, across, down, shift, period):
    """The first of the periods in which y's samples read x, and how many there are; as float64."""
    middle = xx * (across + 0.5) + xy * (down + 0.5) + shift
    half = (tl.abs(xx) * (2.0 * across + 11.0) + tl.abs(xy) * (2.0 * down + 11.0)) * 0.5 + 1.0
    first = tl.floor((middle - half) / period)
    return first, tl.floor((middle + half) / period) - first + 1.0


@triton.jit(do_not_specialize=["channels", "h", "w"])
def affine_warp_gather_kernel(
    samples,  # [N, C, 2H + 10, 2W + 10]: of dy
    theta,  # [N, 2, 3]
    periods,  # [N, C, 4H - 4, 4W - 4], of one pixel 2: samples of dx
    channels,
    h,
    w,
    COMPUTE: tl.constexpr,
    WIDE: tl.constexpr,
    CHANNELS: tl.constexpr,
    PLACES: tl.constexpr,
):
    period_x, period_y = tl.maximum(4 * w - 4, 2), tl.maximum(4 * h - 4, 2)
    places, rows, columns = period_x * period_y, 2 * h + 10, 2 * w + 10
    n, c, place = _program(channels, places, WIDE, CHANNELS, PLACES)
    xx, xy, yx, yy, shift_x, shift_y, reachable, _ = _map(theta, n, h, w)
    inside = (c < channels) & (place < places)
    across, down = w.to(tl.float64) - 1.0, h.to(tl.float64) - 1.0
    every_x, every_y = period_x.to(tl.float64), period_y.to(tl.float64)
    first_x, count_x = _copies_seen(xx, xy, across, down, shift_x, every_x)
    first_y, count_y = _copies_seen(yx, yy, across, down, shift_y, every_y)
    scale = 1.0 / (xx * yy - xy * yx)
    reach_b, reach_a = (tl.abs(yy) + tl.abs(xy)) * tl.abs(scale), (tl.abs(xx) + tl.abs(yx)) * tl.abs(scale)
    few_b, few_a = tl.floor(2.0 * reach_b) + 1.0, tl.floor(2.0 * reach_a) + 1.0
    few = count_x * count_y * few_a * few_b < rows * columns  # not where there is no inverse
    loops_x, loops_y = tl.where(few, count_x, 1.0).to(tl.int32), tl.where(few, count_y, 1.0).to(tl.int32)
    width, height = tl.where(few, few_b, columns).to(tl.int32), tl.where(few, few_a, rows).to(tl.int32)
    loops, wanted = tl.sum(tl.where(reachable, loops_x * loops_y, 0)), tl.sum(width * height)
    m_x, m_y = (place % period_x).to(tl.float64), (place // period_x).to(tl.float64)
    samples += (n * channels + c) * rows * columns
    total = tl.full((CHANNELS, PLACES), 0.0, COMPUTE)
    for loop in range(loops):
        x = m_x + tl.where(few, (first_x + (loop % loops_x).to(tl.float64)) * every_x, 0.0)
        y = m_y + tl.where(few, (first_y + (loop // loops_x).to(tl.float64)) * every_y, 0.0)
        b_first = tl.where(few, tl.ceil((yy * (x - shift_x) - xy * (y - shift_y)) * scale - reach_b), -5.0)
        a_first = tl.where(few, tl.ceil((xx * (y - shift_y) - yx * (x - shift_x)) * scale - reach_a), -5.0)
        for each in range(wanted):
            b, a = b_first + (each % width).to(tl.float64), a_first + (each // width).to(tl.float64)
            off_x, off_y = xx * b + xy * a + shift_x - x, yx * b + yy * a + shift_y - y
            off_x -= tl.where(few, 0.0, every_x * tl.floor(off_x / every_x + 0.5))
            off_y -= tl.where(few, 0.0, every_y * tl.floor(off_y / every_y + 0.5))
            near = (tl.abs(off_x) < 1.0) & (tl.abs(off_y) < 1.0) & (b >= -5.0) & (a >= -5.0)
            near = near & (b < columns - 5) & (a < rows - 5)
            at = (tl.where(near, a, 0.0).to(tl.int32) + 5) * columns + tl.where(near, b, 0.0).to(tl.int32) + 5
            value = tl.load(samples + at, mask=inside & near, other=0.0)
            total += ((1.0 - tl.abs(off_x)) * (1.0 - tl.abs(off_y))).to(COMPUTE) * value
    tl.store(periods + (n * channels + c) * places + place, total, mask=inside)


@triton.jit
def _halved(samples, pixel, step, size, copies, inside, ADJOINT: tl.constexpr, COMPUTE: tl.constexpr):
    """D along an axis whose samples lie `step` apart; the adjoint of all images of a pixel; outer ones have one."""
    total = tl.full(inside.shape, 0.0, COMPUTE)
    for mirrored in tl.static_range(2 if ADJOINT else 1):
        seen = inside
        if mirrored:
            seen = inside & (pixel > 0) & (pixel < size - 1)
        for k in tl.static_range(12):
            place = 2 * pixel + k
            if ADJOINT:
                place = _remainder((-2 * pixel if mirrored else 2 * pixel) + (k - 5), tl.maximum(4 * size - 4, 2))
            weight = tl.where(copies, number(1.0 if k == 5 else 0.0, COMPUTE), number(SYM6[k], COMPUTE))
            total += weight * tl.load(samples + place * step, mask=seen & (weight != 0.0), other=0.0)
    return total


@triton.jit(do_not_specialize=["channels", "h", "w", "rows"])
def affine_warp_halve_kernel(
    samples,  # [N, C, rows, 2W + 10], or in the adjoint [N, C, rows, 4W - 4]
    theta,  # [N, 2, 3]
    halved,  # [N, C, rows, W]
    channels,
    h,
    w,
    rows,
    ADJOINT: tl.constexpr,
    COMPUTE: tl.constexpr,
    WIDE: tl.constexpr,
    CHANNELS: tl.constexpr,
    PLACES: tl.constexpr,
):
    n, c, place = _program(channels, rows * w, WIDE, CHANNELS, PLACES)
    _, _, _, _, _, _, _, copies = _map(theta, n, h, w)
    inside = (c < channels) & (place < rows * w)
    columns = tl.maximum(4 * w - 4, 2) if ADJOINT else 2 * w + 10
    samples += ((n * channels + c) * rows + place // w) * columns
    total = _halved(samples, place % w, 1, w, copies, inside, ADJOINT, COMPUTE)
    tl.store(halved + (n * channels + c) * rows * w + place, total, mask=inside)


@triton.jit(do_not_specialize=["channels", "h", "w"])
def affine_warp_kernel(
    halved,  # [N, C, 2H + 10, W], or in the adjoint [N, C, 4H - 4, W]
    theta,  # [N, 2, 3]
    color,  # [N, C, C + 1] or None
    y,  # [N, C, H, W]: y or dx
    channels,
    h,
    w,
    stride_c,
    stride_h,
    stride_w,
    LINEAR: tl.constexpr,
    ADJOINT: tl.constexpr,
    COMPUTE: tl.constexpr,
    WIDE: tl.constexpr,
    CHANNELS: tl.constexpr,  # of a program: all, where there is a colour matrix
    PLACES: tl.constexpr,
):
    n, c, place = _program(channels, h * w, WIDE, CHANNELS, PLACES)
    _, _, _, _, _, _, reachable, copies = _map(theta, n, h, w)
    inside = (c < channels) & (place < h * w)
    column, row = place % w, place // w
    rows = tl.maximum(4 * h - 4, 2) if ADJOINT else 2 * h + 10
    halved += (n * channels + c) * rows * w + column
    total = _halved(halved, row, w, h, copies, inside, ADJOINT, COMPUTE)
    total = tl.where(reachable, total, float("nan"))
    if color is not None:
        color += n * channels * (channels + 1)
        of, into = tl.arange(0, CHANNELS)[None, :], tl.arange(0, CHANNELS)[:, None]
        at = of * (channels + 1) + into if ADJOINT else into * (channels + 1) + of
        matrix = tl.load(color + at, mask=(of < channels) & (into < channels), other=0.0)
        total = tl.sum(matrix[:, :, None] * total[None, :, :], axis=1)
        if not LINEAR:
            total += tl.load(color + c * (channels + 1) + channels, mask=c < channels, other=0.0)
    y += n * channels * h * w + c * stride_c + row * stride_h + column * stride_w
    tl.store(y, total.to(y.dtype.element_ty), mask=inside)


def _plan(kernel: Any, x: Any, places: int, tensors: dict[str, Any], **settings: Any) -> Plan:
    """Of programs that share the channels of x [N, C, H, W] and so many places between them."""
    tile, (n, channels, h, w) = TILES["affine_warp", x.element_size()], x.shape
    group = min(power_of_two(channels), COLORS)
    share = min(tile.elements // group, power_of_two(places))
    largest = max(tensor.numel() for tensor in tensors.values() if tensor is not None)
    arguments = tensors | dict(channels=channels, h=h, w=w) | settings
    arguments |= dict(COMPUTE=compute_type(x), WIDE=largest > WIDEST)
    arguments |= dict(CHANNELS=group, PLACES=share)
    return Plan(kernel, n * divide_up(channels, group) * divide_up(places, share), arguments, tile.warps)


def _strides(x: Any) -> dict[str, int]:
    channels, h, w = x.shape[1:]
    if x.is_contiguous():
        return dict(stride_c=h * w, stride_h=w, stride_w=1)
    return dict(stride_c=1, stride_h=w * channels, stride_w=channels)


def window_size(x: Any) -> tuple[int, ...]:
    """[N, C, 2H + 10, 2W + 10], of y's samples."""
    n, channels, h, w = x.shape
    return n, channels, 2 * h + 10, 2 * w + 10


def period_size(x: Any) -> tuple[int, ...]:
    """[N, C, 4H - 4, 4W - 4], of x's samples until they repeat; 2 along an axis of one pixel."""
    n, channels, h, w = x.shape
    return n, channels, max(4 * h - 4, 2), max(4 * w - 4, 2)


def affine_warp_samples(x: Any, theta: Any, samples: Any, adjoint: bool) -> Plan:
    """The samples of y; in the adjoint, where x is dy, their gradients.

    Args:
        x: [N, C, H, W], not empty, contiguous or channels_last.
        theta: [N, 2, 3] in the type of the arithmetic.
        samples: of `window_size`, in the type of the arithmetic.
        adjoint: dy's, wherever theta leads.
    """
    tensors = dict(x=x, theta=theta, samples=samples)
    return _plan(affine_warp_samples_kernel, x, samples[0, 0].numel(), tensors, **_strides(x), ADJOINT=adjoint)


def affine_warp_gather(x: Any, samples: Any, theta: Any, periods: Any) -> Plan:
    """The gradients of the samples of x, `periods` of `period_size`, from those of y's."""
    places = periods[0, 0].numel()
    return _plan(affine_warp_gather_kernel, x, places, dict(samples=samples, theta=theta, periods=periods))


def affine_warp_halve(x: Any, samples: Any, theta: Any, halved: Any, adjoint: bool) -> Plan:
    """`halved` [N, C, rows, W]: the samples of y or, in the adjoint, a period of those of x, halved along rows."""
    tensors, rows = dict(samples=samples, theta=theta, halved=halved), halved.shape[2]
    return _plan(affine_warp_halve_kernel, x, rows * halved.shape[3], tensors, rows=rows, ADJOINT=adjoint)


def affine_warp(halved: Any, theta: Any, color: Any, y: Any, linear: bool, adjoint: bool) -> Plan:
    """Pixels y.

    Args:
        halved: what `affine_warp_halve` wrote.
        theta: as for the others.
        color: [N, C, C + 1] in the type of the arithmetic, or None.
        y: [N, C, H, W], contiguous or channels_last.
        linear: leave out what color adds.
        adjoint: y is dx.
    """
    tensors, places = dict(halved=halved, theta=theta, color=color, y=y), y.shape[2] * y.shape[3]
    return _plan(affine_warp_kernel, y, places, tensors, **_strides(y), LINEAR=linear, ADJOINT=adjoint)
