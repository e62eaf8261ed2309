"""Train a GAN, or go on with a run."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from rich.console import Console
from rich.table import Table

from fastgan.checkpoint import load_tensors
from fastgan.data import Dataset
from fastgan.data.image import TRANSFORMS, parse_color
from fastgan.losses.adversarial import ADVERSARIAL
from fastgan.metrics.registry import METRICS
from fastgan.models.registry import MODELS, configure, family, layout
from fastgan.ops.allocation import tune_cpu_allocator
from fastgan.report import TrainingDisplay
from fastgan.report.events import require_tensorboard
from fastgan.train.config import DataOptions, RunConfig
from fastgan.train.folder import check_whole, latest_checkpoint, one_writer, resume_command
from fastgan.train.interrupt import Interrupt
from fastgan.train.options import TrainingOptions, replace
from fastgan.train.run import Run

# What may differ between a run and its continuation; everything else is part of what the run is.
_MAY_CHANGE = ("kimg", "tick", "snap", "keep", "metrics", "skip_broken", "stream")


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
    """start from this file, the config.json of a run or a part of one; options given beside it go first"""
    cfg: Annotated[str | None, _listing("model family (default: stylegan2)", MODELS)] = None
    data: str | None = None
    """emoji64 (packaged, default), or the path of a folder of images, zip, idx file, folder of CIFAR's .bin files or
    of .tar shards"""
    classes: tuple[str, ...] | None = None
    """groups of the data to keep, e.g. smileys/faces animals; default: all"""
    resolution: str | None = None
    """pixels, 64 or WxH; images are cropped and resized; default: the images' own"""
    max_images: int | None = None
    """use at most this many images; default: all"""
    channels: int | None = None
    """3 for RGB, 1 for grey; default: 1 where the format holds grey images alone, else 3"""
    background: str | None = None
    """colour seen through transparent pixels, a name or #rrggbb; default: white"""
    transform: Annotated[str | None, _listing("how to crop (default: center-crop)", TRANSFORMS)] = None
    skip_broken: bool | None = None
    """leave out images that cannot be read, and name them, instead of stopping; default: no"""
    stream: Annotated[bool | None, tyro.conf.FlagConversionOff] = None
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
    set: tuple[str, ...] = ()
    """any other field of the architecture or the training options, as name=value, e.g. z_dim=128"""
    resume: str | None = None
    """a checkpoint or a run's folder to go on with; auto: the folder --outdir if it holds a checkpoint"""
    device: str | None = None
    """cpu or cuda; default: cuda where there is one"""
    threads: int | None = None
    """CPU threads; default: torch's own"""
    tensorboard: bool = False
    """also write figures and grids for TensorBoard, to the run's folder tensorboard; needs fastgan[tensorboard]"""
    dry_run: Annotated[bool, tyro.conf.arg(aliases=["-n"])] = False
    """print the resolved configuration and parameter counts, and stop"""


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
    "transform", "skip_broken", "stream", "set", "resume", "device", "threads", "tensorboard", "dry_run",
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
    outdir = options.outdir or (checkpoint.parent if checkpoint else None)
    if outdir is None:
        raise ValueError("--outdir is needed: the folder of the run")
    if outdir.exists() and not outdir.is_dir():
        raise ValueError(f"--outdir must be a folder; {outdir} is a file. Choose another, or move the file away")
    if latest_checkpoint(outdir) is not None and (checkpoint is None or not checkpoint.parent.samefile(outdir)):
        raise ValueError(
            f"{outdir} already holds a run; go on with it by --resume {outdir}, or choose another --outdir"
        )
    if not options.dry_run and (outdir / ".lock").exists():
        with suppress(OSError), one_writer(outdir):
            pass  # another writer is told of before the data are read; what cannot be written, when it is to be
    if checkpoint is not None:
        check_whole(checkpoint)
    config, dataset = _resolve(options, checkpoint)
    if options.dry_run:
        _print_plan(config, dataset, device)
        return 0
    console = Console(highlight=False, markup=False)
    with contextlib.closing(dataset):
        training = Run(config, dataset, outdir, device, resume=checkpoint, tensorboard=options.tensorboard)
        for note in dataset.notes:
            console.print(f"note: {note}", soft_wrap=True)
        for warning in training.journal.warnings:
            console.print(f"warning: {warning}", soft_wrap=True)
        return _train(training, checkpoint, console)


def _train(training: Run, checkpoint: Path | None, console: Console) -> int:
    config, dataset, outdir = training.config, training.dataset, training.outdir
    height, width = dataset.resolution
    images = f"{len(dataset)} images of {dataset.name} at {width}×{height}"
    title = f"{config.model} · {images} · {training.device} · {outdir}"
    with Interrupt() as interrupt, TrainingDisplay(config.training.kimg, title, console=console) as display:
        if checkpoint is not None:
            display.note(f"going on from {checkpoint}, {training.state.kimg:.3f} kimg")
        finished = training.train(interrupt, display)
    for line in training.summary():
        console.print(line, soft_wrap=True)
    if finished:
        return 0
    assert interrupt.signum is not None
    console.print(f"stopped; everything is saved. Go on with: {resume_command(outdir)}", soft_wrap=True)
    return 128 + interrupt.signum


