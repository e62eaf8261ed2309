"""Sets of images held whole in memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fastgan.data.image import WHITE, center_crop, decode_image
from fastgan.data.stores import ImageStore, open_store

# What a mirrored picture of would be wrong: words that class names of such sets contain.
_CHIRAL = ("flag", "symbol", "letter", "digit", "alphabet", "text", "sign", "number", "mnist", "svhn")


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Images of one size, with a class each if labelled.

    Args:
        images: uint8 [M, H, W, C], C is 3 (RGB) or 1 (grey).
        labels: int64 [M], classes 0 to `num_classes - 1`; None for an unlabelled set.
        class_names: one name a class; () for an unlabelled set.
        name: what reports and checkpoints call the set.
    Raises:
        ValueError: shapes, dtypes or labels that do not go together.
    """

    images: torch.Tensor
    labels: torch.Tensor | None = None
    class_names: tuple[str, ...] = ()
    name: str = "images"

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or not len(images):
            got = f"{images.dtype} {list(images.shape)}"
            raise ValueError(f"images must be uint8 [M, H, W, C] with M >= 1 and C 1 or 3, got {got}")
        if labels is None:
            if self.class_names:
                raise ValueError(f"class_names must be () without labels, got {self.class_names}")
            return
        if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
            raise ValueError(f"labels must be int64 [M]=[{len(images)}], got {labels.dtype} {list(labels.shape)}")
        if int(labels.min()) < 0 or int(labels.max()) >= len(self.class_names):
            raise ValueError(
                f"labels must lie in 0..{len(self.class_names) - 1}, one name a class, "
                f"got {int(labels.min())}..{int(labels.max())}"
            )

    def __len__(self) -> int:
        return self.images.shape[0]

    @property
    def resolution(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.images.shape[1], self.images.shape[2]

    @property
    def channels(self) -> int:
        """3 for RGB, 1 for grey."""
        return self.images.shape[3]

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 for an unlabelled set."""
        return len(self.class_names)

    @property
    def mirror_hazards(self) -> tuple[str, ...]:
        """Classes whose names say that mirroring their images makes wrong ones: flags, letters, digits, ..."""
        return tuple(name for name in (*self.class_names, self.name) if any(word in name.lower() for word in _CHIRAL))


def load_dataset(
    source: str | Path,
    *,
    resolution: tuple[int, int] | None = None,
    classes: Sequence[str] | None = None,
    channels: int = 3,
    max_images: int | None = None,
    background: tuple[int, int, int] = WHITE,
) -> ImageDataset:
    """Read a packaged set, folder tree or zip of PNG, JPEG and WebP into memory.

    >>> faces = load_dataset("emoji64", classes=["smileys/faces"], resolution=(32, 32))
    >>> faces.images.shape[1:]
    torch.Size([32, 32, 3])

    Args:
        source: `"emoji64"`, a folder (sub-folders included) or a zip; a `dataset.json` in its root gives the labels.
        resolution: (H, W) to crop (centred) and resize to; None: all images must share one size.
        classes: what to keep: classes (`smileys`), subgroups (`smileys/face-smiling`), named selections
            (`smileys/faces`) or patterns over these (`smileys/face-*`), in any case. These become the classes of the
            result, in this order; an image that several match goes to the first. None keeps all, with their labels.
        channels: 3 for RGB, 1 for grey; files are converted.
        max_images: at most this many, evenly spaced over the sorted paths, so that classes keep their shares.
        background: RGB, 0 to 255, seen through transparent pixels.
    Returns:
        The images sorted by path. Labelled only if every image is.
    Raises:
        ValueError: nothing there, an unknown class, a broken file, images of several sizes; names the file.
    """
    if channels not in (1, 3):
        raise ValueError(f"channels must be 3 (RGB) or 1 (grey), got {channels}")
    if resolution is not None and (len(resolution) != 2 or min(resolution) < 1):
        raise ValueError(f"resolution must be (H, W), both >= 1, got {resolution}")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with open_store(source) as store:
        names, numbers, class_names = _choose(store, classes)
        kept = evenly_spaced(len(names), max_images)
        names, numbers = [names[i] for i in kept], [numbers[i] for i in kept]
        if resolution is not None and len(names) * resolution[0] * resolution[1] * channels > memory:
            raise ValueError(
                f"{source}: {len(names)} images of {resolution[1]}x{resolution[0]} (WxH) exceed this machine's memory "
                f"of {memory / 2**30:.0f} GiB; give a lower resolution or max_images"
            )
        images = _decode_all(store, names, resolution, channels, background)
    labels = torch.tensor(numbers, dtype=torch.int64) if class_names else None
    name = str(source) if store.path != Path(source) else (store.path.stem or store.path.resolve().name)
    return ImageDataset(images, labels, class_names, name)


def evenly_spaced(count: int, limit: int | None) -> list[int]:
    """Positions of at most `limit` of `count` things, evenly spaced: floor(i * count / limit).

    Raises:
        ValueError: `limit` is below 1.
    """
    if limit is None or limit >= count:
        return list(range(count))
    if limit < 1:
        raise ValueError(f"max_images must be at least 1, got {limit}")
    return [i * count // limit for i in range(limit)]


def _choose(store: ImageStore, classes: Sequence[str] | None) -> tuple[list[str], list[int], tuple[str, ...]]:
    """Paths, class numbers and class names; no names for an unlabelled set."""
    if classes is not None:
        if isinstance(classes, str) or not classes:
            raise ValueError(f'classes must be a list of names like ["smileys"], got {classes!r}')
        chosen = store.index.select(store.names, classes)
        return list(chosen), list(chosen.values()), tuple(classes)
    labels = store.index.labels
    if labels is None:
        return list(store.names), [0] * len(store.names), ()
    missing = next((name for name in store.names if name not in labels), None)
    if missing is not None:
        raise ValueError(f"{store.where(missing)}: has no label in dataset.json, which labels others; add it")
    return list(store.names), [labels[name] for name in store.names], store.index.classes


def _decode_all(
    store: ImageStore,
    names: Sequence[str],
    resolution: tuple[int, int] | None,
    channels: int,
    background: tuple[int, int, int],
) -> torch.Tensor:
    """uint8 [M, H, W, C], decoded by threads (Pillow lets go of the interpreter lock)."""

    def pixels(name: str) -> np.ndarray:
        image = decode_image(store.read(name), store.where(name), channels=channels, background=background)
        return np.asarray(image if resolution is None else center_crop(image, resolution))

    first = pixels(names[0])
    height, width = first.shape[:2]
    images = np.empty((len(names), height, width, channels), np.uint8)

    def place(i: int) -> None:
        image = pixels(names[i])
        if image.shape[:2] != (height, width):
            raise ValueError(
                f"{store.where(names[i])}: is {image.shape[1]}x{image.shape[0]} (WxH), but {store.where(names[0])} is "
                f"{width}x{height}; give a resolution to crop and resize all images to it"
            )
        images[i] = image.reshape(height, width, channels)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        try:
            for _ in pool.map(place, range(len(names))):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return torch.from_numpy(images)
