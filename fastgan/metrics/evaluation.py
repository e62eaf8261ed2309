"""Figures of generated images beside real ones: streamed, one pass for all metrics, features of the reals kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from fastgan.choices import METRICS, chosen
from fastgan.config.fields import check_choice

_BATCH = 64  # real images read at once


class Images(Protocol):
    """What metrics need of a data set."""

    def __len__(self) -> int: ...

    def read(self, indices: Tensor) -> Tensor:
        """uint8 [N, H, W, C]: the images at `indices`, int64 [N]."""
        ...


class Features(Protocol):
    """What is kept of a set of images that passes by."""

    def take(self, images: Tensor) -> None:
        """Take in the next images, uint8 [n, C, H, W]."""
        ...

    def result(self) -> Any:
        """What metrics measure, when all images have passed."""
        ...


@dataclass(frozen=True)
class Metric:
    """A metric: the distance between what is kept of real and of generated images.

    Args:
        features: M -> what M images are taken in by; metrics that name the same one share its passes.
        measure: (real, fake) -> {figure: value}, of results of the features; the first figure is the metric itself.
        images: of each side, at most.
        floor: whether the distance between two disjoint halves of the real set tells what perfect images would score.
    """

    features: Callable[[int], Features]
    measure: Callable[[Any, Any], dict[str, float]]
    images: int = 1000
    floor: bool = False


class Evaluation:
    """Metrics by name against one set of real images.

    Args:
        names: keys of METRICS.
        dataset: the real images.

    Raises:
        ValueError: no metric has such a name; the message lists those there are.
    """

    def __init__(self, names: Sequence[str], dataset: Images) -> None:
        for name in names:
            check_choice("metrics", name, tuple(METRICS))
        self.dataset = dataset
        self.metrics: dict[str, Metric] = {name: chosen(METRICS, name) for name in names}
        self._real: dict[tuple[Any, int], Any] = {}

    def evaluate(self, sample: Callable[[int], Iterable[Tensor]]) -> dict[str, float]:
        """The figures of all metrics; images pass once, whatever the number of metrics, and none is kept.

        Args:
            sample: n -> uint8 batches [k, C, H, W], n images in all.

        Returns:
            values by figure, those of each metric in turn.

        Raises:
            TypeError, ValueError: it gives something else.
        """
        keys = {name: (metric.features, self._count(metric)) for name, metric in self.metrics.items()}
        if not keys:
            return {}
        for key in keys.values():
            if key not in self._real:
                self._real[key] = self._features_of(*key, first=0)
        made = self._pass(sample, {key: key[0](key[1]) for key in dict.fromkeys(keys.values())})
        figures: dict[str, float] = {}
        for name, metric in self.metrics.items():
            figures |= metric.measure(self._real[keys[name]], made[keys[name]])
        return figures

    def floors(self) -> dict[str, float]:
        """Metric -> its distance between two disjoint halves of the reals, of those metrics that have such a floor.

        Raises:
            ValueError: fewer than two images.
        """
        found: dict[str, float] = {}
        for name, metric in self.metrics.items():
            if metric.floor:
                half = min(2 * metric.images, len(self.dataset)) // 2
                if half < 1:
                    raise ValueError(f"dataset must have at least 2 images to be halved, got {len(self.dataset)}")
                halves = (self._features_of(metric.features, half, first) for first in (0, half))
                found[name] = next(iter(metric.measure(*halves).values()))
        return found

    def _count(self, metric: Metric) -> int:
        return min(metric.images, len(self.dataset))

    def _features_of(self, features: Callable[[int], Features], count: int, first: int) -> Any:
        """Of `count` real images, drawn without repetition from the `first` drawn on."""
        order = torch.randperm(len(self.dataset), generator=torch.Generator().manual_seed(0))
        kept = features(count)
        for indices in order[first : first + count].split(_BATCH):
            kept.take(self.dataset.read(indices).permute(0, 3, 1, 2))
        return kept.result()

    def _pass(
        self, sample: Callable[[int], Iterable[Tensor]], kept: Mapping[tuple[Any, int], Features]
    ) -> dict[tuple[Any, int], Any]:
        """What the features keep of the generated images, each of as many as it wants."""
        wanted, seen = max(count for _, count in kept), 0
        _, height, width, channels = self.dataset.read(torch.arange(1)).shape
        for batch in sample(wanted):
            _check(batch, (channels, height, width))
            if seen + len(batch) > wanted:  # at once: a sampler may never end
                raise ValueError(f"sample must give {wanted} images, got at least {seen + len(batch)}")
            for (_, count), features in kept.items():
                if seen < count:
                    features.take(batch[: count - seen])
            seen += len(batch)
        if seen != wanted:
            raise ValueError(f"sample must give {wanted} images, got {seen}")
        return {key: features.result() for key, features in kept.items()}


def _check(batch: Any, shape: tuple[int, int, int]) -> None:
    """Raises TypeError or ValueError unless it is uint8 [n, *shape]."""
    if not isinstance(batch, Tensor) or batch.dtype != torch.uint8:
        raise TypeError(f"sample must give batches of uint8 images, got {getattr(batch, 'dtype', type(batch))}")
    if batch.ndim != 4 or tuple(batch.shape[1:]) != shape:
        expected = f"[n, {', '.join(map(str, shape))}]"
        raise ValueError(f"sample must give batches {expected} to match the reals, got {list(batch.shape)}")
