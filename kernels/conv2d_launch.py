"""Grids and tiles of a convolution layer's kernels; see launch.py for what a plan is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastgan.kernels import launch
from fastgan.kernels.conv2d import (
    conv2d_kernel,
    conv2d_weight_gradient_kernel,
    conv2d_weight_gradient_sum_kernel,
)
from fastgan.kernels.conv2d_epilogue import conv2d_epilogue_backward_kernel, conv2d_epilogue_kernel
from fastgan.kernels.launch import Plan, compute_type, divide_up, power_of_two


@dataclass(frozen=True)
class Block:
    """What one program of a product computes: powers of two, all.

    Attributes:
        rows, columns: of the result.
        depth: of what it sums at a time, at least 16.
        warps: that share it.
        stages: tiles that are on their way from memory.
    """

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int


# (kernel, how it multiplies, whether programs are enough for a large device) -> block. Not tuned on any device yet.
BLOCKS = {
    ("conv2d", "half", "many"): Block(128, 64, 64, 8, 3),
    ("conv2d", "half", "few"): Block(64, 32, 32, 4, 4),
    ("conv2d", "tf32", "many"): Block(128, 64, 32, 8, 3),
    ("conv2d", "tf32", "few"): Block(64, 32, 32, 4, 3),
    ("conv2d", "fp32", "many"): Block(64, 64, 16, 8, 2),
    ("conv2d", "fp32", "few"): Block(32, 32, 16, 4, 2),
    ("conv2d", "fp64", "many"): Block(32, 32, 16, 4, 2),
    ("conv2d", "fp64", "few"): Block(32, 16, 16, 4, 2),
    ("conv2d_weight_gradient", "half"): Block(128, 64, 32, 8, 3),
    ("conv2d_weight_gradient", "tf32"): Block(64, 64, 32, 8, 3),
    ("conv2d_weight_gradient", "fp32"): Block(64, 64, 16, 8, 2),
    ("conv2d_weight_gradient", "fp64"): Block(32, 16, 16, 8, 2),
}

ENOUGH = 256  # programs that a large device is busy with
_MOST_STEPS = 64  # tiles of one program of the backward pass
_FEWEST_TERMS = 256  # pixels of a slice of a weight gradient, where there are so many
_SUM_ELEMENTS = 1024
Formula = tuple[int, float, float, float]  # act, alpha, gain, clamp


def _slope(act: int, alpha: float) -> float:
    """Of linear, relu and lrelu below 0."""
    return (1.0, 0.0, alpha)[act]


def _gains(formula: Formula) -> dict[str, float]:
    act, alpha, gain, _ = formula
    return dict(gain=float(gain), fall=float(_slope(act, alpha) * gain))


def _bounds(formula: Formula) -> dict[str, Any]:
    act, alpha, _, clamp = formula
    return dict(clamp=float(clamp), CLAMPS=clamp >= 0, RELU=_slope(act, alpha) == 0)


def _wide(*tensors: Any) -> bool:
    return any(t is not None and t.numel() > launch.WIDEST for t in tensors)


def _noise_step(noise: Any, pixels: int) -> int:
    return 0 if noise is None or noise.shape[0] == 1 else pixels


def conv2d_epilogue(u: Any, operands: dict[str, Any], y: Any, mask: Any, last: bool, formula: Formula) -> Plan:
    """y = residual + clamp(act(scale·u + noise + b)·gain, ±clamp), and the mask where there is one.

    Args:
        u, y: [N, O, H, W] of one memory order, not empty.
        operands: scale [N, O], noise [N or 1, 1, H, W], b [O], residual as u; None for none.
        mask: uint8 [ceil(numel / 4)] or None.
        last: they are channels_last, else contiguous.
        formula: act, alpha, gain and clamp, negative for none.
    """
    tile = launch.TILES["conv2d_epilogue", y.element_size()]
    numel, channels, pixels = y.numel(), y.shape[1], y.shape[2] * y.shape[3]
    arguments = dict(u=u, y=y, mask=mask, numel=numel, channels=channels, pixels=pixels, **operands)
    arguments |= dict(noise_step=_noise_step(operands["noise"], pixels), **_gains(formula))
    arguments |= dict(_bounds(formula), COMPUTE=compute_type(y), LAST=last, WIDE=_wide(y))
    arguments |= dict(WHOLE=(channels if last else pixels) % 4 == 0, GROUPS=tile.elements // 4)
    return Plan(conv2d_epilogue_kernel, divide_up(numel, tile.elements), arguments, tile.warps)


@dataclass(frozen=True)
class Walk:
    """How programs share the images of a backward pass: sample by sample, tiles of channels x pixels.

    Attributes:
        batch, channels, pixels: of the images.
        last: channels are innermost.
        tile_rows, tile_columns: of a tile in memory order, powers of two.
        steps: tiles that a program takes, along the pixels; a power of two.
        chunks, channel_blocks: programs along pixels and channels of a sample.
    """

    batch: int
    channels: int
    pixels: int
    last: bool
    tile_rows: int
    tile_columns: int
    steps: int
    chunks: int
    channel_blocks: int

    @staticmethod
    def of(dy: Any, last: bool) -> Walk:
        """The walk over images [N, C, H, W], which are not empty."""
        tile = launch.TILES["conv2d_epilogue", dy.element_size()]
        batch, channels, pixels = dy.shape[0], dy.shape[1], dy.shape[2] * dy.shape[3]
        rows, columns = (pixels, channels) if last else (channels, pixels)
        tile_columns = min(max(power_of_two(columns), 4 if columns % 4 == 0 else 1), 128)
        tile_rows = min(power_of_two(rows), max(tile.elements // tile_columns, 1))
        tiles = divide_up(pixels, tile_rows if last else tile_columns)
        channel_blocks = divide_up(channels, tile_columns if last else tile_rows)
        steps = min(max(batch * tiles * channel_blocks // tile.programs, 1), tiles, _MOST_STEPS)
        steps = 1 << (steps.bit_length() - 1)  # few variants to compile
        chunks = divide_up(tiles, steps)
        return Walk(batch, channels, pixels, last, tile_rows, tile_columns, steps, chunks, channel_blocks)


def conv2d_epilogue_backward(walk: Walk, tensors: dict[str, Any], formula: Formula) -> Plan:
    """du = scale·g with g = gain·act'·dy, and partial sums.

    Args:
        walk: how dy is walked.
        tensors: dy, du; mask; y with noise and b, or u; scale; products and sums [N, O, chunks] of g·u and g;
            noise_sums [N, H·W, channel_blocks] of g. None or left out for none.
        formula: act, alpha, gain and clamp.
    """
    dy = tensors["dy"]
    lanes = 4 if (walk.channels if walk.last else walk.pixels) % 4 == 0 else 1
    names = ("mask", "y", "u", "scale", "noise", "b", "products", "sums", "noise_sums")
    arguments = dict.fromkeys(names) | tensors | _gains(formula)
    arguments |= dict(channels=walk.channels, pixels=walk.pixels, chunks=walk.chunks)
    arguments |= dict(groups=(walk.channels if walk.last else walk.pixels) // lanes)
    arguments |= dict(noise_step=_noise_step(arguments["noise"], walk.pixels), channel_blocks=walk.channel_blocks)
    arguments |= dict(COMPUTE=compute_type(dy), LAST=walk.last, LANES=lanes, WIDE=_wide(dy), STEPS=walk.steps)
    arguments |= dict(ROWS=walk.tile_rows, GROUPS=walk.tile_columns // lanes)
    warps = launch.TILES["conv2d_epilogue", dy.element_size()].warps
    return Plan(conv2d_epilogue_backward_kernel, walk.batch * walk.chunks * walk.channel_blocks, arguments, warps)


@dataclass(frozen=True)
class Geometry:
    """Of a convolution: stride, whether it is transposed, and the padding (x0, y0); the rest shows in y's size."""

    stride: int
    transposed: bool
    padding: tuple[int, int]


