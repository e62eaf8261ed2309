"""What `fastgan compare` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal


@dataclass
class CompareOptions:
    """Train two configurations side by side, and tell whether a figure of them differs by more than chance.

    Side a and side b are trained in turns, a run a seed each, as `fastgan train` does it: OUTDIR/a-0, b-0, a-1, ... A
    comparison that was interrupted goes on by the same command; runs that are complete are not repeated, also for
    another --metric or more --seeds. Then --metric is measured of every run, and the difference of the two means is
    told with its 95 % interval (Welch's, with Student's quantiles). OUTDIR/compare.json keeps all of it.
    """

    verbatim: ClassVar[tuple[str, ...]] = ("--a", "--b", "--common")

    b: str
    """options of `fastgan train` that side b has beside the common ones, in quotes: "--precision bf16"; "" for none"""
    outdir: Path
    """folder of the runs and of compare.json"""
    a: str | None = None
    """options of side a, with which b is compared; default: none beside the common ones"""
    common: str | None = None
    """options of both sides, such as --cfg, --data and --kimg; --outdir, --seed and --resume are compare's own"""
    metric: str = "kid_wavelet"
    """a figure of any metric of `fastgan metrics`, such as fd_wavelet or precision_wavelet"""
    seeds: int = 3
    """runs of each side, of seeds 0, 1, ...; of 1 alone the interval is of its images, without training's chance"""
    images: int | None = None
    """generated images of each run, where the metric's number is not published; default: 1000"""
    features: Path | None = None
    """file of an extractor's weights, or a folder that holds such files; default: where torch keeps them"""
    gate: bool = False
    """exit with status 1 where b is worse beyond the interval"""
    tolerance: float | None = None
    """of --gate: exit with 1 also where the interval allows that b is worse by more than this share of a's mean; 0.05
    is 5 %; default: what is not shown does not count"""
    device: Literal["cpu", "cuda"] | None = None
    """where to measure, which --device among a side's options does not tell; default: cuda where there is one"""