def _device(name: str | None) -> torch.device:
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: this torch sees no GPU (fastgan doctor says more)")
    if name not in ("cpu", "cuda"):
        raise ValueError(f"--device must be cpu or cuda, got {name!r}")
    return torch.device(name)


def _checkpoint_to_resume(options: TrainOptions) -> Path | None:
    if options.resume is None:
        return None
    if options.resume == "auto":
        if options.outdir is None:
            raise ValueError("--resume auto needs --outdir")
        return latest_checkpoint(options.outdir)
    path = Path(options.resume)
    if path.is_dir():
        found = latest_checkpoint(path)
        if found is None:
            raise ValueError(f"--resume: {path} holds no checkpoint")
        return found
    if not path.exists():
        raise ValueError(f"--resume: {path} does not exist")
    return path


def _resolve(options: TrainOptions, checkpoint: Path | None) -> tuple[RunConfig, Dataset]:
    """The configuration of the run, everything checked, and its data."""
    saved = None
    if checkpoint is not None:
        saved = RunConfig.from_json(load_tensors(checkpoint, "config"), f"checkpoint {checkpoint}")
        filled = dataclasses.asdict(configure(saved.model, **saved.architecture))  # fields that are newer than the run
        saved = dataclasses.replace(saved, architecture=filled)
    if options.config is not None:
        base = _read_config(options.config, options.cfg)
    else:
        base = saved or RunConfig(options.cfg or "stylegan2", {}, DataOptions(), _defaults(options.cfg or "stylegan2"))
    given = {_FIELDS.get(k, k): v for k, v in vars(options).items() if k not in _NOT_FIELDS and v is not None}
    given |= _assignments(options.set)
    training = replace(base.training, "training", **{name: value for name, value in given.items() if name in _TRAINING})
    for metric in training.metrics:
        if metric not in METRICS:
            raise ValueError(f"--metrics must be among {', '.join(METRICS)}; got {metric!r}")
    same = ("classes", "cond", "max_images", "channels", "transform", "skip_broken", "stream")
    data = {"source": options.data, **{name: getattr(options, name) for name in same}}
    data["resolution"] = _resolution(options.resolution)
    data["background"] = None if options.background is None else parse_color(options.background)
    data_options = dataclasses.replace(base.data, **{name: value for name, value in data.items() if value is not None})
    architecture = {**base.architecture, **{name: value for name, value in given.items() if name not in _TRAINING}}
    name = options.cfg or base.model
    configure(name, **architecture)  # complains about the model before reading the data
    dataset = data_options.load()
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
    config = RunConfig(name, architecture, data_options, training)
    if saved is not None and checkpoint is not None:
        _check_same(saved, config, checkpoint)
    return config, dataset


def _defaults(name: str) -> TrainingOptions:
    """The training options of a family."""
    return replace(TrainingOptions(), f"the family {name}", **family(name).training)


def _read_config(path: Path, cfg: str | None) -> RunConfig:
    """The configuration in a file; training options that it leaves out are those of the family."""
    if not path.is_file():
        raise ValueError(f"--config: {path} {'is no file' if path.exists() else 'does not exist'}")
    try:
        tree = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not valid JSON ({error}); a run's config.json shows the form") from error
    config = RunConfig.from_json(tree, str(path))
    if cfg not in (None, config.model):
        raise ValueError(f"--cfg {cfg}: {path} describes a {config.model}; leave --cfg out, or --config")
    training = replace(_defaults(config.model), "training", **tree.get("training", {}))
    return dataclasses.replace(config, training=training)


def _assignments(items: tuple[str, ...]) -> dict[str, Any]:
    result = {}
    for item in items:
        name, sign, text = item.partition("=")
        if not sign or not name:
            raise ValueError(f"--set takes name=value, got {item!r}")
        try:
            result[name] = json.loads(text)
        except (ValueError, RecursionError):  # plain text
            result[name] = text
    return result


def _resolution(text: str | None) -> tuple[int, int] | None:
    """(H, W) of "64" or "WxH"."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)(?:[x×](\d+))?", text)
    if match is None:
        raise ValueError(f"--resolution must be a number of pixels or WxH, got {text!r}")
    width = int(match[1])
    return (int(match[2] or width), width)


def _check_same(saved: RunConfig, asked: RunConfig, checkpoint: Path) -> None:
    def flat(config: RunConfig) -> dict[str, Any]:
        tree = json.loads(json.dumps(config.to_json()))
        return {"cfg": tree["model"]} | tree["architecture"] | tree["data"] | tree["training"]

    before, now = flat(saved), flat(asked)
    changed = [name for name in now if name not in _MAY_CHANGE and before.get(name) != now[name]]
    if changed:
        what = "; ".join(f"{name} is {before.get(name)}, asked {now[name]}" for name in changed)
        raise ValueError(f"{checkpoint} is of another run: {what}. Leave these options out, or start a new --outdir")


def _print_plan(config: RunConfig, dataset: Dataset, device: torch.device) -> None:
    console = Console(highlight=False, markup=False)
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
        console.print(f"note: {note}", soft_wrap=True)
