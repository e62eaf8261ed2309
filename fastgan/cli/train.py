"""Train a GAN, or go on with a run."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from fastgan.choices import DATA_KINDS, chosen
from fastgan.cli.calibrate import before_training
from fastgan.cli.configuration import read_config
from fastgan.cli.families import FamilyOptions
from fastgan.cli.flags import fields_of
from fastgan.cli.launch import advice, launch, place_of
from fastgan.cli.output import Output
from fastgan.cli.resolution import parse_resolution
from fastgan.config.fields import near, shown
from fastgan.config.options import R1_SHORT
from fastgan.config.penalties import read_penalties
from fastgan.data import Dataset
from fastgan.data.image import parse_color
from fastgan.literal import literal
from fastgan.models.registry import Family
from fastgan.nn.precision import Precision, refusal
from fastgan.ops.allocation import tune_cpu_allocator
from fastgan.report import TrainingDisplay
from fastgan.report.events import require_tensorboard
from fastgan.train.branching import Branch
from fastgan.train.config import RunConfig
from fastgan.train.distributed import Ranks
from fastgan.train.folder import resume_command
from fastgan.train.game import game_of
from fastgan.train.interrupt import Interrupt
from fastgan.train.planner import Planner
from fastgan.train.resuming import Origin
from fastgan.train.run import Run
from fastgan.train.shares import Place
from fastgan.train.starting import Wanted, Way, beginning, check_apart, check_outdir, resolve
from fastgan.train.transfer import Departure, Transfer


def run(options: FamilyOptions) -> int:
    """The verb; returns the exit status: 0 when the run is complete, 128 + signal when one ended it."""
    place = place_of(options.gpus)
    device = _device(options.device, place, options.gpus or place.local_world)
    if options.gpus is not None and options.gpus > place.world and not options.dry_run:
        return launch(options.gpus, ["train", *options.arguments])
    tune_cpu_allocator()
    _check_start(options)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    elif place.local_world > 1 and device.type == "cpu":
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // place.local_world))
    with Ranks(place, device) if place.world > 1 else contextlib.nullcontext() as ranks:
        return _begin(options, device, ranks)


def planned(options: FamilyOptions) -> tuple[RunConfig, dict[str, Dataset]]:
    """What a new run of these options would be, and its sets of images; raises what its beginning would raise."""
    _check_start(options)
    processes = options.gpus or 1
    place = Place(world=processes, local_world=processes)
    device = _device(options.device, place, processes)
    config, sets = resolve(_wanted(options), None)
    place.share(config.training)
    _check_precision(config, device)
    _check_memory(options, config, sets, device, place)
    return config, sets


def _check_start(options: FamilyOptions) -> None:
    if options.tensorboard:
        require_tensorboard()
    if options.threads is not None and options.threads < 1:
        raise ValueError(f"--threads must be at least 1, got {options.threads}")


def _begin(options: FamilyOptions, device: torch.device, ranks: Ranks | None) -> int:
    """The training of this process, which may be one of several."""
    first = ranks is None or not ranks.rank
    way = _way(options)
    checkpoint = beginning(options.outdir, options.resume, options.branch, options.resume_from)
    if ranks is not None:
        checkpoint = ranks.from_first(checkpoint)
    goes_on = checkpoint if way == "resume" else None
    outdir = options.outdir or (goes_on.parent if goes_on else None)
    if outdir is not None:
        check_outdir(outdir, goes_on, writes=first and not options.dry_run)
    elif not options.dry_run:
        raise ValueError("--outdir is needed: the folder of the run; -n shows its plan without one")
    origin = Origin.read(checkpoint) if checkpoint is not None else None
    config, sets = resolve(_wanted(options), origin, way)
    place = ranks.place if ranks else Place(world=options.gpus or 1, local_world=options.gpus or 1)
    place.share(config.training)  # or it cannot be divided
    branch: Departure | None = None
    if origin is not None and way != "resume":
        branch = Branch.of(origin, config, sets) if way == "branch" else Transfer.of(origin, config)
    if outdir is not None:
        for source in filter(None, (config.data.place, config.data.held_out)):
            check_apart(outdir, Path(source))
    if options.dry_run:
        if first:
            _print_plan(config, sets, branch, device, _memory(config, sets, device, place))
        return 0
    assert outdir is not None
    _check_precision(config, device)
    file = Output(sys.stdout if first else None, _lost)
    console = Console(file=file, highlight=False, markup=False)  # type: ignore[arg-type]
    console.print(_check_memory(options, config, sets, device, place), soft_wrap=True)
    if ranks is None or not ranks.place.local_rank:
        before_training(options.calibrate, device, console)
    if ranks is not None:
        ranks.from_first(None)  # all wait until kernels are calibrated
        ranks.watch.advice = lambda: advice(outdir, config.model, options.gpus, options.device)
    with contextlib.ExitStack() as stack:
        for dataset in sets.values():
            stack.enter_context(contextlib.closing(dataset))
        training = Run(config, sets, outdir, device, origin, branch, options.tensorboard, ranks)
        for note in training.journal.notes:
            console.print(f"note: {literal(note)}", soft_wrap=True)
        for warning in training.journal.warnings:
            console.print(f"warning: {literal(warning)}", soft_wrap=True)
        notes = branch.sentences() if branch else origin.sentences(config) if origin else []
        return _train(training, notes, console)


def _way(options: FamilyOptions) -> Way:
    """How the training begins with another run, if it does."""
    what = {
        "--branch": (options.branch, "begins a new run from another's state"),
        "--resume-from": (options.resume_from, "begins a new run with another's networks"),
        "--resume": (options.resume, "goes on with a run"),
        "--config": (options.config, "begins from nothing"),
    }
    (flag, does), *others = [(flag, does) for flag, (value, does) in what.items() if value] or [("--resume", "")]
    if flag in ("--branch", "--resume-from") and others:
        raise ValueError(f"{flag} {does}; it does not go with {others[0][0]}, which {others[0][1]}")
    return "branch" if flag == "--branch" else "resume-from" if flag == "--resume-from" else "resume"


def _check_precision(config: RunConfig, device: torch.device) -> None:
    name = config.training.precision
    if reason := refusal(Precision(name, config.training.half_resolutions), device):
        raise ValueError(f"--precision {name}: {reason}; take --precision fp32, or train on a GPU")


def _check_memory(
    options: FamilyOptions, config: RunConfig, sets: Mapping[str, Dataset], device: torch.device, place: Place
) -> str:
    """What is to be said of the memory that training takes; MemoryError where it would not begin."""
    memory, refusal = _memory(config, sets, device, place)
    if refusal is not None and device.type == "cpu" and not options.overcommit:
        raise MemoryError(f"{refusal}; --overcommit goes on anyway")  # before the kernel ends the process, silently
    return memory if refusal is None else f"warning: {refusal}"


def _train(training: Run, notes: list[str], console: Console) -> int:
    config, outdir = training.config, training.outdir
    where = f"{training.ranks.world} × {training.device.type}" if training.ranks else str(training.device)
    title = f"{config.model} · {_described(training.sets)} · {where} · {outdir}"
    with Interrupt() as interrupt, TrainingDisplay(config.training.kimg, title, console=console) as display:
        for sentence in notes:
            display.note(sentence)
        finished = training.train(interrupt, display)
    for line in training.summary():
        console.print(literal(line), soft_wrap=True)
    if finished:
        return 0
    console.print(
        literal(f"stopped; everything is saved. Go on with: {resume_command(outdir, config.model)}"), soft_wrap=True
    )
    return 128 + (interrupt.signum or signal.SIGTERM)  # another rank's


def _memory(
    config: RunConfig, sets: Mapping[str, Dataset], device: torch.device, place: Place
) -> tuple[str, str | None]:
    """What training takes of each process, and why that is too much, if it is."""
    try:
        planner = Planner(config, sets, device, game_of, place=place)
        return planner.sentence(), planner.refusal()
    except Exception as error:  # a game that reads numbers can be trained all the same; what is wrong is told then
        return f"memory: not estimated ({literal(str(error).partition(chr(10))[0])})", None


def _described(sets: Mapping[str, Dataset]) -> str:
    height, width = next(iter(sets.values())).resolution
    return f"{', '.join(f'{len(s)} images of {s.name}' for s in sets.values())} at {width}×{height}"


def _lost(reason: str) -> None:
    print(f"fastgan: standard output cannot be written any more ({reason}); the training goes on", file=sys.stderr)


def _device(name: str | None, place: Place, processes: int) -> torch.device:
    """Where this process trains, one of `processes` on this machine."""
    if name is None and processes > 1 and not torch.cuda.is_available():
        raise ValueError(
            f"{processes} processes: this torch sees no GPU (fastgan doctor says more); --device cpu trains on the CPU"
        )
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: this torch sees no GPU (fastgan doctor says more)")
    if name not in ("cpu", "cuda"):
        raise ValueError(f"--device must be cpu or cuda, got {name!r}")
    if name == "cuda" and processes > torch.cuda.device_count():
        raise ValueError(f"{processes} processes: this machine has {torch.cuda.device_count()} GPUs; start as many")
    return torch.device(name, place.local_rank) if name == "cuda" and place.world > 1 else torch.device(name)


def _wanted(options: FamilyOptions) -> Wanted:
    data, training, architecture = map(_given, (options.images, options.training, options.architecture))
    if options.data is not None:
        data["source"] = options.data
    for name, read in {"resolution": parse_resolution, "background": parse_color}.items():
        if name in data:
            data[name] = read(data[name])
    if "penalties" in training:
        training["penalties"] = read_penalties(training["penalties"])
    for name, value in _assignments(itertools.chain(*options.set), options.family).items():
        (architecture if name in fields_of(options.family.config) else training)[name] = value
    file = None if options.config is None else (read_config(options.config, options.cfg), options.config)
    return Wanted(options.cfg, file, data, architecture, training)


def _given(section: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(section).items() if value is not None}


def _assignments(items: Iterable[str], of: Family) -> dict[str, Any]:
    """Field of the training options or of the architecture -> value, of texts name=value."""
    result, decided = {}, chosen(DATA_KINDS, of.data).deciding
    known = (*fields_of(of.config), *fields_of(of.options), *R1_SHORT)
    for item in items:
        name, sign, text = item.partition("=")
        if not sign or not name:
            raise ValueError(f"--set takes name=value, got {item!r}")
        if name in decided:
            raise ValueError(f"--set {name}: the data decide it; use {decided[name]}")
        if name not in known:
            raise ValueError(
                f"--set: field of {of.name} must be one of {', '.join(known)}; got {shown(name)}{near(name, known)}"
            )
        try:
            result[name] = json.loads(text)
        except (ValueError, RecursionError):  # plain text
            result[name] = text
    return result


def _print_plan(
    config: RunConfig,
    sets: Mapping[str, Dataset],
    branch: Departure | None,
    device: torch.device,
    memory: tuple[str, str | None],
) -> None:
    console = Console(highlight=False, markup=False)
    for sentence in branch.sentences() if branch else ():
        console.print(literal(sentence), soft_wrap=True)
    console.print_json(json.dumps(config.to_json()))
    table = Table("network", "parameters", "buffers")
    for name, network in config.laid_out().items():
        parameters, buffers = (sum(t.numel() for t in ts) for ts in (network.parameters(), network.buffers()))
        table.add_row(name, f"{parameters:,}", f"{buffers:,}")
    console.print(table)
    for name, dataset in sets.items():
        height, width = dataset.resolution
        which = f"{name}: " if len(sets) > 1 else ""
        console.print(f"{which}{len(dataset)} images, {width}×{height}, {dataset.channels} channels; device {device}")
        for note in dataset.notes:
            console.print(f"note: {literal(note)}", soft_wrap=True)
    taken, refusal = memory
    console.print(taken if refusal is None else f"warning: {refusal}", soft_wrap=True)
