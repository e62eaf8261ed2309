"""Bare pixels of published data sets: idx (MNIST, Fashion-MNIST) and the binary form of CIFAR-10 and CIFAR-100."""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from fastgan.data.image import WHITE
from fastgan.data.index import DatasetIndex
from fastgan.data.stores import ImageStore, checksum

_CIFAR_SIDE = 32
_CIFAR_PIXELS = 3 * _CIFAR_SIDE * _CIFAR_SIDE


class ArrayStore(ImageStore):
    """Images of one size that lie in arrays.

    Args:
        path: names the store in errors.
        parts: uint8 [m, H, W] or [m, C, H, W] each; all images are numbered through.
        labels: class of each image; None without.
        classes: class names; () for their numbers.
        groups: a second, coarser grouping by name, selectable as `classes` are.
    """

    def __init__(
        self,
        path: Path,
        parts: Sequence[np.ndarray],
        labels: Sequence[int] | None,
        classes: Sequence[str] = (),
        groups: Sequence[str] | None = None,
    ) -> None:
        starts = np.cumsum([0, *(len(part) for part in parts)])
        digits = len(str(max(int(starts[-1]) - 1, 0)))
        names = [f"{number:0{digits}d}.png" for number in range(int(starts[-1]))]
        self._parts, self._starts = parts, starts
        selections: dict[str, list[str]] = {}
        for name, group in zip(names, groups or (), strict=groups is not None):
            selections.setdefault(group, []).append(name)
        if labels is not None and not classes:
            classes = [str(number) for number in range(max(labels, default=-1) + 1)]
        index = DatasetIndex(
            labels=None if labels is None else dict(zip(names, map(int, labels), strict=True)),
            classes=tuple(classes),
            selections={group: tuple(members) for group, members in selections.items()},
        )
        grey = all(part.ndim == 3 for part in parts)
        super().__init__(path, names, index, channels=1 if grey else 3)

    def read(self, name: str) -> bytes:
        buffer = io.BytesIO()
        self._image(name).save(buffer, "PNG")
        return buffer.getvalue()

    def decode(self, name: str, *, channels: int = 3, background: tuple[int, int, int] = WHITE) -> Image.Image:
        return self._image(name).convert("L" if channels == 1 else "RGB")

    def checksum(self, name: str) -> int:
        return checksum(np.ascontiguousarray(self._pixels(name)).data.cast("B"))

    def where(self, name: str) -> str:
        return f"{self.path} (image {int(Path(name).stem)})"

    @property
    def title(self) -> str:
        path = self.path.resolve()
        return path.name if path.is_dir() else path.parent.name

    def _pixels(self, name: str) -> np.ndarray:
        number = int(Path(name).stem)
        part = int(np.searchsorted(self._starts, number, side="right")) - 1
        return self._parts[part][number - self._starts[part]]

    def _image(self, name: str) -> Image.Image:
        pixels = self._pixels(name)
        return Image.fromarray(np.ascontiguousarray(pixels if pixels.ndim == 2 else pixels.transpose(1, 2, 0)))


def open_idx(path: Path) -> ArrayStore:
    """A file of grey images like `train-images-idx3-ubyte`, plain or .gz, with the labels that lie beside it.

    The labels are in the file whose name has `labels` for `images` and `idx1` for `idx3`; without it the set is
    unlabelled.

    Raises:
        ValueError: not such a file, cut short, or labels of another number of images.
    Source: LeCun et al., the MNIST database (format of the files).
    """
    images = _read_idx(path, rank=3)
    plain = path.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    found = [each for each in (path.with_name(plain), path.with_name(f"{plain}.gz")) if each.is_file()]
    if not found or found[0] == path:
        return ArrayStore(path, [images], None)
    labels = _read_idx(found[0], rank=1)
    if len(labels) != len(images):
        raise ValueError(f"{found[0]}: has {len(labels)} labels, but {path} has {len(images)} images")
    return ArrayStore(path, [images], labels.tolist())


