"""What a run over the operators can be told, read without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

# The operators that the package has: a folder each.
OPS = tuple(sorted(path.parent.name for path in (Path(__file__).parent.parent / "ops").glob("*/op.py")))
if TYPE_CHECKING:
    Op = str
else:
    Op = Literal[OPS]


@dataclass
class OpsOptions:
    """Time the operators beside plain torch on this machine; status 1 if one of them fails or is wrong.

    Each result is compared with float64 before it is timed. docs/benchmarks.md tells what the columns mean.
    """

    op: tuple[Op, ...] = OPS
    """operators"""
    device: Literal["cpu", "cuda"] | None = None
    """default: cuda where there is one"""
    dtype: tuple[Literal["bf16", "fp16", "fp32", "fp64"], ...] | None = None
    """default: bf16 fp16 fp32 on cuda, fp32 on the CPU"""
    layout: tuple[Literal["nchw", "channels_last"], ...] = ("nchw", "channels_last")
    """memory formats"""
    seconds: float = 1.0
    """for the timings of each case in each direction, all implementations together"""
    json: Path | None = None
    """file for all figures, whole after each measurement"""
    quick: bool = False
    """one shape and one form of arguments an operator; a tenth of --seconds"""
    no_compile: bool = False
    """leave torch.compile out, whose compilations take most of the time"""
    minutes: float | None = None
    """begin no more measurements after this time; default: no end"""
    threads: int | None = None
    """of the CPU; default: torch's own choice"""
