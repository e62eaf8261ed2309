"""Grids and tiles of the kernels: what to launch for given tensors, and the launch itself.

A plan is made from sizes, strides and dtypes alone, never from values: it is the same in every run, and launching it
needs no word from the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import triton.language as tl

from fastgan.kernels.bias_act import (
    PIECEWISE,
    bias_act_backward_kernel,
    bias_act_forward_kernel,
    bias_act_sum_kernel,
)
from fastgan.kernels.upfirdn2d import upfirdn2d_kernel


@dataclass(frozen=True)
class Tile:
    """What one program computes.

    Attributes:
        elements: of the tile, a power of two.
        warps: that share it.
        programs: from which on a program of a reduction takes several tiles.
    """

    elements: int
    warps: int = 4
    programs: int = 2048


# (operator, bytes an element) -> tile. Not tuned on any device yet.
TILES = {
    ("affine_warp", 2): Tile(256),
    ("affine_warp", 4): Tile(256),
    ("affine_warp", 8): Tile(128),
    ("bias_act", 2): Tile(2048),
    ("bias_act", 4): Tile(1024),
    ("bias_act", 8): Tile(512),
    ("conv2d_epilogue", 2): Tile(2048),
    ("conv2d_epilogue", 4): Tile(1024),
    ("conv2d_epilogue", 8): Tile(512),
    ("gradient_penalty", 2): Tile(2048),
    ("gradient_penalty", 4): Tile(1024),
    ("gradient_penalty", 8): Tile(512),
    ("upfirdn2d", 2): Tile(1024),
    ("upfirdn2d", 4): Tile(1024),
    ("upfirdn2d", 8): Tile(512),
}

_NEGATIVE_SLOPE = {"linear": 1.0, "relu": 0.0}  # lrelu's is alpha
_MOST_STEPS = 64  # tiles that one program sums
_SUM_CHANNELS, _SUM_TERMS = 4, 256
WIDEST = 2**31 - 2**21  # elements up to which offsets fit 32 bits, those of the last tile's end included


@dataclass(frozen=True)
class Plan:
    """One launch: kernel, grid, arguments by name, warps a program and the tiles that a loop reads ahead."""

    kernel: Any
    programs: int
    arguments: dict[str, Any]
    warps: int = 4
    stages: int = 3

    def launch(self) -> None:
        self.kernel[(self.programs,)](**self.arguments, num_warps=self.warps, num_stages=self.stages)


def divide_up(a: int, b: int) -> int:
    return (a + b - 1) // b


def power_of_two(n: int) -> int:
    """The smallest that is at least n."""
    return 1 << (n - 1).bit_length()


def compute_type(x: Any) -> Any:
    return tl.float64 if x.element_size() == 8 else tl.float32


def _inner(x: Any, dim: int) -> int:
    """Neighbouring elements of one channel, in memory order."""
    inner = 1
    if x.is_contiguous():
        for size in x.shape[dim + 1 :]:
            inner *= size
    return inner


def _formula(act: str, alpha: float, gain: float, clamp: float, x: Any) -> dict[str, Any]:
    slope = alpha if act == "lrelu" else _NEGATIVE_SLOPE.get(act)
    return dict(
        slope=0.0 if slope is None else float(slope),
        gain=float(gain),
        clamp=float(clamp),
        ACT=act if slope is None else PIECEWISE if slope else "relu",
        CLAMPS=clamp >= 0,
        COMPUTE=compute_type(x),
        WIDE=x.numel() > WIDEST,
    )


def bias_act_forward(
    x: Any, b: Any, y: Any, mask: Any, dim: int, act: str, alpha: float, gain: float, clamp: float
) -> Plan:
    """y, and the mask where there is one.

    Args:
        x, y: tensors of one shape and memory order, not empty.
        b: [x.shape[dim]] or None.
        mask: uint8 [ceil(numel / 4)] or None.
        dim: axis of the channels.
        act: name of the activation.
        alpha, gain: its parameter and the factor after it.
        clamp: bound of |y|; negative for none.
    """
    tile = TILES["bias_act", x.element_size()]
    numel, inner = x.numel(), _inner(x, dim)
    channels = x.shape[dim] if x.ndim else 1
    channel = "same" if inner % 4 == 0 else "next" if inner == 1 and channels % 4 == 0 else "each"
    arguments = dict(x=x, b=b, y=y, mask=mask, numel=numel, channels=channels, inner=inner)
    arguments |= _formula(act, alpha, gain, clamp, x)
    arguments |= dict(CHANNEL=channel, WHOLE=numel % 4 == 0, GROUPS=tile.elements // 4)
    return Plan(bias_act_forward_kernel, divide_up(numel, tile.elements), arguments, tile.warps)


@dataclass(frozen=True)
class Matrix:
    """A tensor in memory order as the backward passes walk it, and how programs share it.

    Attributes:
        rows, columns: its two axes.
        channels: columns are channels where `innermost`, else row r has channel r % channels.
        innermost: rows are summed for db, else columns.
        tile_rows, tile_columns: of a tile, powers of two.
        steps: tiles that a program takes, along the axis that is summed; a power of two.
        chunks: programs along that axis.
        programs: of the whole grid.
    """

    rows: int
    columns: int
    channels: int
    innermost: bool
    tile_rows: int
    tile_columns: int
    steps: int
    chunks: int
    programs: int

    @staticmethod
    def of(x: Any, dim: int, by_channel: bool) -> Matrix:
        """The matrix of x; where nothing depends on the channel, a single row."""
        tile, numel = TILES["bias_act", x.element_size()], x.numel()
        channels, inner = (x.shape[dim] if x.ndim else 1), _inner(x, dim)
        innermost = by_channel and inner == 1
        columns = numel if not by_channel else channels if innermost else inner
        rows = numel // columns
        # Tall tiles of few channels lose nothing; wide ones would leave programs without rows to sum.
        tile_columns = min(power_of_two(columns), 128 if innermost else tile.elements)
        tile_columns = max(tile_columns, 4 if columns % 4 == 0 else 1)
        tile_rows = tile.elements // tile_columns
        tiles_y, tiles_x = divide_up(rows, tile_rows), divide_up(columns, tile_columns)
        summed, others = (tiles_y, tiles_x) if innermost else (tiles_x, tiles_y)
        steps = min(max(summed * others // tile.programs, 1), summed, _MOST_STEPS)
        steps = 1 << (steps.bit_length() - 1)  # few variants to compile
        chunks = divide_up(summed, steps)
        return Matrix(rows, columns, channels, innermost, tile_rows, tile_columns, steps, chunks, chunks * others)

    def partial_sums(self) -> tuple[int, int, int]:
        """Shape of the workspace that db is summed from: [outer, channels, chunks]."""
        if self.innermost:
            return self.chunks, self.channels, 1
        return self.rows // self.channels, self.channels, self.chunks


def bias_act_backward(
    matrix: Matrix, tensors: dict[str, Any], act: str, alpha: float, gain: float, clamp: float, warps: int | None = None
) -> Plan:
    """dx, and the partial sums of db where there is a workspace for them.

    Args:
        matrix: how dy is walked.
        tensors: dy, dx; ddx in the second derivative; x with b, or mask; partial of `partial_sums()`. None for none.
        act, alpha, gain, clamp: as in `bias_act_forward`.
        warps: of a program.
    """
    dy = tensors["dy"]
    lanes = 4 if matrix.columns % 4 == 0 else 1
    arguments = dict.fromkeys(("ddx", "x", "b", "mask", "partial")) | tensors
    arguments |= dict(rows=matrix.rows, groups=matrix.columns // lanes, channels=matrix.channels)
    arguments |= dict(chunks=matrix.chunks, STEPS=matrix.steps)
    arguments |= _formula(act, alpha, gain, clamp, dy)
    arguments |= dict(INNERMOST=matrix.innermost, LANES=lanes)
    arguments |= dict(ROWS=matrix.tile_rows, GROUPS=matrix.tile_columns // lanes)
    warps = warps or TILES["bias_act", dy.element_size()].warps
    return Plan(bias_act_backward_kernel, matrix.programs, arguments, warps)


def bias_act_sum(partial: Any, db: Any) -> Plan:
    """db [channels] from the partial sums [outer, channels, chunks], in a fixed order."""
    outer, channels, chunks = partial.shape
    arguments = dict(partial=partial, db=db, outer=outer, channels=channels, chunks=chunks)
    arguments |= dict(WIDE=partial.numel() > WIDEST, CHANNELS=_SUM_CHANNELS, TERMS=_SUM_TERMS)
    return Plan(bias_act_sum_kernel, divide_up(channels, _SUM_CHANNELS), arguments)


def upfirdn2d(
    x: Any,
    f: Any,
    y: Any,
    up: tuple[int, int],
    down: tuple[int, int],
    padding: tuple[int, int],
    flip_filter: bool,
    gain: float,
) -> Plan:
    """y, all of it.

    Args:
        x, y: [N, C, H, W] and [N, C, H', W'], both contiguous or both channels_last, not empty.
        f: [taps] or [fh, fw], contiguous.
        up, down: (x, y).
        padding: (x0, y0); what follows the image shows in y's size.
        flip_filter: correlate.
        gain: factor of y.
    """
    tile = TILES["upfirdn2d", x.element_size()]
    pixel = 1 if x.is_contiguous() and y.is_contiguous() else x.shape[1]
    planes, (out_y, out_x) = x.shape[0] * x.shape[1] // pixel, y.shape[2:]
    lengths = (pixel, out_x, out_y, planes)  # the innermost axis first
    # Runs of memory lines, and a tile that is as tall as it is wide: neighbours share what they read.
    most = (1, 64) if pixel == 1 else (128 // x.element_size(), 8)
    sizes, left = [], tile.elements
    for length, bound in zip(lengths, (*most, left, left), strict=True):
        sizes.append(min(power_of_two(length), bound, left))
        left //= sizes[-1]
    phase_x, phase_y = -padding[0] % up[0], -padding[1] % up[1]
    arguments = dict(x=x, f=f, y=y, planes=planes, in_y=x.shape[2], in_x=x.shape[3])
    arguments |= dict(out_y=out_y, out_x=out_x, pixel=pixel, down_y=down[1], down_x=down[0])
    arguments |= dict(phase_y=phase_y, base_y=(padding[1] + phase_y) // up[1])
    arguments |= dict(phase_x=phase_x, base_x=(padding[0] + phase_x) // up[0], gain=float(gain))
    arguments |= dict(UP_Y=up[1], UP_X=up[0], TAPS_Y=f.shape[0], TAPS_X=f.shape[-1], SEPARABLE=f.ndim == 1)
    arguments |= dict(FLIP=flip_filter, COMPUTE=compute_type(x), WIDE=max(x.numel(), y.numel()) > WIDEST)
    arguments |= dict(PLANES=sizes[3], ROWS=sizes[2], COLUMNS=sizes[1], PIXEL=sizes[0])
    programs = 1
    for size, length in zip(sizes, lengths, strict=True):
        programs *= divide_up(length, size)
    return Plan(upfirdn2d_kernel, programs, arguments, tile.warps)
