"""What a run begins with: the rules for its folder, for the run that it goes on with, and for what it is to be."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from fastgan.checkpoint import latest_checkpoint
from fastgan.choices import DATA_KINDS, chosen
from fastgan.config.data import DataOptions
from fastgan.config.options import replace
from fastgan.data import Dataset
from fastgan.models.registry import configure, family
from fastgan.nn.precision import CLAMP
from fastgan.train.config import RunConfig
from fastgan.train.folder import checkpoint_at, one_writer
from fastgan.train.freezing import frozen_parameters
from fastgan.train.resuming import Origin

Way = Literal["resume", "branch", "resume-from"]


@dataclass(frozen=True)
class Wanted:
    """What is asked for; what is left out takes the value of the run that is gone on with, or the family's default.

    Attributes:
        model: a family; None for that of the file or the run, or stylegan2.
        file: a configuration to begin with, and the file's name.
        data, architecture, training: fields by name.
    """

    model: str | None = None
    file: tuple[RunConfig, Path] | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    architecture: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)


def beginning(
    outdir: Path | None, resume: str | None, branch: Path | None, resume_from: Path | None = None
) -> Path | None:
    """The checkpoint that a training begins with, to go on, to branch off or for its networks; None without one.

    Args:
        outdir: the run's folder.
        resume: a checkpoint, a folder, or "auto": outdir, if it holds a checkpoint.
        branch, resume_from: a checkpoint or a folder.

    Raises:
        ValueError: there is none where one is named.
    """
    if branch is not None:
        return checkpoint_at(branch, "--branch")
    if resume_from is not None:
        return checkpoint_at(resume_from, "--resume-from")
    if resume == "auto":
        if outdir is None:
            raise ValueError("--resume auto needs --outdir")
        return latest_checkpoint(outdir)
    return None if resume is None else checkpoint_at(Path(resume), "--resume")


def check_outdir(outdir: Path, goes_on: Path | None, *, writes: bool = True) -> None:
    """Raises ValueError where a run cannot be written, before the data are read.

    Args:
        outdir: the run's folder.
        goes_on: the checkpoint that the run goes on from.
        writes: whether something is going to be written.
    """
    if outdir.exists() and not outdir.is_dir():
        raise ValueError(f"--outdir must be a folder; {outdir} is a file. Choose another, or move the file away")
    if latest_checkpoint(outdir) is not None and (goes_on is None or not goes_on.parent.samefile(outdir)):
        raise ValueError(
            f"{outdir} already holds a run; go on with it by --resume {outdir}, or choose another --outdir"
        )
    if writes and (outdir / ".lock").exists():
        with suppress(OSError), one_writer(outdir):
            pass  # another writer is told of before the data are read; what cannot be written, when it is to be


def check_apart(outdir: Path, data: Path) -> None:
    """Raises ValueError where the pictures of a run would become images of its data."""
    outdir, data = outdir.resolve(), data.resolve()
    if data.is_dir() and (data == outdir or data in outdir.parents):
        raise ValueError(f"--outdir must lie outside of the data, {data}, of which its pictures would become a part")


def resolve(wanted: Wanted, origin: Origin | None, way: Way = "resume") -> tuple[RunConfig, dict[str, Dataset]]:
    """The configuration of a run, everything checked, and its sets of images.

    Args:
        wanted: what is asked for.
        origin: the run to begin with.
        way: "resume" goes on with it, "branch" takes its state into a new run, "resume-from" its networks alone.

    Raises:
        ValueError: what is impossible, or makes another run of the origin; nothing has been written then.
    """
    base = _base(wanted, origin, way)
    name = wanted.model or base.model
    if origin is not None:
        origin.check_model(name)
    training = replace(base.training, "training", **wanted.training)
    base_data = dataclasses.replace(base.data, path=None) if "source" in wanted.data else base.data
    data = dataclasses.replace(base_data, **wanted.data)
    architecture = {**base.architecture, **wanted.architecture}
    bounded = training.half_precision and "conv_clamp" in {each.name for each in fields(family(name).config)}
    if bounded and "conv_clamp" not in wanted.architecture and architecture.get("conv_clamp") is None:
        architecture["conv_clamp"] = CLAMP
    configure(name, **architecture)  # complains about the model before reading the data
    located = data.located()
    goes_on = origin if way == "resume" else None
    if goes_on is not None:
        goes_on.check_options(RunConfig(name, architecture, located, training))
    if origin is not None and not located.exists and (way != "resume-from" or "source" not in wanted.data):
        raise ValueError(
            f"the data of {origin.checkpoint} are gone: nothing is at {located.path or located.source}; give their "
            "place by --data"
        )
    kind = chosen(DATA_KINDS, family(name).data)
    sets = kind.load(located)
    if goes_on is not None:
        goes_on.check_data(sets, located)
    decided = kind.decided(sets, data.cond)
    if wanted.file is not None and data == base.data:
        for each, value in decided.items():
            if base.architecture.get(each, value) != value:
                raise ValueError(
                    f"{wanted.file[1]}: architecture: {each} is {base.architecture[each]}, but the data give {value}; "
                    "leave it out, or change data"
                )
    architecture = dataclasses.asdict(configure(name, **(architecture | decided)))
    config = RunConfig(name, architecture, located, training)
    if goes_on is not None:
        goes_on.check_options(config)
    if getattr(training, "freezed", 0):
        _check_frozen(config, origin)
    return config, sets


def _check_frozen(config: RunConfig, origin: Origin | None) -> None:
    if origin is None:
        raise ValueError(
            "--freezed keeps layers of D as another run had them, and this one begins from nothing: name the other by "
            "--resume-from"
        )
    frozen_parameters(config.laid_out(), config.training)


def _base(wanted: Wanted, origin: Origin | None, way: Way) -> RunConfig:
    """What stands where nothing is asked for."""
    if wanted.file is not None:
        return wanted.file[0]
    if origin is not None and way == "resume-from":
        data = DataOptions() if "source" in wanted.data else origin.config.data
        options = family(origin.config.model).options()
        # the average, too, has learnt before
        return dataclasses.replace(origin.config, data=data, training=replace(options, "training", ema_rampup=0.0))
    if origin is not None:
        return origin.config
    name = wanted.model or "stylegan2"
    return RunConfig(name, {}, DataOptions(), family(name).options())
