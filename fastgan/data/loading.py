"""Reading a set of images, into memory if it is small, else as it is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from fastgan.choices import TRANSFORMS
from fastgan.data.dataset import Dataset, ImageDataset
from fastgan.data.decoding import Decoder
from fastgan.data.image import WHITE, BrokenImageError
from fastgan.data.index import DatasetIndex
from fastgan.data.opening import open_store
from fastgan.data.stores import BROKEN, ImageStore
from fastgan.data.streaming import StreamedDataset

# Sets of more bytes of pixels than this are streamed unless told otherwise.
LARGEST_IN_MEMORY = 2 << 30
# Images of a streamed set that are in memory at once, about.
_BATCH = 64
# Images handed to threads at once.
_WINDOW = 256
# Reading stops after so many broken images, when they are not skipped: enough to see what is wrong.
ENOUGH_BROKEN = 10

Result = TypeVar("Result")


def load_dataset(
    source: str | Path,
    *,
    resolution: tuple[int, int] | None = None,
    classes: Sequence[str] | None = None,
    channels: int | None = None,
    max_images: int | None = None,
    background: tuple[int, int, int] = WHITE,
    transform: str = "center-crop",
    skip_broken: bool = False,
    stream: bool | None = None,
    labelled: bool = False,
) -> Dataset:
    """Read a packaged set, or one at a path in any format of `open_store`.

    >>> faces = load_dataset("emoji64", classes=["smileys/faces"], resolution=(32, 32))
    >>> faces.resolution
    (32, 32)

    Args:
        source: `"emoji64"`, or the path of a folder, zip, idx file, shards, ... A `dataset.json` in it gives labels;
            without one, sub-folders are the classes.
        resolution: (H, W) to crop (centred) and resize to; None: all images must share one size.
        classes: what to keep: classes (`smileys`), subgroups (`smileys/face-smiling`), named selections
            (`smileys/faces`) or patterns over these (`smileys/face-*`), in any case. These become the classes of the
            result, in this order; an image that several match goes to the first. None keeps all, with their labels.
        channels: 3 for RGB, 1 for grey; images are converted. None: 1 where the format holds grey images alone, else 3.
        max_images: at most this many, evenly spaced over the sorted paths, so that classes keep their shares.
        background: RGB, 0 to 255, seen through transparent pixels.
        transform: how to crop, "center-crop" or "center-crop-wide".
        skip_broken: leave out images that cannot be read (`broken` of the result tells which) instead of stopping.
        stream: decode images as they are asked for, in bounded memory; None: if they need more than 2 GiB.
        labelled: raise where an image has no label.
    Returns:
        The images sorted by path. Labelled only if every image is; `notes` tell.
    Raises:
        ValueError: nothing there, an unknown class, broken images, images of several sizes, labels that are not of the
            images; names the files.
    """
    how = Loading(
        resolution, classes, channels, max_images, background, transform, skip_broken, stream, labelled
    )  # fmt: skip
    return load_aligned([open_store(source)], how)[0]


@dataclass(frozen=True)
class Loading:
    """How to read a set: the arguments of `load_dataset`, which documents them."""

    resolution: tuple[int, int] | None = None
    classes: Sequence[str] | None = None
    channels: int | None = None
    max_images: int | None = None
    background: tuple[int, int, int] = WHITE
    transform: str = "center-crop"
    skip_broken: bool = False
    stream: bool | None = None
    labelled: bool = False

    def __post_init__(self) -> None:
        if self.channels not in (None, 1, 3):
            raise ValueError(f"channels must be 3 (RGB) or 1 (grey), got {self.channels}")
        if self.resolution is not None and (len(self.resolution) != 2 or min(self.resolution) < 1):
            raise ValueError(f"resolution must be (H, W), both >= 1, got {self.resolution}")
        if self.transform not in TRANSFORMS:
            raise ValueError(f"transform must be one of {', '.join(TRANSFORMS)}; got {self.transform!r}")


def load_aligned(stores: Sequence[ImageStore], how: Loading) -> list[Dataset]:
    """A set of each store, image i of one being the partner of image i of the others, all of one size.

    Args:
        stores: with the same names and the same index.
        how: which images to take, and to what form to bring them.
    Raises:
        ValueError: as `load_dataset`; images that are not of one size in all stores.
    """
    first = stores[0]
    index = first.index if how.classes is None else chosen_index(first, how.classes)
    names = first.names if how.classes is None else tuple(index.labels or ())
    names = tuple(names[i] for i in evenly_spaced(len(names), how.max_images))
    labels, class_names, notes = _labels(first.path, index, names, how.labelled)
    notes = [notes * (store is first) + store.notes for store in stores]
    decoders = [
        Decoder(store, how.resolution, how.channels or store.channels, how.background, how.transform)
        for store in stores
    ]  # fmt: skip
    size = _common_size(decoders, names, how.skip_broken)
    image_bytes = sum(size[0] * size[1] * decoder.channels for decoder in decoders)
    stream = len(names) * image_bytes > LARGEST_IN_MEMORY if how.stream is None else how.stream
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if (_BATCH if stream else len(names)) * image_bytes > memory:
        raise ValueError(
            f"{first.path}: {len(names)} images of {size[1]}x{size[0]} (WxH) exceed this machine's memory of "
            f"{memory / 2**30:.0f} GiB; give a lower resolution or max_images, or stream them"
        )
    each = zip(decoders, notes, strict=True)
    if stream:
        return [
            StreamedDataset(decoder, names, size, labels, class_names, decoder.store.title, how.skip_broken, told)
            for decoder, told in each
        ]
    images, broken = _decode_together(decoders, names, size, how.skip_broken)
    left_out = set().union(*broken)
    whole = [i for i in range(len(names)) if i not in left_out]
    if left_out:
        labels = None if labels is None else labels[whole]
    return [
        ImageDataset(
            pixels[whole] if left_out else pixels,
            labels,
            class_names,
            decoder.store.title,
            tuple(faults.values()),
            torch.tensor([BROKEN if i in left_out else decoder.store.checksum(name) for i, name in enumerate(names)]),
            told,
        )
        for pixels, faults, (decoder, told) in zip(images, broken, each, strict=True)
    ]


def evenly_spaced(count: int, limit: int | None) -> list[int]:
    """Positions of at most `limit` of `count` things, evenly spaced: floor(i * count / limit).

    Raises:
        ValueError: `limit` is below 1.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"max_images must be at least 1, got {limit}")
    if limit is None or limit >= count:
        return list(range(count))
    return [i * count // limit for i in range(limit)]


def chosen_index(store: ImageStore, classes: Sequence[str]) -> DatasetIndex:
    """The index of the images that are chosen, by these classes."""
    if isinstance(classes, str) or not classes:
        raise ValueError(f'classes must be a list of names like ["smileys"], got {classes!r}')
    return replace(store.index, labels=store.index.select(store.names, classes), classes=tuple(classes))


def _labels(
    path: Path, index: DatasetIndex, names: Sequence[str], labelled: bool
) -> tuple[torch.Tensor | None, tuple[str, ...], tuple[str, ...]]:
    """Labels of the images, class names, and sentences on them; no labels where an image has none."""
    notes = index.describe(names, path)
    missing = index.missing(names)
    if labelled and (missing or not index.labels):
        expected = "has no labels (dataset.json, or a sub-folder a class)"
        uses = "--cond, --by-class, --test-data"
        raise ValueError(f"{path}: {missing or expected}; every image must have one to go by labels ({uses})")
    if missing:
        notes.append(f"{path}: labels are not used, as not every image has one")
    if missing or not index.labels:
        return None, (), tuple(notes)
    labels = [index.labels[name] for name in names]
    return torch.tensor(labels, dtype=torch.int64 if index.classes else torch.float32), index.classes, tuple(notes)


def _common_size(decoders: Sequence[Decoder], names: Sequence[str], skip_broken: bool) -> tuple[int, int]:
    """(H, W) of the images of all stores."""
    sizes = [decoder.size or _first_size(decoder, names, skip_broken) for decoder in decoders]
    for decoder, size in zip(decoders, sizes, strict=True):
        if size != sizes[0]:
            (height, width), (other_height, other_width) = sizes[0], size
            raise ValueError(
                f"{decoder.store.path}: its images are {other_width}x{other_height} (WxH), but those of "
                f"{decoders[0].store.path} are {width}x{height}; give a resolution to bring both to it"
            )
    return sizes[0]


def _first_size(decoder: Decoder, names: Sequence[str], skip_broken: bool) -> tuple[int, int]:
    """(H, W) of the first image that can be read, which must soon come."""
    broken: list[str] = []
    for name in names:
        try:
            height, width, _ = decoder.pixels(name).shape
            return height, width
        except BrokenImageError as error:
            broken.append(str(error))
            if not skip_broken and len(broken) == ENOUGH_BROKEN:
                break
    raise BrokenImageError(broken_report(decoder.store.path, broken, len(names)))


def _decode_together(
    decoders: Sequence[Decoder], names: Sequence[str], size: tuple[int, int], skip_broken: bool
) -> tuple[list[torch.Tensor], list[dict[int, str]]]:
    """`_decode_all` of each store, of which one name at least must be whole in all."""
    images, broken = [], []
    for decoder in decoders:
        with decoder.store:
            pixels, faults = _decode_all(decoder, names, size, skip_broken)
        images.append(pixels)
        broken.append(faults)
    if len(set().union(*broken)) == len(names):
        messages = [message for faults in broken for message in faults.values()]
        raise BrokenImageError(broken_report(decoders[0].store.path, messages, len(names)))
    return images, broken


def _decode_all(
    decoder: Decoder, names: Sequence[str], size: tuple[int, int], skip_broken: bool
) -> tuple[torch.Tensor, dict[int, str]]:
    """uint8 [M, H, W, C], decoded by threads (Pillow lets go of the interpreter lock), and messages by position."""
    images = np.empty((len(names), *size, decoder.channels), np.uint8)

    def place(i: int) -> str | None:
        try:
            images[i] = decoder.fitting(names[i], size)
        except BrokenImageError as error:
            return str(error)
        return None

    broken: dict[int, str] = {}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        try:
            for i, message in enumerate(pool.map(place, range(len(names)))):
                if message is not None:
                    broken[i] = message
                    if not skip_broken and len(broken) == ENOUGH_BROKEN:
                        break
        finally:
            pool.shutdown(cancel_futures=True)
    if broken and (not skip_broken or len(broken) == len(names)):
        raise BrokenImageError(broken_report(decoder.store.path, list(broken.values()), len(names)))
    return torch.from_numpy(images), broken


def broken_report(path: Path, messages: Sequence[str], total: int) -> str:
    """One line on the images of a set that cannot be used: how many, why, and what to do."""
    advice = "none is left" if len(messages) >= total else "--skip-broken (skip_broken=True) leaves them out"
    count = f"{len(messages)} or more" if len(messages) == ENOUGH_BROKEN else str(len(messages))
    shown = [*messages[:3], *["..."] * (len(messages) > 3)]
    return f"{path}: {count} of {total} images cannot be used; {advice}: {' | '.join(shown)}"


def in_threads(work: Callable[[str], Result], names: Sequence[str], workers: int | None = None) -> Iterator[Result]:
    """work(name) of each name, in order, by threads that run at most a window ahead; workers None: one a core."""
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        for start in range(0, len(names), _WINDOW):
            yield from pool.map(work, names[start : start + _WINDOW])
