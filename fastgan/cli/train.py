"""Train a GAN, or go on with a run."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from fastgan.choices import METRICS
from fastgan.cli.configuration import read_config
from fastgan.cli.options.train import TrainOptions
from fastgan.cli.output import Output
from fastgan.cli.resolution import parse_resolution
from fastgan.data import Dataset
from fastgan.data.image import parse_color
from fastgan.literal import literal
from fastgan.models.registry import configure, family, layout
from fastgan.ops.allocation import tune_cpu_allocator
from fastgan.report import TrainingDisplay
from fastgan.report.events import require_tensorboard
from fastgan.train.branching import Branch
from fastgan.train.config import DataOptions, RunConfig, family_defaults
from fastgan.train.folder import check_whole, checkpoint_at, latest_checkpoint, one_writer, resume_command
from fastgan.train.interrupt import Interrupt
from fastgan.train.options import TrainingOptions, replace
from fastgan.train.resuming import Origin
from fastgan.train.run import Run

# option -> field of the training options or of the architecture, where the names differ
_FIELDS = {
    "gamma": "r1_gamma",
    "glr": "g_lr",
    "dlr": "d_lr",
    "cbase": "channel_base",
    "cmax": "channel_max",
    "map_depth": "mapping_layers",
}
_TRAINING = {field.name for field in dataclasses.fields(TrainingOptions)}
_NOT_FIELDS = {
    "outdir", "config", "cfg", "data", "classes", "resolution", "max_images", "cond", "channels", "background",
    "transform", "skip_broken", "stream", "set", "resume", "branch", "device", "threads", "tensorboard", "dry_run",
}  # fmt: skip


def run(options: TrainOptions) -> int:
    """The verb; returns the exit status: 0 when the run is complete, 128 + signal when one ended it."""
    tune_cpu_allocator()
    if options.tensorboard:
        require_tensorboard()
    if options.threads is not None:
        if options.threads < 1:
            raise ValueError(f"--threads must be at least 1, got {options.threads}")
        torch.set_num_threads(options.threads)
    device = _device(options.device)
    checkpoint = _checkpoint_to_resume(options)
    goes_on = checkpoint if options.branch is None else None
    outdir = options.outdir or (goes_on.parent if goes_on else None)
    if outdir is not None:
        _check_outdir(outdir, goes_on, options.dry_run)
    elif not options.dry_run:
        raise ValueError("--outdir is needed: the folder of the run; -n shows its plan without one")
    if checkpoint is not None:
        check_whole(checkpoint)
    origin = Origin.read(checkpoint) if checkpoint is not None else None
    config, dataset = _resolve(options, origin)
    branch = Branch.of(origin, config, dataset) if origin is not None and options.branch else None
    if outdir is not None:
        _check_apart(outdir, Path(config.data.place))
    if options.dry_run:
        _print_plan(config, dataset, device, branch)
        return 0
    assert outdir is not None
    console = Console(file=Output(sys.stdout, _lost), highlight=False, markup=False)  # type: ignore[arg-type]
    with contextlib.closing(dataset):
        training = Run(config, dataset, outdir, device, checkpoint, branch, tensorboard=options.tensorboard)
        for note in dataset.notes:
            console.print(f"note: {literal(note)}", soft_wrap=True)
        for warning in training.journal.warnings:
            console.print(f"warning: {literal(warning)}", soft_wrap=True)
        notes = branch.sentences() if branch else origin.sentences(config) if origin else []
        return _train(training, notes, console)


def _check_outdir(outdir: Path, goes_on: Path | None, dry_run: bool) -> None:
    """Raises ValueError where a run cannot be written, before the data are read."""
    if outdir.exists() and not outdir.is_dir():
        raise ValueError(f"--outdir must be a folder; {outdir} is a file. Choose another, or move the file away")
    if latest_checkpoint(outdir) is not None and (goes_on is None or not goes_on.parent.samefile(outdir)):
        raise ValueError(
            f"{outdir} already holds a run; go on with it by --resume {outdir}, or choose another --outdir"
        )
    if not dry_run and (outdir / ".lock").exists():
        with suppress(OSError), one_writer(outdir):
            pass  # another writer is told of before the data are read; what cannot be written, when it is to be


def _check_apart(outdir: Path, data: Path) -> None:
    """Raises ValueError where the pictures of a run would become images of its data."""
    outdir, data = outdir.resolve(), data.resolve()
    if data.is_dir() and (data == outdir or data in outdir.parents):
        raise ValueError(f"--outdir must lie outside of the data, {data}, of which its pictures would become a part")


def _train(training: Run, notes: list[str], console: Console) -> int:
    config, dataset, outdir = training.config, training.dataset, training.outdir
    height, width = dataset.resolution
    images = f"{len(dataset)} images of {dataset.name} at {width}×{height}"
    title = f"{config.model} · {images} · {training.device} · {outdir}"
    with Interrupt() as interrupt, TrainingDisplay(config.training.kimg, title, console=console) as display:
        for sentence in notes:
            display.note(sentence)
        finished = training.train(interrupt, display)
    for line in training.summary():
        console.print(literal(line), soft_wrap=True)
    if finished:
        return 0
    assert interrupt.signum is not None
    console.print(literal(f"stopped; everything is saved. Go on with: {resume_command(outdir)}"), soft_wrap=True)
    return 128 + interrupt.signum


def _lost(reason: str) -> None:
    print(f"fastgan: standard output cannot be written any more ({reason}); the training goes on", file=sys.stderr)


def _device(name: str | None) -> torch.device:
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: this torch sees no GPU (fastgan doctor says more)")
    if name not in ("cpu", "cuda"):
        raise ValueError(f"--device must be cpu or cuda, got {name!r}")
    return torch.device(name)


def _checkpoint_to_resume(options: TrainOptions) -> Path | None:
    """The checkpoint whose state the training begins with, to go on or to branch off; None without one."""
    if options.branch is not None and (options.resume or options.config):
        other = "--resume, which goes on with a run" if options.resume else "--config, which begins from nothing"
        raise ValueError(f"--branch begins a new run from another's state; it does not go with {other}")
    if options.resume == "auto":
        if options.outdir is None:
            raise ValueError("--resume auto needs --outdir")
        return latest_checkpoint(options.outdir)
    if options.resume is None and options.branch is None:
        return None
    return checkpoint_at(Path(options.branch or options.resume or ""), "--branch" if options.branch else "--resume")


def _resolve(options: TrainOptions, origin: Origin | None) -> tuple[RunConfig, Dataset]:
    """The configuration of the run, everything checked, and its data."""
    saved, resumes = origin.config if origin else None, origin is not None and not options.branch
    if options.config is not None:
        base = read_config(options.config, options.cfg)
    else:
        name = options.cfg or "stylegan2"
        base = saved or RunConfig(name, {}, DataOptions(), family_defaults(name))
    given = {_FIELDS.get(k, k): v for k, v in vars(options).items() if k not in _NOT_FIELDS and v is not None}
    given |= _assignments(itertools.chain(*options.set))
    training = replace(base.training, "training", **{name: value for name, value in given.items() if name in _TRAINING})
    for metric in training.metrics:
        if metric not in METRICS:
            raise ValueError(f"--metrics must be among {', '.join(METRICS)}; got {metric!r}")
    same = ("classes", "cond", "max_images", "channels", "transform", "skip_broken", "stream")
    base_data = dataclasses.replace(base.data, path=None) if options.data else base.data
    data = {"source": options.data, **{name: getattr(options, name) for name in same}}
    data["resolution"] = None if options.resolution is None else parse_resolution(options.resolution)
    data["background"] = None if options.background is None else parse_color(options.background)
    data_options = dataclasses.replace(base_data, **{name: value for name, value in data.items() if value is not None})
    architecture = {**base.architecture, **{name: value for name, value in given.items() if name not in _TRAINING}}
    name = options.cfg or base.model
    if origin:
        origin.check_model(name)
    configure(name, **architecture)  # complains about the model before reading the data
    located = data_options.located()
    if origin and resumes:
        origin.check_options(RunConfig(name, architecture, located, training))
    if origin and not located.exists:
        raise ValueError(
            f"the data of {origin.checkpoint} are gone: nothing is at {located.path or located.source}; give their "
            "place by --data"
        )
    dataset = located.load()
    if origin and resumes:
        origin.check_data(dataset, located)
    measured = {
        "resolution": dataset.resolution,
        "img_channels": dataset.channels,
        "num_classes": dataset.label_dim if data_options.cond else 0,
    }
    for field, value in measured.items():
        if options.config is not None and data_options == base.data and base.architecture.get(field, value) != value:
            raise ValueError(
                f"{options.config}: architecture: {field} is {base.architecture[field]}, but the data give {value}; "
                "leave it out, or change data"
            )
    architecture |= measured
    architecture = dataclasses.asdict(configure(name, **architecture))
    config = RunConfig(name, architecture, located, training)
    if origin and resumes:
        origin.check_options(config)
    return config, dataset


# field of the architecture that the data decide -> what decides over the data
_BY_DATA = {"resolution": "--resolution", "img_channels": "--channels", "num_classes": "--cond and --classes"}


def _assignments(items: Iterable[str]) -> dict[str, Any]:
    result = {}
    for item in items:
        name, sign, text = item.partition("=")
        if not sign or not name:
            raise ValueError(f"--set takes name=value, got {item!r}")
        if name in _BY_DATA:
            raise ValueError(f"--set {name}: the data decide it; use {_BY_DATA[name]}")
        try:
            result[name] = json.loads(text)
        except (ValueError, RecursionError):  # plain text
            result[name] = text
    return result


def _print_plan(config: RunConfig, dataset: Dataset, device: torch.device, branch: Branch | None) -> None:
    console = Console(highlight=False, markup=False)
    for sentence in branch.sentences() if branch else ():
        console.print(literal(sentence), soft_wrap=True)
    console.print_json(json.dumps(config.to_json()))
    architecture, chosen = configure(config.model, **config.architecture), family(config.model)
    table = Table("network", "parameters", "buffers")
    for name, build in (("G", chosen.generator), ("D", chosen.discriminator)):
        network = layout(build, architecture)
        parameters, buffers = (sum(t.numel() for t in ts) for ts in (network.parameters(), network.buffers()))
        table.add_row(name, f"{parameters:,}", f"{buffers:,}")
    console.print(table)
    height, width = dataset.resolution
    console.print(f"{len(dataset)} images, {width}×{height}, {dataset.channels} channels; device {device}")
    for note in dataset.notes:
        console.print(f"note: {literal(note)}", soft_wrap=True)
