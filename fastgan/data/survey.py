"""What a set of images holds: how many, of which sizes, formats and classes, and which are broken or twice there."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from fastgan.data.image import BrokenImageError, center_crop
from fastgan.data.loading import evenly_spaced, in_threads
from fastgan.data.pairing import sides_of
from fastgan.data.stores import ImageStore


@dataclass
class Survey:
    """Counts over the images of a set.

    Attributes:
        images: images that can be read.
        bytes: of their files.
        sizes: (W, H) in pixels -> images.
        formats: ending of the file -> images.
        classes: class name -> images; empty without classes.
        label_range: least and largest of each number of the label vectors, [2, L]; None without vectors.
        unlabelled: images without a label, where others have one.
        duplicates: name -> the earlier image whose pixels are the same.
        broken: one message for each image that cannot be read.
        mean, deviation: of each channel (RGB, 0 to 255) over all pixels, each image counting alike.
    """

    images: int = 0
    bytes: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)
    label_range: np.ndarray | None = None
    unlabelled: int = 0
    duplicates: dict[str, str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()


def survey(
    store: ImageStore,
    *,
    workers: int | None = None,
    track: Callable[[Iterable[Any], int], Iterable[Any]] = lambda things, total: things,
) -> Survey:
    """Read every image of a store once.

    Args:
        store: the set.
        workers: threads; None: one a core.
        track: wraps the images as they are read, to show progress.
    """
    found, first = Survey(), dict[bytes, str]()
    found.classes.update(dict.fromkeys(store.index.classes, 0))  # in their order
    sums = np.zeros((2, 3))

    def look(name: str) -> tuple[str, int, tuple[int, int], bytes, np.ndarray] | str:
        try:
            data = store.read(name)
            pixels = np.asarray(store.decode(name))
        except BrokenImageError as error:
            return str(error)
        moments = np.stack([pixels.mean((0, 1)), np.square(pixels, dtype=np.float32).mean((0, 1))])
        digest = hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()
        return name, len(data), (pixels.shape[1], pixels.shape[0]), digest, moments

    for each in track(in_threads(look, store.names, workers), len(store.names)):
        if isinstance(each, str):
            found.broken.append(each)
            continue
        name, size, resolution, digest, moments = each
        sums += moments
        found.images += 1
        found.bytes += size
        found.sizes[resolution] += 1
        found.formats[PurePosixPath(name).suffix.lower().removeprefix(".")] += 1
        earlier = first.setdefault(digest + bytes(str(resolution), "ascii"), name)
        if earlier != name:
            found.duplicates[name] = earlier
        label = store.index.labels.get(name) if store.index.labels is not None else None
        if isinstance(label, int):
            found.classes[store.index.classes[label]] += 1
        elif label is not None:
            ends = np.array([label, label]) if found.label_range is None else found.label_range
            found.label_range = np.stack([np.minimum(ends[0], label), np.maximum(ends[1], label)])
        elif store.index.labels is not None:
            found.unlabelled += 1
    if found.images:
        mean, square = sums / found.images
        found.mean, found.deviation = tuple(mean), tuple(np.sqrt(np.maximum(square - mean**2, 0)))
    return found


def preview(store: ImageStore, *, side: int = 64, count: int = 100) -> np.ndarray:
    """uint8 [N, 3, side, side]: images evenly spaced over the set, cropped to squares; broken ones are left out.

    Of a set of pairs, each image of a is followed by its partner in b; then N is even, pairs with a broken image being
    left out.

    Args:
        store: the set.
        side: of each image, in pixels.
        count: at most so many.
    """
    sides = sides_of(store.names)
    together = [[each["a"], each["b"]] for each in sides.values()] if sides else [[name] for name in store.names]
    images: list[Image.Image] = []
    for i in evenly_spaced(len(together), count // len(together[0])):
        try:
            images += [center_crop(store.decode(name), (side, side)) for name in together[i]]
        except BrokenImageError:
            continue
    if not images:
        raise BrokenImageError(f"{store.path}: none of its images can be read")
    return np.stack([np.asarray(image).transpose(2, 0, 1) for image in images])
