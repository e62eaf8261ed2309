"""Images on their way to what is kept of them: each extractor sees them once, in batches of one size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from fastgan.metrics.extractors import Extractor

# A library may add in another order for another batch size; in batches of one size a feature is always the same.
BATCH = 32


class Features(Protocol):
    """What is kept of a set of images that passes by."""

    def take(self, images: Tensor, /) -> None:
        """Take in the next images, uint8 [n, C, H, W], or with an extractor their features, float32 [n, dim]."""
        ...

    def result(self) -> Any:
        """What metrics measure, when all images have passed."""
        ...


class Key(NamedTuple):
    """What is kept of a set: the same key, the same result."""

    features: Callable[..., Features]
    extractor: str | None
    images: int

    def begin(self, extractors: Mapping[str, Extractor]) -> Features:
        """Ready for the first image."""
        return self.features(self.images, extractors[self.extractor] if self.extractor else None)


class Batcher:
    """Features of images that come in parts of any size, computed in batches of one size.

    Args:
        extractor: None passes images on as they come.
    """

    def __init__(self, extractor: Extractor | None) -> None:
        self.extractor = extractor
        self._waiting: list[Tensor] = []

    def take(self, images: Tensor) -> Iterator[Tensor]:
        """The next images, uint8 [n, C, H, W] -> features of what fills batches."""
        if self.extractor is None:
            yield images
            return
        self._waiting.append(images)
        if sum(map(len, self._waiting)) >= BATCH:
            *full, rest = torch.cat(self._waiting).split(BATCH)
            if len(rest) == BATCH:
                full, rest = [*full, rest], rest[:0]
            self._waiting = [rest]
            yield from map(self.extractor, full)

    def end(self) -> Iterator[Tensor]:
        """Features of the rest, in a batch that its first image fills up."""
        rest = torch.cat(self._waiting) if self._waiting else None
        if self.extractor is not None and rest is not None and len(rest):
            filled = torch.cat([rest, rest[:1].expand(BATCH - len(rest), -1, -1, -1)])
            yield self.extractor(filled)[: len(rest)]


class _Stream:
    """What is kept of one extractor's features."""

    def __init__(self, extractor: Extractor | None, kept: Mapping[Key, Features]) -> None:
        self._batcher, self._kept, self._seen = Batcher(extractor), kept, 0
        self._wanted = max(key.images for key in kept)

    def take(self, images: Tensor) -> None:
        self._give(self._batcher.take(images))

    def end(self) -> None:
        self._give(self._batcher.end())

    def _give(self, parts: Iterable[Tensor]) -> None:
        for part in parts:
            for key, features in self._kept.items():
                if self._seen < key.images:
                    features.take(part[: key.images - self._seen])
            self._seen += len(part)

    @property
    def full(self) -> bool:
        return self._seen >= self._wanted


def extracted(batches: Iterable[Tensor], keys: Iterable[Key], extractors: Mapping[str, Extractor]) -> dict[Key, Any]:
    """Key -> what is kept of the first images, as many as it says, of uint8 batches [n, C, H, W]; one pass for all."""
    kept = {key: key.begin(extractors) for key in keys}
    streams = []
    for name in dict.fromkeys(key.extractor for key in kept):
        mine = {key: features for key, features in kept.items() if key.extractor == name}
        streams.append(_Stream(extractors[name] if name else None, mine))
    for batch in batches:
        for stream in streams:
            if not stream.full:
                stream.take(batch)
    for stream in streams:
        stream.end()
    return {key: features.result() for key, features in kept.items()}
