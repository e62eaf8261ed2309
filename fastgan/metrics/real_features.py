"""Features of real images, kept in the user's cache: extractors with weights take their time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import torch
from filelock import FileLock
from torch import Tensor

from fastgan.checkpoint import replacing
from fastgan.metrics.extraction import Batcher
from fastgan.metrics.extractors import Extractor


def folder() -> Path:
    """Where features are kept."""
    return platformdirs.user_cache_path("fastgan", appauthor=False) / "features"


def kept_on_disk(
    known_as: str, order: Tensor, count: int, read: Callable[[Tensor], Iterable[Tensor]], extractor: Extractor
) -> Tensor:
    """Features of the first `count` images of an order, float32 [count, dim]: of the disk if it has them, else made.

    A file that is damaged, or has too few, is made anew. Rows are read as they are looked at, not all into memory.

    Args:
        known_as: names images, transform and extractor.
        order: int64, all images, the same for the same name.
        count: rows that are wanted, at least 1.
        read: indices -> uint8 batches [n, C, H, W].
        extractor: makes them.

    Raises:
        OSError: the cache cannot be written.
    """
    name = hashlib.sha256(known_as.encode()).hexdigest()[:32]
    place = folder()
    place.mkdir(parents=True, exist_ok=True)
    file = place / f"{name}.npy"
    with FileLock(place / f"{name}.lock"):
        rows = _read(file, known_as)
        if rows is None or len(rows) < count:
            _write(file, known_as, order[:count], read, extractor)
            rows = _read(file, known_as)
            if rows is None:
                raise OSError(f"{file}: what was written there is damaged")
    return torch.from_numpy(rows[:count])


def _read(file: Path, known_as: str) -> np.ndarray | None:
    """Rows that a file holds, mapped; None if it is not there, of something else, or damaged."""
    try:
        record = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        rows = np.load(file, mmap_mode="c", allow_pickle=False)
        if record != {"of": known_as, "sha256": _digest(file)} or rows.ndim != 2 or rows.dtype != np.float32:
            return None
        return rows
    except (OSError, ValueError, TypeError):
        return None


def _write(
    file: Path,
    known_as: str,
    indices: Tensor,
    read: Callable[[Tensor], Iterable[Tensor]],
    extractor: Extractor,
) -> None:
    file.with_suffix(".json").unlink(missing_ok=True)
    with replacing(file) as partial:
        rows: Any = None
        seen, batcher = 0, Batcher(extractor)
        for part in _features(batcher, read(indices)):
            if rows is None:
                shape = (len(indices), part.shape[1])
                rows = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=shape)
            rows[seen : seen + len(part)] = part.numpy()
            seen += len(part)
        if rows is None or seen != len(indices):
            raise ValueError(f"{len(indices)} images were to be read, got {seen}")
        rows.flush()
    with replacing(file.with_suffix(".json")) as partial:
        partial.write_text(json.dumps({"of": known_as, "sha256": _digest(file)}), encoding="utf-8")


def _features(batcher: Batcher, images: Iterable[Tensor]) -> Iterable[Tensor]:
    for batch in images:
        yield from batcher.take(batch)
    yield from batcher.end()


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while part := stream.read(2**20):
            digest.update(part)
    return digest.hexdigest()
