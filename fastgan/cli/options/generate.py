"""What `fastgan generate` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass
class GenerateOptions:
    """Make images from a checkpoint: one PNG a seed, with --grid also all in one.

    Files of the same name in --outdir are replaced, each whole; others stay.
    """

    network: Path
    """checkpoint (.safetensors) of a run, or the folder of a run: then its newest"""
    outdir: Path
    """folder to write to; made if absent"""
    seeds: str = "0-31"
    """numbers and ranges, e.g. 0-31,40; a seed always gives the same image"""
    trunc: float = 1.0
    """truncation psi: 1 leaves variety as it is, 0 gives the average image; below 1 trades variety for quality"""
    trunc_center: Literal["class", "all"] = "class"
    """what truncation leads to: the average of the image's class, or of all classes"""
    class_: Annotated[tuple[str, ...] | None, tyro.conf.arg(name="class", help_behavior_hint="")] = None
    """names or numbers of classes, or all: the same seeds in each, a row of the grid a class; default: one class drawn
    for each seed. Only for conditional models"""
    label: str | None = None
    """label vector of all images, as numbers with commas between them, e.g. 0.1,-0.5; default: one drawn for each seed
    from the sample of the data's labels that the checkpoint keeps. Only for conditional models, and not with --class"""
    noise_mode: Literal["const", "random", "none"] = "const"
    """the layers' own noise, fresh noise for each seed, or none"""
    translate: tuple[float, float] = (0.0, 0.0)
    """move every picture to the right and down, in widths, e.g. 0.25 -0.1. For stylegan3-t and stylegan3-r alone"""
    rotate: float = 0.0
    """turn every picture counter-clockwise, in degrees, before it is moved; likewise"""
    grid: bool = False
    """also write grid.png with all images"""
    no_images: bool = False
    """write no seed0000.png ..., the grid alone"""
    batch: int = 16
    """images made at once"""
    device: Literal["cpu", "cuda"] | None = None
    """default: cuda where there is one"""
    cfg: str | None = None
    """MODULE:NAME of the checkpoint's family, if it is one in a module of your own"""
