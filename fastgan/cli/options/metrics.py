"""What `fastgan metrics` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fastgan.choices import METRICS

# What needs no weights.
PLAIN = ("kid_wavelet", "fd_wavelet", "pr_wavelet", "dc_wavelet", "copies_wavelet", "swd", "spectrum")


@dataclass
class MetricsOptions:
    """Measure the images of a checkpoint beside real ones.

    Each figure is printed with its interval, what the real images themselves would score (floor), and how it came
    about: extractor, numbers of images, resizing. metrics.jsonl keeps a line a figure, and the run's report a table.
    """

    network: Path
    """checkpoint (.safetensors) of a run, or the folder of a run: then its newest"""
    metrics: Annotated[
        tuple[str, ...],
        tyro.conf.arg(help=f"any of {', '.join(METRICS)}; published names take as many images as published"),
    ] = PLAIN
    data: str | None = None
    """real images, in any form of source; default: those that the checkpoint was trained on, read as they were then"""
    classes: tuple[str, ...] = ()
    """of --data: groups to keep, such as smileys/faces animals; default: all"""
    max_images: int | None = None
    """of --data: use at most this many; default: all"""
    images: int | None = None
    """generated images of metrics whose number is not published; default: 1000"""
    features: Path | None = None
    """file of an extractor's weights, or a folder that holds such files; default: where torch keeps them"""
    trunc: float = 1.0
    """truncation psi; published figures are without truncation, 1"""
    seed: int = 0
    """of latents and labels; labels are distributed as those of the real images"""
    batch: int = 32
    """images made at once"""
    by_class: bool = False
    """also the kernel distances of each class by itself; of a model without classes, how often it makes each class of
    the data"""
    nearest: int = 16
    """generated images to show beside the three real ones that are nearest in pixels and in wavelets, in nearest.png; 0
    for none"""
    test_data: str | None = None
    """real images that the generator was not trained on, of the same classes, in any form of source: also tells how
    many of them a classifier names rightly that has learnt of generated images (tstr), and one that has learnt of as
    many real ones (trtr). Only for models of classes"""
    outdir: Path | None = None
    """folder of metrics.jsonl, to which lines are added, and of nearest.png; default: where the checkpoint lies"""
    device: Literal["cpu", "cuda"] | None = None
    """default: cuda where there is one"""
    cfg: str | None = None
    """MODULE:NAME of the checkpoint's family, if it is one in a module of your own"""
