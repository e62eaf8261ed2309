"""A training run on disk: its configuration, and the folder of checkpoints, grids and statistics it fills."""

from __future__ import annotations

import dataclasses
import json
import re
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastgan.checkpoint import load_checkpoint, replacing, save_checkpoint
from fastgan.data import BatchSource, ImageDataset, load_dataset
from fastgan.generate.quantise import to_uint8
from fastgan.metrics.registry import METRICS, compute
from fastgan.models.fields import as_names, as_resolution, check_choice, check_int, shown
from fastgan.models.registry import build, configure, family
from fastgan.ops.allocation import release_free_memory
from fastgan.report import StatsWriter, TrainingDisplay, save_grid
from fastgan.train.gan import two_player_game
from fastgan.train.loop import train
from fastgan.train.options import TrainingOptions, replace
from fastgan.train.state import TrainState

_CHECKPOINT = re.compile(r"checkpoint-(\d{6})\.safetensors")


@dataclass(frozen=True)
class DataOptions:
    """Which images to train on.

    Attributes:
        source: "emoji64", a folder or a zip.
        classes: groups to keep; () for all.
        resolution: (H, W) to bring the images to; None for their own.
        cond: condition G and D on the labels.
        max_images: at most this many.
    """

    source: str = "emoji64"
    classes: tuple[str, ...] = ()
    resolution: tuple[int, int] | None = None
    cond: bool = False
    max_images: int | None = None

    def __post_init__(self):
        if not isinstance(self.source, str) or not self.source:
            raise ValueError(f"source must be a packaged set, a folder or a zip, got {shown(self.source)}")
        object.__setattr__(self, "classes", as_names("classes", self.classes))
        if self.resolution is not None:
            object.__setattr__(self, "resolution", as_resolution(self.resolution))
        check_choice("cond", self.cond, (False, True))
        if self.max_images is not None:
            check_int("max_images", self.max_images, 1, high=2**40)

    def load(self) -> ImageDataset:
        """Read the images; unlabelled sets cannot be conditioned on."""
        dataset = load_dataset(
            self.source, resolution=self.resolution, classes=self.classes or None, max_images=self.max_images
        )
        if self.cond and dataset.num_classes == 0:
            raise ValueError(f"{self.source}: has no labels (dataset.json), so it cannot be trained on with cond")
        return dataset


@dataclass(frozen=True)
class RunConfig:
    """What a run is: model, data and training options, all resolved.

    Attributes:
        model: family name.
        architecture: fields of the family's configuration.
        data: which images.
        training: how.
    """

    model: str
    architecture: dict[str, Any]
    data: DataOptions
    training: TrainingOptions

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(tree: Any, where: str) -> RunConfig:
        """What `to_json` gave, or a part of it: absent fields take the defaults of their section.

        Args:
            tree: the parsed file.
            where: how errors name it.

        Returns:
            the configuration; its architecture has the fields that are given, and no others.

        Raises:
            ValueError: an unknown field, a wrong type or an impossible value; names the file, section and field.
        """
        sections = ("architecture", "data", "training")
        if not isinstance(tree, dict) or "model" not in tree or set(tree) - {"model", *sections}:
            got = list(tree) if isinstance(tree, dict) else tree
            raise ValueError(f"{where}: must be an object with model, {', '.join(sections)}; got {shown(got)}")
        part = "model"
        try:
            family(tree["model"])
            for part in sections:
                given = tree.get(part, {})
                if not isinstance(given, dict) or not all(isinstance(name, str) for name in given):
                    raise ValueError(f"must be an object of fields and values, got {shown(given)}")
            part, given = "architecture", tree.get("architecture", {})
            resolved = configure(tree["model"], **given)
            architecture = {name: getattr(resolved, name) for name in given}
            part = "data"
            data = replace(DataOptions(), "data", **tree.get("data", {}))
            part = "training"
            training = replace(TrainingOptions(), "training", **tree.get("training", {}))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{where}: {part}: {error}") from error
        return RunConfig(tree["model"], architecture, data, training)


