"""What `fastgan video` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass
class VideoOptions:
    """Make a video from a checkpoint: a closed loop, whose last frame leads to the first as any to the next.

    Each keyframe of a walk shows what `fastgan generate` shows of its seeds. What --output names is replaced whole.
    """

    network: Path
    """checkpoint (.safetensors) of a run, or the folder of a run: then its newest"""
    output: Path
    """.mp4 or .webm (pip install 'fastgan[video]'), .webp, .gif or .png, animated, or a folder for a PNG a frame;
    the folder of a file is made if absent"""
    shot: Literal["walk", "pan", "rotate"] = "walk"
    """walk: from seed to seed; pan, rotate: the latent stays, and the picture goes in a circle of an eighth of its
    width, or turns once. These two only for stylegan3-t and stylegan3-r"""
    seeds: str | None = None
    """numbers and ranges, e.g. 0-31,40; each keyframe takes as many as there are cells, row by row; default: from 0,
    8 keyframes of a walk, or one a class if several are named, one of a pan or turn"""
    grid: str = "1x1"
    """COLUMNSxROWS of cells in a frame, each with seeds of its own, e.g. 4x2"""
    seconds: float | None = None
    """from a keyframe to the next, or of a whole pan or turn; default: 2, or 8"""
    fps: int = 30
    """frames a second"""
    trunc: float = 1.0
    """truncation psi: 1 leaves variety as it is, 0 gives the average image; below 1 trades variety for quality"""
    trunc_center: Literal["class", "all"] = "class"
    """what truncation leads to: the average of the image's class, or of all classes"""
    class_: Annotated[tuple[str, ...] | None, tyro.conf.arg(name="class", help_behavior_hint="")] = None
    """names or numbers of classes, or all: the seeds in the first, then in the next, so that one seed walks through
    them; default: one class drawn for each seed. Only for conditional models"""
    label: str | None = None
    """label vector of all images, as numbers with commas between them, e.g. 0.1,-0.5; default: one drawn for each seed.
    Only for conditional models, and not with --class"""
    noise_mode: Literal["const", "none"] = "const"
    """the layers' own noise, which stays all through, or none"""
    batch: int = 16
    """images made at once"""
    device: Literal["cpu", "cuda"] | None = None
    """default: cuda where there is one"""
    cfg: str | None = None
    """MODULE:NAME of the checkpoint's family, if it is one in a module of your own"""
