"""What `fastgan train` can be told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from fastgan.choices import ADVERSARIAL, METRICS, MODELS, TRANSFORMS


def _listing(text: str, names: Iterable[str]) -> Any:
    """Help text that names what a registry holds, so that a new entry appears by itself."""
    return tyro.conf.arg(help=f"{text}: {', '.join(names)}", help_behavior_hint="")


@dataclass(frozen=True)
class TrainOptions:
    """Train a GAN, or go on with a run.

    What is not given takes the default of the model family, or with --resume the value of the run.
    """

    outdir: Path | None = None
    """folder of the run: checkpoints, grids, statistics; with --resume default: where the checkpoint lies"""
    config: Path | None = None
    """start from this file, the config.json of a run or a part of one, or from that of a run's folder; options given
    beside it go first"""
    cfg: Annotated[str | None, _listing("model family (default: stylegan2)", MODELS)] = None
    data: str | None = None
    """emoji64 (packaged, default), or the path of a folder of images, zip, idx file, folder of CIFAR's .bin files or
    of .tar shards"""
    classes: tuple[str, ...] | None = None
    """groups of the data to keep, e.g. smileys/faces animals; default: all"""
    resolution: str | None = None
    """pixels, 64 or WxH such as 96x64; images are cropped and resized; default: the images' own"""
    max_images: int | None = None
    """use at most this many images; default: all"""
    channels: Literal[1, 3] | None = None
    """3 for RGB, 1 for grey; default: 1 where the format holds grey images alone, else 3"""
    background: str | None = None
    """colour seen through transparent pixels, a name or #rrggbb; default: white"""
    transform: Annotated[str | None, _listing("how to crop (default: center-crop)", TRANSFORMS)] = None
    skip_broken: bool | None = None
    """leave out images that cannot be read, and name them, instead of stopping; default: no"""
    stream: Annotated[bool | None, tyro.conf.FlagConversionOff, tyro.conf.arg(help_behavior_hint="")] = None
    """decode images as they are asked for, in bounded memory; default: if they need more than 2 GiB"""
    cond: bool | None = None
    """condition on the labels of the data, classes or vectors (a dataset.json, or a sub-folder a class); default: no"""
    mirror: bool | None = None
    """flip images left-right at random; default: no"""
    batch: int | None = None
    """images per step"""
    batch_gpu: int | None = None
    """images per micro-batch; default: the whole batch"""
    kimg: float | None = None
    """length of the run, thousands of real images"""
    tick: float | None = None
    """kimg between lines of statistics"""
    snap: int | None = None
    """ticks between grids, checkpoints and metrics"""
    keep: int | None = None
    """checkpoints kept, the newest; 0 keeps all"""
    metrics: Annotated[tuple[str, ...] | None, _listing("measured at every snapshot (default: none)", METRICS)] = None
    seed: int | None = None
    """of weights, latents and the order of the data"""
    loss: Annotated[str | None, _listing("adversarial loss (default: the family's)", ADVERSARIAL)] = None
    gamma: float | None = None
    """R1 weight; default: the family's, for stylegan2 0.0002 R^2 / batch"""
    pl_weight: float | None = None
    """path-length penalty weight; 0 for none"""
    glr: float | None = None
    """learning rate of G"""
    dlr: float | None = None
    """learning rate of D"""
    ema_kimg: float | None = None
    """half-life of the averaged generator, kimg; default: batch * 10 / 32"""
    cbase: int | None = None
    """channels at resolution r are min(cbase / r, cmax)"""
    cmax: int | None = None
    """see cbase"""
    map_depth: int | None = None
    """layers of the mapping network"""
    mbstd_group: int | None = None
    """largest group of the minibatch standard deviation"""
    set: Annotated[tuple[tuple[str, ...], ...], tyro.conf.UseAppendAction] = ()
    """any other field of the architecture or the training options, as name=value, e.g. z_dim=128"""
    resume: str | None = None
    """a checkpoint or a run's folder to go on with, from anywhere; auto: the folder --outdir if it holds a checkpoint.
    Data that have moved are found by --data: their content must be the same"""
    branch: Path | None = None
    """begin a new run in --outdir with all the state of this run (folder or checkpoint), which stays as it is; options,
    data and labels may be others, networks must have the same shapes"""
    device: str | None = None
    """cpu or cuda; default: cuda where there is one"""
    threads: int | None = None
    """CPU threads; default: torch's own"""
    tensorboard: bool = False
    """also write figures and grids for TensorBoard, to the run's folder tensorboard; needs fastgan[tensorboard]"""
    dry_run: Annotated[bool, tyro.conf.arg(aliases=["-n"])] = False
    """print the resolved configuration and parameter counts, and stop"""