def _read_idx(path: Path, rank: int) -> np.ndarray:
    """The uint8 array of an idx file. A plain file is mapped, not read."""
    header = 4 + 4 * rank
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            start = file.read(header)
            if len(start) < header or start[:3] != b"\0\0\x08" or start[3] != rank:
                kind = "images (idx3-ubyte)" if rank == 3 else "labels (idx1-ubyte)"
                raise ValueError(f"{path}: not an idx file of {kind}: it begins with {start[:4].hex(' ') or 'nothing'}")
            shape = [int.from_bytes(start[i : i + 4], "big") for i in range(4, header, 4)]
            expected = math.prod(shape)
            if path.suffix == ".gz":
                data = bytearray()
                while len(data) <= expected and (chunk := file.read(1 << 20)):  # little more than the header promises
                    data += chunk
                _check_length(path, len(data), expected)
                return np.frombuffer(data, np.uint8).reshape(shape)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: cannot be read ({error}); download it again") from error
    _check_length(path, path.stat().st_size - header, expected)
    return np.memmap(path, np.uint8, "r", header, tuple(shape)) if expected else np.empty(shape, np.uint8)


def _check_length(path: Path, length: int, expected: int) -> None:
    if length != expected:
        fault = "is cut short" if length < expected else "has more data than its header says"
        raise ValueError(f"{path}: {fault}: expected {expected:,} bytes of pixels or labels; download it again")


def is_cifar(path: Path) -> bool:
    """Whether `path` is a folder or file of CIFAR's binary form."""
    if path.is_dir():
        return bool(_cifar_files(path))
    return path.suffix == ".bin"


def _cifar_files(folder: Path) -> list[Path]:
    """The training files of an unpacked `cifar-10-binary.tar.gz` or `cifar-100-binary.tar.gz`."""
    train = folder / "train.bin"
    return [train] if train.is_file() else sorted(folder.glob("data_batch_*.bin"))


def open_cifar(path: Path) -> ArrayStore:
    """CIFAR-10 or CIFAR-100 in the binary form: its folder (the training images) or one `.bin` file.

    Class names come from `batches.meta.txt` or `fine_label_names.txt` beside the files. CIFAR-100's coarse classes can
    be chosen by name as well. Files are mapped, not read.

    Raises:
        ValueError: a file that is not a whole number of records, or labels without a name.
    Source: Krizhevsky 2009, Learning multiple layers of features from tiny images.
    """
    files = _cifar_files(path) if path.is_dir() else [path]
    folder = path if path.is_dir() else path.parent
    fine, coarse, ten = (
        _names(folder / name) for name in ("fine_label_names.txt", "coarse_label_names.txt", "batches.meta.txt")
    )
    sizes = [file.stat().st_size for file in files]
    hundred = bool(fine) or (not ten and any(size % (_CIFAR_PIXELS + 1) for size in sizes))
    record = _CIFAR_PIXELS + (2 if hundred else 1)
    parts, labels, groups = [], [], []
    for file, size in zip(files, sizes, strict=True):
        if size == 0 or size % record:
            raise ValueError(f"{file}: has {size:,} bytes, expected a whole number of records of {record} bytes")
        data = np.memmap(file, np.uint8, "r").reshape(-1, record)
        parts.append(data[:, record - _CIFAR_PIXELS :].reshape(-1, 3, _CIFAR_SIDE, _CIFAR_SIDE))
        labels += data[:, record - _CIFAR_PIXELS - 1].tolist()
        groups += data[:, 0].tolist() if hundred and coarse else []
    classes = fine if hundred else ten
    for kind, numbers, names in (("label", labels, classes), ("coarse label", groups, coarse)):
        if names and max(numbers, default=0) >= len(names):
            raise ValueError(f"{path}: holds {kind} {max(numbers)}, but only {len(names)} are named")
    return ArrayStore(path, parts, labels, classes, [coarse[number] for number in groups] if groups else None)


def _names(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").split() if file.is_file() else []
