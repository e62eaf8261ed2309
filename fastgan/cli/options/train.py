"""What `fastgan train` can be told, whatever it trains; `cli.families` adds what a family has."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from fastgan.choices import MODELS
from fastgan.cli.flags import section
from fastgan.config.data import DataOptions
from fastgan.config.options import TrainingOptions

_OWN = "MODULE:NAME of a family in a module of your own"


@dataclass(frozen=True)
class TrainOptions:
    """Train a GAN, or go on with a run."""

    outdir: Path | None = None
    """folder of the run: checkpoints, grids, statistics; with --resume default: where the checkpoint lies"""
    config: Path | None = None
    """start from this file, the config.json of a run or a part of one, or from that of a run's folder; options given
    beside it go first"""
    cfg: Annotated[
        str | None,
        tyro.conf.arg(
            help=f"model family: {', '.join(MODELS)}, or {_OWN}; default: that of --resume, --branch, --resume-from "
            "or --config, else stylegan2",
            help_behavior_hint="",
        ),
    ] = None
    data: str | None = None
    """emoji64 (packaged, default), or the path of a folder of images, zip, idx file, folder of CIFAR's .bin files or
    of .tar shards; of pairs or two sets, a folder or zip with folders a and b"""
    resume: str | None = None
    """a checkpoint or a run's folder to go on with, from anywhere; auto: the folder --outdir if it holds a checkpoint.
    Data that have moved are found by --data: their content must be the same"""
    branch: Path | None = None
    """begin a new run in --outdir with all the state of this run (folder or checkpoint), which stays as it is; options,
    data and labels may be others, networks must have the same shapes"""
    resume_from: Path | None = None
    """begin a new run in --outdir with the networks and averages of this run (folder or checkpoint) as far as they fit
    other data, with the architecture that they have; all else begins anew. --freezed N keeps the first layers of D"""
    set: Annotated[tuple[tuple[str, ...], ...], tyro.conf.UseAppendAction] = ()
    """any field of the training or the architecture, as name=value in JSON, e.g. z_dim=128 batch_gpu=null"""
    device: str | None = None
    """cpu or cuda; default: cuda where there is one"""
    gpus: int | None = None
    """train on so many GPUs of this machine, a process each, or with --device cpu in so many processes; batch is of all
    together, a multiple of their number times batch_gpu; for several machines there is torchrun"""
    threads: int | None = None
    """CPU threads of each process; default: torch's own, or of several processes on the CPU an equal share of its cores
    """
    calibrate: Literal["never", "auto", "full"] = "auto"
    """prove and time the kernels before: auto, for a minute, on a GPU of which nothing is known yet; full, all of them,
    on any device"""
    tensorboard: bool = False
    """also write figures and grids for TensorBoard, to the run's folder tensorboard; needs fastgan[tensorboard]"""
    overcommit: bool = False
    """begin even if training takes more memory than there is, by the estimate that is told at the start"""
    dry_run: Annotated[bool, tyro.conf.arg(aliases=["-n"])] = False
    """print the resolved configuration, parameter counts and the memory that training takes, and stop"""


def data_flags(refused: Collection[str] = ()) -> Any:
    """The options of which images to train on, but for `refused` ones."""
    written = {"resolution": "64, or WxH such as 96x64", "background": "here a name or #rrggbb; default: white"}
    return section("data", DataOptions, ("source", "path", *refused), written=written)


def options_for(arguments: Sequence[str]) -> type:
    """The options that these arguments may name: those of the family that they are about.

    Help without a family is about what all have in common, and needs no torch.
    """
    asks = not {"-h", "--help"}.isdisjoint(arguments)
    given = {argument.partition("=")[0] for argument in arguments}
    if asks and given.isdisjoint({"--cfg", "--config", "--resume", "--branch", "--resume-from"}):
        return _of_every_family()
    families = importlib.import_module("fastgan.cli.families")
    try:
        options = families.options_of(families.family_of(arguments))
        options.arguments = tuple(arguments)
        return options
    except (ValueError, OSError):
        if asks and "--cfg" not in given:
            return _of_every_family()
        raise


def _of_every_family() -> type:
    training = section("training", TrainingOptions, defaults=False)
    named = [(name, made, field(default_factory=made.__origin__)) for name, made in
             (("images", data_flags()), ("training", training))]  # fmt: skip
    made = make_dataclass("TrainOptions", named, bases=(TrainOptions,), frozen=True)
    made.__doc__ = (
        f"{TrainOptions.__doc__}\n\nThese options every family has. `fastgan train --cfg FAMILY --help` shows all of a "
        f"family, with its defaults; FAMILY is {', '.join(MODELS)}, or {_OWN}."
    )
    return made