def _multiplies(x: Any, tf32: bool) -> str:
    return {2: "half", 4: "tf32" if tf32 else "fp32", 8: "fp64"}[x.element_size()]


def _fitted(block: Block, rows: int, columns: int, depth: int) -> dict[str, int]:
    """The block, no larger than what there is to compute."""
    found = zip((block.rows, block.columns, block.depth), (rows, columns, depth), strict=True)
    sizes = [min(size, max(power_of_two(length), 16)) for size, length in found]
    return dict(zip(("ROWS", "COLUMNS", "DEPTH"), sizes, strict=True))


def packs_mask(y: Any, geometry: Geometry, last: bool) -> bool:
    """Whether four neighbours in y's memory are always of one program of `conv2d`, so that it can write the mask."""
    if last:
        return y.shape[1] % 4 == 0
    return y.shape[2] * y.shape[3] % 4 == 0 and (geometry.stride == 1 or not geometry.transposed)


def conv2d(
    x: Any,
    w: Any,
    in_scale: Any,
    operands: dict[str, Any],
    y: Any,
    mask: Any,
    last: bool,
    geometry: Geometry,
    formula: Formula,
    tf32: bool,
) -> Plan:
    """The epilogue of w ∗ (in_scale·x).

    Args:
        x, y: [N, I, H, W] and [N, O, H', W'], not empty, both channels_last if `last`, else contiguous.
        w: [O, kh, kw, I], contiguous, of x's dtype.
        in_scale: [N, I] or None.
        operands, mask, formula: as in `conv2d_epilogue`; a mask only where `packs_mask`.
        geometry: of the convolution.
        tf32: multiply float32 in TF32.
    """
    up, down = (geometry.stride, 1) if geometry.transposed else (1, geometry.stride)
    batch, channels, (out_y, out_x) = y.shape[0], y.shape[1], y.shape[2:]
    pixels = divide_up(out_y, up) * divide_up(out_x, up)  # of the largest phase
    how, wide = _multiplies(x, tf32), _wide(x, w, y)
    for size in ("many", "few"):
        block = BLOCKS["conv2d", how, size]
        fitted = _fitted(
            block, batch * pixels, channels, min(x.shape[1], 32) if wide else x.shape[1]
        )  # to spill nothing
        rows = fitted["ROWS"]
        sample = pixels % rows == 0 or pixels >= 4 * rows
        row_blocks = batch * divide_up(pixels, rows) if sample else divide_up(batch * pixels, rows)
        programs = row_blocks * up * up * divide_up(channels, fitted["COLUMNS"])
        if programs >= ENOUGH:
            break
    arguments = dict(x=x, w=w, in_scale=in_scale, y=y, mask=mask, batch=batch, **operands)
    arguments |= dict(in_channels=x.shape[1], in_y=x.shape[2], in_x=x.shape[3])
    arguments |= dict(channels=channels, out_y=out_y, out_x=out_x)
    for axis, pad in zip("xy", geometry.padding, strict=True):
        # What is cropped of a transposed convolution shifts its phases; both terms stay right where it is negative.
        arguments |= {f"phase_{axis}": pad % up, f"base_{axis}": pad // up if geometry.transposed else -pad}
    arguments |= dict(noise_step=_noise_step(operands["noise"], out_y * out_x))
    arguments |= _gains(formula) | _bounds(formula)
    arguments |= dict(TAPS_Y=w.shape[1], TAPS_X=w.shape[2], UP=up, DOWN=down, TURN=-1 if geometry.transposed else 1)
    arguments |= dict(COMPUTE=compute_type(x), PRECISION="tf32" if how == "tf32" else "ieee", LAST=last)
    arguments |= dict(SAMPLE=sample, WIDE=wide, **fitted)
    return Plan(conv2d_kernel, programs, arguments, block.warps, block.stages)


@dataclass(frozen=True)
class Slices:
    """How the pixels of a weight gradient are shared.

    Attributes:
        number: of slices.
        steps: of one slice.
        tiles: programs a slice.
        block: what a program computes at a time.
        sizes: its ROWS, COLUMNS and DEPTH.
    """

    number: int
    steps: int
    tiles: int
    block: Block
    sizes: dict[str, int]

    @staticmethod
    def of(still: Any, moved: Any, taps: int, tf32: bool) -> Slices:
        """Those of the sum over the pixels of `still`."""
        block = BLOCKS["conv2d_weight_gradient", _multiplies(still, tf32)]
        pixels = still.shape[0] * still.shape[2] * still.shape[3]
        sizes = _fitted(block, still.shape[1], moved.shape[1], pixels)
        tiles = divide_up(still.shape[1], sizes["ROWS"]) * divide_up(moved.shape[1], sizes["COLUMNS"]) * taps
        number = min(divide_up(2 * ENOUGH, tiles), divide_up(pixels, _FEWEST_TERMS))
        steps = divide_up(divide_up(pixels, sizes["DEPTH"]), number)
        return Slices(divide_up(divide_up(pixels, sizes["DEPTH"]), steps), steps, tiles, block, sizes)


def conv2d_weight_gradient(
    slices: Slices, still: Any, moved: Any, in_scale: Any, partial: Any, last: bool, geometry: Geometry, tf32: bool
) -> Plan:
    """The gradient of a convolution for w, a slice of the pixels each.

    Args:
        slices: how the pixels are shared.
        still, moved: dy and in_scale·x, or the other way around where it is transposed; not empty.
        in_scale: [N, I] or None.
        partial: [slices, O, kh, kw, I].
        last, geometry, tf32: as in `conv2d`.
    """
    how, pixels = _multiplies(still, tf32), still.shape[2] * still.shape[3]
    arguments = dict(still=still, moved=moved, in_scale=in_scale, partial=partial, batch=still.shape[0])
    arguments |= dict(still_channels=still.shape[1], still_y=still.shape[2], still_x=still.shape[3])
    arguments |= dict(moved_channels=moved.shape[1], moved_y=moved.shape[2], moved_x=moved.shape[3])
    arguments |= dict(pad_x=geometry.padding[0], pad_y=geometry.padding[1], steps=slices.steps)
    arguments |= dict(STRIDE=geometry.stride, TRANSPOSED=geometry.transposed)
    arguments |= dict(TAPS_Y=partial.shape[2], TAPS_X=partial.shape[3], COMPUTE=compute_type(still))
    arguments |= dict(PRECISION="tf32" if how == "tf32" else "ieee", LAST=last)
    arguments |= dict(SAMPLE=pixels % slices.sizes["DEPTH"] == 0, WIDE=_wide(still, moved, partial), **slices.sizes)
    programs = slices.tiles * slices.number
    return Plan(conv2d_weight_gradient_kernel, programs, arguments, slices.block.warps, slices.block.stages)


def conv2d_weight_gradient_sum(partial: Any, dw: Any) -> Plan:
    """dw [O, I, kh, kw] from its slices [slices, O, kh, kw, I], added in order."""
    numel, inputs = dw.numel(), dw.shape[1]
    arguments = dict(partial=partial, dw=dw, slices=partial.shape[0], numel=numel, inputs=inputs)
    arguments |= dict(taps=dw.shape[2] * dw.shape[3], WIDE=_wide(partial), ELEMENTS=_SUM_ELEMENTS)
    return Plan(conv2d_weight_gradient_sum_kernel, divide_up(numel, _SUM_ELEMENTS), arguments)
