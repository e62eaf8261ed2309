"""Figures of generated images beside real ones: streamed, one pass for all metrics, features of the reals kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from fastgan.choices import METRICS, chosen
from fastgan.config.fields import check_choice, check_int
from fastgan.metrics.extraction import Key, extracted
from fastgan.metrics.extractors import Extractor, make_extractor
from fastgan.metrics.real_features import kept_on_disk
from fastgan.metrics.resampling import Resampled, with_intervals

_BATCH = 64  # real images read at once
ALL = 2**62  # images: as many as there are
PUBLISHED = 50_000  # images of metrics that are known by a published name, and keep them


class Images(Protocol):
    """What metrics need of a data set."""

    def __len__(self) -> int: ...

    def read(self, indices: Tensor) -> Tensor:
        """uint8 [N, H, W, C]: the images at `indices`, int64 [N]."""
        ...


@dataclass(frozen=True)
class Metric:
    """A metric: the distance between what is kept of real and of generated images.

    Args:
        features: (M, extractor or None) -> `Features`, what M images are taken in by; metrics that name the same ones
            share their passes.
        measure: (real, fake) -> {figure: value}, of results of the features; the first figure is the metric itself.
        images: generated images, at most.
        reals: real images, at most; None: as many as are generated, which are then no more than the reals; 0: none.
        floor: whether the distance between two disjoint halves of the real set tells what perfect images would score.
        extractor: a name of `choices.EXTRACTORS`; None: the features take images.
        resampled: in place of `measure`, figures of rows that count so many times as weights say: these have intervals.
        resamples: of an interval.
        better: which way figures get better.
        tells: figures that summaries show, the metric's own first; (): the one that is called as the metric is.
    """

    features: Callable[..., Any]
    measure: Callable[[Any, Any], dict[str, float]] | None = None
    images: int = 1000
    reals: int | None = None
    floor: bool = False
    extractor: str | None = None
    resampled: Resampled | None = None
    resamples: int = 200
    better: Literal["lower", "higher"] = "lower"
    tells: tuple[str, ...] = ()

    def figures(self, real: Any, fake: Any, intervals: bool = False) -> dict[str, float]:
        """What is measured between results of the features, with intervals if they are asked for and known.

        Args:
            real: of the real images.
            fake: of the generated ones.
            intervals: also tell "<figure>_low" and "<figure>_high".

        Returns:
            values by figure.
        """
        if self.resampled is not None:
            return with_intervals(self.resampled, real, fake, self.resamples if intervals else 0)
        assert self.measure is not None
        return self.measure(real, fake)

    def counts(self, available: int) -> tuple[int, int]:
        """(real, generated) images that it takes where `available` reals are there."""
        if self.reals is None:
            return min(self.images, available), min(self.images, available)
        return min(self.reals, available), self.images


@dataclass(frozen=True)
class GeneratorMetric:
    """A metric of a generator alone, without real images.

    Args:
        measure: (G, images=..., device=..., weights=...) -> {figure: value}; the first figure is the metric itself.
        needs: the protocol of `fastgan.models` that G must be, and `of` what such generators are called.
        of: in words.
        images: that are made.
        better: which way figures get better.
        tells: as of `Metric`.
    """

    measure: Callable[..., dict[str, float]]
    needs: type
    of: str
    images: int
    better: Literal["lower", "higher"] = "higher"
    tells: tuple[str, ...] = ()


class Evaluation:
    """Metrics by name against one set of real images.

    Args:
        names: keys of METRICS.
        dataset: the real images.
        device: where features are extracted.
        weights: file or folder of the extractors' weights; None: where torch keeps such files.
        fingerprint: what the real images are known by, to keep their features in the user's cache; None: not kept.
        images: generated images of each metric, in place of its own number, which metrics of 50,000 keep: it belongs to
            what was published.
        extractors: that are already there, by name.

    Raises:
        ValueError: no metric has such a name; the message lists those there are.
        FileNotFoundError: weights are not there; the message says which and where to put them.
    """

    def __init__(
        self,
        names: Sequence[str],
        dataset: Images,
        *,
        device: torch.device | str = "cpu",
        weights: Path | None = None,
        fingerprint: str | None = None,
        images: int | None = None,
        extractors: Mapping[str, Extractor] | None = None,
    ) -> None:
        for name in names:
            check_choice("metrics", name, tuple(METRICS))
        self.dataset, self.fingerprint = dataset, fingerprint
        if images is not None:
            check_int("images", images, 2)
        self.all: dict[str, Metric | GeneratorMetric] = {}
        for name in names:
            metric: Metric | GeneratorMetric = chosen(METRICS, name)
            changed = images is not None and metric.images < PUBLISHED
            self.all[name] = replace(metric, images=images) if changed else metric
        self.metrics = {name: metric for name, metric in self.all.items() if isinstance(metric, Metric)}
        needed = dict.fromkeys(metric.extractor for metric in self.metrics.values() if metric.extractor)
        known = extractors or {}
        self.extractors = {name: known.get(name) or make_extractor(name, device, weights) for name in needed}
        self.device, self.weights = torch.device(device), weights
        self._real: dict[Key, Any] = {}

    def evaluate(
        self, sample: Callable[[int], Iterable[Tensor]], intervals: bool = False, G: Any = None
    ) -> dict[str, float]:
        """The figures of all metrics; images pass once, whatever the number of metrics, and none is kept.

        Args:
            sample: n -> uint8 batches [k, C, H, W], n images in all.
            intervals: also tell between which values 95 % of such figures lie, where a metric knows.
            G: the generator, for metrics of a generator itself.

        Returns:
            values by figure, those of each metric in turn; an interval is "<figure>_low" and "<figure>_high".

        Raises:
            TypeError, ValueError: it gives something else, or a metric is of another kind of generator.
        """
        if not self.metrics:
            return self._of_generator(G)
        keys = {name: self._keys(metric) for name, metric in self.metrics.items()}
        missing = dict.fromkeys(real for real, _ in keys.values() if real not in self._real and real.images)
        self._real |= self._of_reals(list(missing), first=0)
        wanted = dict.fromkeys(fake for _, fake in keys.values())
        made = extracted(self._checked(sample, max(key.images for key in wanted)), wanted, self.extractors)
        figures: dict[str, float] = {}
        for name, metric in self.metrics.items():
            real, fake = keys[name]
            figures |= metric.figures(self._real.get(real), made[fake], intervals)
        return figures | self._of_generator(G)

    def check_generator(self, G: Any) -> None:
        """Raises ValueError if a metric needs another kind of generator than G."""
        for name, metric in self.all.items():
            if isinstance(metric, GeneratorMetric) and not isinstance(G, metric.needs):
                raise ValueError(f"metrics: {name} is of {metric.of}, got {type(G).__name__}")

    def _of_generator(self, G: Any) -> dict[str, float]:
        self.check_generator(G)
        figures: dict[str, float] = {}
        for metric in self.all.values():
            if isinstance(metric, GeneratorMetric):
                figures |= metric.measure(G, images=metric.images, device=self.device, weights=self.weights)
        return figures

    def tells(self) -> dict[str, str]:
        """Figures that summaries show -> their metric."""
        return {figure: name for name, metric in self.all.items() for figure in metric.tells or (name,)}

    def better(self, figure: str, value: float, than: float) -> bool:
        """Whether a value of a figure that `tells` has is better than another."""
        return value < than if self.all[self.tells()[figure]].better == "lower" else value > than

    def floors(self) -> dict[str, float]:
        """Metric -> its distance between two disjoint halves of the reals, of those metrics that have such a floor.

        Raises:
            ValueError: fewer than two images.
        """
        found: dict[str, float] = {}
        for name, metric in self.metrics.items():
            if metric.floor:
                key = Key(metric.features, metric.extractor, self.halves(name))
                if key.images < 1:
                    raise ValueError(f"dataset must have at least 2 images to be halved, got {len(self.dataset)}")
                one, two = (self._of_reals([key], first)[key] for first in (0, key.images))
                found[name] = next(iter(metric.figures(one, two).values()))
        return found

    def halves(self, name: str) -> int:
        """Images on either side of the floor of the metric `name`."""
        return min(2 * self.metrics[name].images, len(self.dataset)) // 2

    def counts(self, name: str) -> tuple[int, int]:
        """Real and generated images that the metric `name` takes."""
        return self.metrics[name].counts(len(self.dataset))

    def told(self, figures: Mapping[str, float], floors: Mapping[str, float]) -> list[dict[str, Any]]:
        """A record of each figure that summaries show: value, interval, floor, and how it came about.

        Args:
            figures: what `evaluate` gave.
            floors: what `floors` gave.

        Returns:
            "metric", "figure", "value", "generated_images" and, where there is such a thing, "low" and "high",
            "real_images", "extractor" and "resize", "floor" and "floor_images".
        """
        records = []
        for figure, name in self.tells().items():
            metric, record = self.all[name], {"metric": name, "figure": figure, "value": figures[figure]}
            ends = {end: figures[f"{figure}_{end}"] for end in ("low", "high") if f"{figure}_{end}" in figures}
            if isinstance(metric, Metric):
                record |= dict(zip(("real_images", "generated_images"), self.counts(name), strict=True))
                if metric.extractor:
                    extractor = self.extractors[metric.extractor]
                    record |= {"extractor": extractor.name, "resize": extractor.resize}
            else:
                record |= {"generated_images": metric.images}
            if name in floors and figure == (metric.tells or (name,))[0]:
                record |= {"floor": floors[name], "floor_images": self.halves(name)}
            records.append(record | ends)
        return records

    def _keys(self, metric: Metric) -> tuple[Key, Key]:
        real, fake = metric.counts(len(self.dataset))
        return Key(metric.features, metric.extractor, real), Key(metric.features, metric.extractor, fake)

    def _of_reals(self, keys: Sequence[Key], first: int) -> dict[Key, Any]:
        """Of real images, drawn without repetition from the `first` drawn on."""
        order = torch.randperm(len(self.dataset), generator=torch.Generator().manual_seed(0))
        found: dict[Key, Any] = {}
        for name in dict.fromkeys(key.extractor for key in keys):
            mine = [key for key in keys if key.extractor == name]
            chosen = order[first : first + max(key.images for key in mine)]
            identity = self.extractors[name].identity if name else None
            if name is None or identity is None or self.fingerprint is None:
                found |= extracted(self._read(chosen), mine, self.extractors)
                continue
            rows = kept_on_disk(
                f"{self.fingerprint} {identity}", order, first + len(chosen), self._read, self.extractors[name]
            )
            for key in mine:
                kept = key.begin(self.extractors)
                for part in rows[first : first + key.images].split(1024):
                    kept.take(part)
                found[key] = kept.result()
        return found

    def _read(self, indices: Tensor) -> Iterator[Tensor]:
        for part in indices.split(_BATCH):
            yield self.dataset.read(part).permute(0, 3, 1, 2)

    def _checked(self, sample: Callable[[int], Iterable[Tensor]], wanted: int) -> Iterator[Tensor]:
        """Batches of the sampler, as many images as are wanted."""
        seen = 0
        _, height, width, channels = self.dataset.read(torch.arange(1)).shape
        for batch in sample(wanted):
            _check(batch, (channels, height, width))
            seen += len(batch)
            if seen > wanted:  # at once: a sampler may never end
                raise ValueError(f"sample must give {wanted} images, got at least {seen}")
            yield batch
        if seen != wanted:
            raise ValueError(f"sample must give {wanted} images, got {seen}")


def _check(batch: Any, shape: tuple[int, int, int]) -> None:
    """Raises TypeError or ValueError unless it is uint8 [n, *shape]."""
    if not isinstance(batch, Tensor) or batch.dtype != torch.uint8:
        raise TypeError(f"sample must give batches of uint8 images, got {getattr(batch, 'dtype', type(batch))}")
    if batch.ndim != 4 or tuple(batch.shape[1:]) != shape:
        expected = f"[n, {', '.join(map(str, shape))}]"
        raise ValueError(f"sample must give batches {expected} to match the reals, got {list(batch.shape)}")
