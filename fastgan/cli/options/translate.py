"""What `fastgan translate` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass
class TranslateOptions:
    """Translate images of any size with a checkpoint of a model that was trained to: one PNG an image.

    Names and sub-folders stay. What was transparent stays so. Files of the same name in --outdir are replaced, each
    whole; others stay.
    """

    network: Path
    """checkpoint (.safetensors) of a run, or the folder of a run: then its newest"""
    source: Path
    """an image, or a folder or zip of images"""
    outdir: Path
    """folder to write to, outside of the source; made if absent"""
    direction: Annotated[Literal["ab", "ba"] | None, tyro.conf.arg(help_behavior_hint="")] = None
    """from which set of the training into which; default: ab"""
    background: str = "white"
    """colour seen through transparent pixels while they are translated, a name or #rrggbb"""
    grid: bool = False
    """also write grid.png: the first images beside their translations, made small"""
    skip_broken: bool = False
    """leave out images that cannot be read, and name them, instead of stopping"""
    cfg: str | None = None
    """family of a module of one's own, as module:FAMILY; the module is imported"""
    device: Literal["cpu", "cuda"] | None = None
    """default: cuda where there is one"""
