"""squared_norm, its derivatives, and interpolate in Triton: one pass over memory each.

A sample is shared between programs, the more the fewer samples there are. Halves are computed in float32. There are no
atomics: the programs' sums are added in a fixed order by `bias_act_sum_kernel`.
"""

# Triton's language is not Python's: a constexpr is any constant.
# pyright: reportInvalidTypeForm=false, reportAssignmentType=false, reportGeneralTypeIssues=false

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from fastgan.kernels.launch import TILES, WIDEST, Plan, compute_type, divide_up, power_of_two


@triton.jit
def gradient_penalty_kernel(
    x,  # [samples, inner]
    other,  # [samples, inner]: ddx of the double backward, fake where x is the real; or None
    factor,  # [samples]: dy or epsilon; or None
    out,  # [samples, inner] or None
    sums,  # [samples, slices] or None
    inner,
    slices,  # programs that share a sample
    BETWEEN: tl.constexpr,  # out = x + factor (other - x); else 2 factor other, or x where there is no other
    COMPUTE: tl.constexpr,
    WIDE: tl.constexpr,
    STEPS: tl.constexpr,  # tiles of one program
    TILE: tl.constexpr,
):
    program = tl.program_id(0)
    if WIDE:
        program = program.to(tl.int64)
    sample = program // slices
    i = program % slices * (STEPS * TILE) + tl.arange(0, TILE)
    scale = tl.full((1,), 0.0, COMPUTE)
    if factor is not None:
        scale += tl.load(factor + sample)
    total = tl.full((TILE,), 0.0, COMPUTE)
    for _ in range(STEPS):
        inside, place = i < inner, sample * inner + i
        a = tl.load(x + place, mask=inside, other=0.0).to(COMPUTE)
        b = a
        if other is not None:
            b = tl.load(other + place, mask=inside, other=0.0).to(COMPUTE)
        if sums is not None:
            total += a * b
        if out is not None:
            result = a + scale * (b - a) if BETWEEN else 2.0 * scale * b
            tl.store(out + place, result.to(out.dtype.element_ty), mask=inside)
        i += TILE
    if sums is not None:
        if other is not None:
            total *= 2.0
        tl.store(sums + program, tl.sum(total, axis=0))


def steps_and_slices(x: Any) -> tuple[int, int]:
    """Tiles of a program, a power of two, so that few variants are compiled; and programs that share a sample."""
    tile, (samples, *sizes) = TILES["gradient_penalty", x.element_size()], x.shape
    inner = 1
    for size in sizes:
        inner *= size
    tiles = divide_up(inner, tile.elements)
    steps = power_of_two(min(tiles, divide_up(samples * tiles, tile.programs)))
    return steps, divide_up(tiles, steps)


def gradient_penalty(x: Any, other: Any, factor: Any, out: Any, sums: Any, between: bool = False) -> Plan:
    """out, and parts of sums, those that are not None.

    Args:
        x: [N, ...], not empty, sample after sample in memory.
        other: None: sums of x², out = 2·factor·x; else sums of 2·x·other, out = 2·factor·other.
        factor: [N] in the type of the arithmetic, where there is an out.
        out: like x or None.
        sums: [N, slices] in the type of the arithmetic, or None.
        between: out = x + factor·(other - x).
    """
    tile = TILES["gradient_penalty", x.element_size()]
    steps, slices = steps_and_slices(x)
    arguments = dict(x=x, other=other, factor=factor, out=out, sums=sums, inner=x.numel() // x.shape[0], slices=slices)
    arguments |= dict(
        BETWEEN=between, COMPUTE=compute_type(x), WIDE=x.numel() > WIDEST, STEPS=steps, TILE=tile.elements
    )
    return Plan(gradient_penalty_kernel, x.shape[0] * slices, arguments, tile.warps)