def latest_checkpoint(outdir: Path) -> Path | None:
    """The newest checkpoint in a run's folder, None if there is none."""
    found = sorted(path for path in outdir.glob("checkpoint-*.safetensors") if _CHECKPOINT.fullmatch(path.name))
    return found[-1] if found else None


class Run:
    """One run: builds the game, trains it, and keeps its folder.

    The folder holds config.json, stats.jsonl, reals.png, and at every snapshot grid-KIMG.png from fixed latents and
    checkpoint-KIMG.safetensors.

    Args:
        config: what to train.
        dataset: config.data, loaded.
        outdir: the folder; made if absent.
        device: where to train.
        resume: a checkpoint of the same configuration to go on from.
    """

    def __init__(
        self,
        config: RunConfig,
        dataset: ImageDataset,
        outdir: Path,
        device: torch.device,
        resume: Path | None = None,
    ):
        self.config, self.dataset, self.outdir, self.device = config, dataset, outdir, device
        options = config.training
        torch.manual_seed(options.seed)
        G: Any
        _, G, D = build(config.model, **config.architecture)
        memory_format = torch.channels_last if options.channels_last else torch.contiguous_format
        for network in (G, D):
            network.to(device, memory_format=memory_format)  # type: ignore[call-overload]
        source = BatchSource(
            dataset if config.data.cond else dataclasses.replace(dataset, labels=None, class_names=()),
            options.micro_batch,
            seed=options.seed,
            mirror=options.mirror,
            channels_last=options.channels_last,
            device=device,
        )
        self.state = two_player_game(G, D, options, source, device)
        self.G_ema: Any = self.state.emas["G"].module
        self.scores: list[dict[str, float]] = []
        if resume is not None:
            tree, _ = load_checkpoint(resume)
            self.state.restore(tree["state"] | {"emas": {"G": tree["G_ema"]}})
            self.scores = tree["scores"]
        generator = torch.Generator().manual_seed(options.seed)
        count = _grid_count(dataset.resolution)
        self._z = torch.randn(count, G.z_dim, generator=generator).to(device)
        self._c = source.random_labels(count, generator=generator)

    def train(self, should_stop: Callable[[], bool], display: TrainingDisplay) -> bool:
        """Train to the end or until should_stop; True if the end was reached. The last step is always checkpointed."""
        self.outdir.mkdir(parents=True, exist_ok=True)
        options, state = self.config.training, self.state
        with replacing(self.outdir / "config.json") as partial:
            partial.write_text(json.dumps(self.config.to_json(), indent=2) + "\n")
        resumed = state.images > 0
        if not resumed:
            self._save_reals()
            self._save_grid(display)
        with StatsWriter(self.outdir / "stats.jsonl", resume_kimg=state.kimg if resumed else None) as writer:
            clock = _Clock(state.images)
            total, tick = round(options.kimg * 1000), round(options.tick * 1000)

            def on_tick(state: TrainState) -> None:
                figures: dict[str, Any] = {"step": state.step} | clock.tick(state.images)
                figures |= state.statistics.means() | self._skipped()
                snapshot = state.images >= total or (state.images // tick) % options.snap == 0
                if snapshot:
                    figures |= self._measure()
                writer.write({"kimg": state.kimg} | figures)  # before the checkpoint: resume keeps lines up to its kimg
                display.update(kimg=state.kimg, stats=figures)
                release_free_memory()
                if snapshot:
                    self._save_grid(display)
                    self._save_checkpoint(display)
                    clock.restart()

            finished = train(state, total, tick, on_tick, should_stop)
            if not finished:
                self._save_checkpoint(display)
        return finished

    def summary(self) -> list[str]:
        """One line a metric: its first and last value, and its floor (the same figure between reals) if it has one."""
        lines = []
        for name in self.config.training.metrics:
            measured = [score for score in self.scores if name in score]
            if not measured:
                continue
            first, last = measured[0], measured[-1]
            line = f"{name}: {first[name]:.4g} at {first['kimg']:g} kimg, {last[name]:.4g} at {last['kimg']:g} kimg"
            if f"{name}_floor" in METRICS:
                floor = compute(f"{name}_floor", None, self.dataset)[f"{name}_floor"]
                line += f"; {floor:.4g} between two halves of the real set"
            lines.append(line)
        return lines

    @torch.no_grad()
    def _images(self, z: Tensor, c: Tensor) -> Tensor:
        parts = zip(z.split(self.config.training.micro_batch), c.split(self.config.training.micro_batch), strict=True)
        return torch.cat([to_uint8(self.G_ema(zs, cs, noise_mode="const")).cpu() for zs, cs in parts])

    def _sample(self, count: int) -> Tensor:
        """uint8 images of latents that depend on the seed alone; torch's global generator is left as it is."""
        generator = torch.Generator().manual_seed(self.config.training.seed + 1)
        source: Any = self.state.players[-1].source
        z = torch.randn(count, self.G_ema.z_dim, generator=generator).to(self.device)
        return self._images(z, source.random_labels(count, generator=generator))

    def _measure(self) -> dict[str, float]:
        values = {}
        for name in self.config.training.metrics:
            values |= compute(name, self._sample, self.dataset)
        if values:
            self.scores.append({"kimg": self.state.kimg} | values)
        return {f"metric/{name}": value for name, value in values.items()}

    def _skipped(self) -> dict[str, float]:
        counts = {name: count.item() for name, count in self.state.skipped.items()}
        return {f"skipped/{name}": count for name, count in counts.items() if count}

    def _save_reals(self) -> None:
        count = min(len(self._z), len(self.dataset))
        save_grid(self.dataset.images[:count].permute(0, 3, 1, 2), self.outdir / "reals.png")

    def _save_grid(self, display: TrainingDisplay) -> None:
        path = self.outdir / f"grid-{self._number()}.png"
        save_grid(self._images(self._z, self._c), path)
        display.note(f"wrote {path}")

    def _save_checkpoint(self, display: TrainingDisplay) -> None:
        path = self.outdir / f"checkpoint-{self._number()}.safetensors"
        state = self.state.capture()
        tree = {
            "config": self.config.to_json(),
            "model": {"name": self.config.model, "config": self.config.architecture},
            "G_ema": state.pop("emas")["G"],
            "state": state,
            "scores": self.scores,
        }
        classes = list(self.dataset.class_names) if self.config.data.cond else []
        dataset = {"name": self.dataset.name, "classes": classes}
        metadata = {"kimg": self.state.kimg, "model": self.config.model, "dataset": dataset}
        save_checkpoint(path, tree, metadata=metadata)
        display.note(f"wrote {path}")
        keep = self.config.training.keep
        checkpoints = sorted(p for p in self.outdir.iterdir() if _CHECKPOINT.fullmatch(p.name))
        for old in checkpoints[: -keep or len(checkpoints)] if keep else []:
            old.unlink()

    def _number(self) -> str:
        return f"{int(self.state.kimg):06d}"


class _Clock:
    """Speed between ticks; time spent on grids, metrics and checkpoints does not count."""

    def __init__(self, images: int):
        self.images = images
        self.restart()

    def restart(self) -> None:
        self.time = time.monotonic()

    def tick(self, images: int) -> dict[str, float]:
        now = time.monotonic()
        speed = (images - self.images) / max(now - self.time, 1e-9)
        self.images, self.time = images, now
        figures = {"images_per_second": speed, "seconds_per_kimg": 1000 / max(speed, 1e-9)}
        return figures | {"memory_gib": _peak_memory()}


def _peak_memory() -> float:
    """Peak memory in GiB: of the device where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _grid_count(resolution: tuple[int, int]) -> int:
    """Images of a preview grid: as many as make it about 800 pixels wide and high, between 16 and 120."""
    return max(16, min(120, (800 * 800) // (resolution[0] * resolution[1])))
