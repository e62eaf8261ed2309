"""What the images and labels of a run are, wherever they lie."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fastgan.data import Dataset
from fastgan.data.stores import BROKEN, UNREAD


@dataclass(frozen=True)
class Fingerprint:
    """The checksums of the chosen images' files in the order in which they are numbered, and a digest of their labels.

    A folder, a zip and shards of the same files have the same one, wherever they lie and whatever they are called, as
    long as their order is the same. A streamed folder is known as far as it has been read.

    Attributes:
        checksums: int64 [M], `data.stores.checksum` of each image's file; UNREAD where it is not known, BROKEN where
            the image is left out.
        labels: digest of labels and class names; "" where labels are not trained on.
    """

    checksums: Tensor
    labels: str

    @staticmethod
    def of(dataset: Dataset, cond: bool) -> Fingerprint | None:
        """The fingerprint of a set; None for one that comes from no store."""
        if dataset.checksums is None:
            return None
        labels = dataset.labels
        if not cond or labels is None:
            return Fingerprint(dataset.checksums, "")
        told = json.dumps([str(labels.dtype), list(labels.shape), list(dataset.class_names)])
        digest = hashlib.sha256(told.encode() + labels.contiguous().numpy().tobytes())
        return Fingerprint(dataset.checksums, digest.hexdigest()[:16])

    @property
    def complete(self) -> bool:
        """Whether every image is known."""
        return not bool((self.checksums == UNREAD).any())

    def to_json(self) -> dict[str, Any]:
        """Number of images, digests of images and labels; None for what is not known."""
        content = hashlib.sha256(self.checksums.numpy().tobytes()).hexdigest()[:16] if self.complete else None
        return {"images": len(self.checksums), "content": content, "labels": self.labels or None}

    def changes(self, now: Fingerprint) -> list[str]:
        """In words, how `now` differs from this one as far as both are known; [] where it does not."""
        found = self.image_changes(now)
        if not found and self.labels and now.labels and self.labels != now.labels:
            found.append("other labels or class names")
        return found

    def image_changes(self, now: Fingerprint) -> list[str]:
        """`changes` without the labels."""
        before, after = self.checksums, now.checksums
        found = []
        if len(before) == len(after) and (lost := int(((after == BROKEN) & (before != BROKEN)).sum())):
            return [f"{_count(lost)} cannot be read any more"]
        if len(before) == len(after) and (mended := int(((before == BROKEN) & (after != BROKEN)).sum())):
            return [f"{_count(mended)} that had been left out can be read now"]
        if len(before) != len(after):
            more = len(after) - len(before)
            kind = "more" if more > 0 else "fewer"
            found.append(f"{_count(abs(more))} {kind} than when the run began ({len(after):,}; then {len(before):,})")
        if self.complete and now.complete:
            gone = (Counter(before.tolist()) - Counter(after.tolist())).total()
            new = (Counter(after.tolist()) - Counter(before.tolist())).total()
            if other := min(gone, new):
                found.append(f"{_count(other)} {'are others' if other > 1 else 'is another'}")
            elif not found and not torch.equal(before, after):
                found.append("the images in another order")
        elif not found:
            known = (before != UNREAD) & (after != UNREAD)
            if other := int((known & (before != after)).sum()):
                found.append(f"{_count(other)} {'are others' if other > 1 else 'is another'}")
        return found

    def fill(self, now: Fingerprint) -> None:
        """What `now` does not know yet <- what this one knows, in place."""
        unread = now.checksums == UNREAD
        now.checksums[unread] = self.checksums[unread]


def known_as(dataset: Dataset, how: Mapping[str, Any]) -> str | None:
    """What the pixels of a set are known by, wherever it lies: its files and how they are read; None where not known.

    Args:
        dataset: the set.
        how: `DataOptions.how()`.
    """
    fingerprint = Fingerprint.of(dataset, cond=False)
    if fingerprint is None or not fingerprint.complete:
        return None
    read = {name: how[name] for name in ("background", "transform")}
    pixels = [*dataset.resolution, dataset.channels]
    return json.dumps([fingerprint.to_json()["content"], len(dataset), pixels, read], sort_keys=True)


def fingerprints(sets: Mapping[str, Dataset], cond: bool) -> dict[str, Fingerprint]:
    """The fingerprint of each set that comes from a store."""
    found = {name: Fingerprint.of(dataset, cond) for name, dataset in sets.items()}
    return {name: fingerprint for name, fingerprint in found.items() if fingerprint is not None}


def packed(by_set: Mapping[str, Any]) -> Any:
    """What is recorded of the sets: of one set alone, which is called "image", its own; else by name."""
    return by_set["image"] if set(by_set) == {"image"} else dict(by_set)


def unpacked(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """What `packed` was given."""
    return {"image": recorded} if "checksums" in recorded else dict(recorded)


def _count(images: int) -> str:
    return f"{images:,} image{'s' if images != 1 else ''}"
