"""Train a GAN, or go on with a run."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from fastgan.cli.configuration import read_config
from fastgan.cli.options.train import TrainOptions
from fastgan.cli.output import Output
from fastgan.cli.resolution import parse_resolution
from fastgan.config.options import StyledOptions
from fastgan.data import Dataset
from fastgan.data.image import parse_color
from fastgan.literal import literal
from fastgan.models.registry import configure, family, layout
from fastgan.ops.allocation import tune_cpu_allocator
from fastgan.report import TrainingDisplay
from fastgan.report.events import require_tensorboard
from fastgan.train.branching import Branch
from fastgan.train.config import RunConfig
from fastgan.train.folder import resume_command
from fastgan.train.interrupt import Interrupt
from fastgan.train.resuming import Origin
from fastgan.train.run import Run
from fastgan.train.starting import Wanted, beginning, check_apart, check_outdir, resolve

# option -> field of the training options or of the architecture, where the names differ
_FIELDS = {
    "gamma": "r1_gamma",
    "glr": "g_lr",
    "dlr": "d_lr",
    "cbase": "channel_base",
    "cmax": "channel_max",
    "map_depth": "mapping_layers",
}
_TRAINING = {field.name for field in dataclasses.fields(StyledOptions)} | {"r1_gamma", "r1_interval"}
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
    if options.branch is not None and (options.resume or options.config):
        other = "--resume, which goes on with a run" if options.resume else "--config, which begins from nothing"
        raise ValueError(f"--branch begins a new run from another's state; it does not go with {other}")
    checkpoint = beginning(options.outdir, options.resume, options.branch)
    goes_on = checkpoint if options.branch is None else None
    outdir = options.outdir or (goes_on.parent if goes_on else None)
    if outdir is not None:
        check_outdir(outdir, goes_on, writes=not options.dry_run)
    elif not options.dry_run:
        raise ValueError("--outdir is needed: the folder of the run; -n shows its plan without one")
    origin = Origin.read(checkpoint) if checkpoint is not None else None
    config, sets = resolve(_wanted(options), origin, branches=options.branch is not None)
    branch = Branch.of(origin, config, sets) if origin is not None and options.branch else None
    if outdir is not None:
        check_apart(outdir, Path(config.data.place))
    if options.dry_run:
        _print_plan(config, sets, device, branch)
        return 0
    assert outdir is not None
    console = Console(file=Output(sys.stdout, _lost), highlight=False, markup=False)  # type: ignore[arg-type]
    with contextlib.ExitStack() as stack:
        for dataset in sets.values():
            stack.enter_context(contextlib.closing(dataset))
        training = Run(config, sets, outdir, device, origin, branch, tensorboard=options.tensorboard)
        for note in training.journal.notes:
            console.print(f"note: {literal(note)}", soft_wrap=True)
        for warning in training.journal.warnings:
            console.print(f"warning: {literal(warning)}", soft_wrap=True)
        notes = branch.sentences() if branch else origin.sentences(config) if origin else []
        return _train(training, notes, console)


def _train(training: Run, notes: list[str], console: Console) -> int:
    config, outdir = training.config, training.outdir
    title = f"{config.model} · {_described(training.sets)} · {training.device} · {outdir}"
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


def _described(sets: Mapping[str, Dataset]) -> str:
    height, width = next(iter(sets.values())).resolution
    return f"{', '.join(f'{len(s)} images of {s.name}' for s in sets.values())} at {width}×{height}"


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


def _wanted(options: TrainOptions) -> Wanted:
    given = {_FIELDS.get(k, k): v for k, v in vars(options).items() if k not in _NOT_FIELDS and v is not None}
    given |= _assignments(itertools.chain(*options.set))
    same = ("classes", "cond", "max_images", "channels", "transform", "skip_broken", "stream")
    data = {"source": options.data, **{name: getattr(options, name) for name in same}}
    data["resolution"] = None if options.resolution is None else parse_resolution(options.resolution)
    data["background"] = None if options.background is None else parse_color(options.background)
    return Wanted(
        options.cfg,
        None if options.config is None else (read_config(options.config, options.cfg), options.config),
        {name: value for name, value in data.items() if value is not None},
        {name: value for name, value in given.items() if name not in _TRAINING},
        {name: value for name, value in given.items() if name in _TRAINING},
    )


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


def _print_plan(config: RunConfig, sets: Mapping[str, Dataset], device: torch.device, branch: Branch | None) -> None:
    console = Console(highlight=False, markup=False)
    for sentence in branch.sentences() if branch else ():
        console.print(literal(sentence), soft_wrap=True)
    console.print_json(json.dumps(config.to_json()))
    architecture, chosen = configure(config.model, **config.architecture), family(config.model)
    table = Table("network", "parameters", "buffers")
    for name, build in chosen.networks.items():
        network = layout(build, architecture)
        parameters, buffers = (sum(t.numel() for t in ts) for ts in (network.parameters(), network.buffers()))
        table.add_row(name, f"{parameters:,}", f"{buffers:,}")
    console.print(table)
    for dataset in sets.values():
        height, width = dataset.resolution
        console.print(f"{len(dataset)} images, {width}×{height}, {dataset.channels} channels; device {device}")
        for note in dataset.notes:
            console.print(f"note: {literal(note)}", soft_wrap=True)
