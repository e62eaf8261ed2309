"""Shards: .tar files of images with labels beside them, as the webdataset library reads and writes them."""

from __future__ import annotations

import json
import posixpath
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from fastgan.data.finding import index_of_files
from fastgan.data.formats import HEAD
from fastgan.data.image import BrokenImageError
from fastgan.data.index import DatasetIndex
from fastgan.data.kinds import head_of, kind_of_file
from fastgan.data.labels import read_labels
from fastgan.data.listing import by_name, clean_name, count_endings, is_notice, passed_over, tell_apart
from fastgan.data.samples import images_of_samples, label_files, split_name
from fastgan.data.stores import LARGEST_FILE, ImageStore

# What reading the headers of a damaged .tar raises, huge sizes and endless chains of headers included.
_TAR_FAULTS = (
    tarfile.TarError, OSError, EOFError, ValueError, OverflowError, MemoryError, RecursionError, IndexError, KeyError,
)  # fmt: skip


class _Place(NamedTuple):
    """Where a file lies: the shard's number, the offset there and the size, in bytes."""

    shard: int
    offset: int
    size: int


class ShardStore(ImageStore):
    """One .tar, or a folder of them; images are read where they lie, in any order, without unpacking.

    `a/7.png` and `a/7.cls` of one shard are an image and its class number; `a/7.json` may hold it as "label". A
    `dataset.json` in the folder, or in a shard opened alone, comes first. Of the files of a sample `7.jpg` is the
    image, and others (`7.seg.png`) are passed over.

    Raises:
        ValueError: a shard that is no plain .tar or ends too early, a label that is no class number, two files of one
            name, a sample of which several files could be the image.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._shards = sorted(path.glob("*.tar")) if path.is_dir() else [path]
        self._places: dict[str, _Place] = {}  # of every file
        for number, shard in enumerate(self._shards):
            prefix = f"{shard.name}/" if path.is_dir() else ""
            found = by_name(
                shard, _scan(number, shard), lambda a, b: a.size == b.size and self._bytes(a) == self._bytes(b)
            )
            self._places.update((prefix + name, place) for name, place in found.items())
        images, others = tell_apart(self._places, lambda name: self._bytes(self._places[name], HEAD))
        names, beside = images_of_samples(path, images, self._places)
        passed = passed_over(names, [name for name in others if not name.endswith((".cls", ".json"))])  # labels
        if beside:
            endings = count_endings(f".{split_name(name)[1]}" for name in beside)
            passed.append(f"passed over images beside the image of their sample: {endings}")
        files = (each.name for each in path.iterdir()) if path.is_dir() else self._places
        index = index_of_files(path, names, files, self.read) or self._index_of_samples(names)
        super().__init__(path, names, index, passed=passed)
        if path.is_dir():
            self.notices = tuple(each.name for each in path.iterdir() if is_notice(each.name))

    def _index_of_samples(self, names: Iterable[str]) -> DatasetIndex:
        """The labels in the files beside the images."""
        found = {}
        for name in names:
            for candidate in label_files(name):
                label = self._label(candidate) if candidate in self._places else None
                if label is not None:
                    found[name] = label
                    break
        labels, classes = read_labels(found, None, str(self.path))
        return DatasetIndex(labels or None, classes, origin="from .cls or .json files")

    def _label(self, name: str) -> object:
        """What a label's file holds; None of a .json without one."""
        data = self.read(name)
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            value = data.decode(errors="replace")
        if name.endswith(".json"):
            return value.get("label") if isinstance(value, dict) else None
        return value

    def read(self, name: str) -> bytes:
        if name not in self._places:  # beside the shards: a licence, dataset.json
            return (self.path / name).read_bytes()
        place = self._places[name]
        try:
            data = self._bytes(place) if place.size <= LARGEST_FILE else b""
        except OSError as error:
            raise BrokenImageError(f"{self.where(name)}: cannot be read ({error.strerror})") from error
        if len(data) != place.size:
            reason = f"the shard holds {len(data)} of its {place.size} bytes"
            raise BrokenImageError(f"{self.where(name)}: cannot be read ({reason})")
        return data

    def _bytes(self, place: _Place, most: int = LARGEST_FILE) -> bytes:
        with open(self._shards[place.shard], "rb") as file:  # opened each time: there may be thousands of shards
            file.seek(place.offset)
            return file.read(min(place.size, most))


def _scan(number: int, shard: Path) -> Iterator[tuple[str, _Place]]:
    """(name, place) of the files of a shard; a link inside it stands for the file it leads to."""
    places: dict[str, _Place] = {}
    links: list[tuple[str, str]] = []
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                if member.isfile():
                    place = places[clean_name(member.name)] = _Place(number, member.offset_data, member.size)
                    yield member.name, place
                elif member.islnk() or member.issym():
                    folder = posixpath.dirname(member.name) if member.issym() else ""
                    links.append((member.name, posixpath.join(folder, member.linkname)))
    except _TAR_FAULTS as error:
        kind = kind_of_file(head_of(shard), shard.name)
        reason = f"cannot be read as a .tar ({error}); shards must be whole and not compressed"
        raise ValueError(f"{shard}: {f'is {kind[0]}; {kind[1]}' if kind else reason}") from error
    for name, target in links:
        place = places[clean_name(name)] = places.get(clean_name(posixpath.normpath(target)), _Place(number, 0, 0))
        yield name, place  # empty where the link leads out of the shard
