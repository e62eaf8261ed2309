"""Shards: .tar files of images with labels beside them, as the webdataset library reads and writes them."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from fastgan.data.image import BrokenImageError
from fastgan.data.index import INDEX_NAME, MOST_CLASSES, DatasetIndex
from fastgan.data.stores import LARGEST_FILE, ImageStore, is_image, is_notice


class ShardStore(ImageStore):
    """One .tar, or a folder of them; images are read where they lie, in any order, without unpacking.

    `a/7.png` and `a/7.cls` of one shard are an image and its class number; `a/7.json` may hold it as "label". A
    `dataset.json` in the folder, or in a shard opened alone, comes first.

    Raises:
        ValueError: a shard that is no plain .tar or ends too early, a label that is no class number.
    """

    def __init__(self, path: Path) -> None:
        shards = sorted(path.glob("*.tar")) if path.is_dir() else [path]
        self._shards = shards
        self._places: dict[str, tuple[int, int, int]] = {}  # name -> shard, offset, bytes; of every file
        for number, shard in enumerate(shards):
            self._scan(number, shard, prefix=f"{shard.name}/" if path.is_dir() else "")
        text = None
        if path.is_dir() and (path / INDEX_NAME).is_file():
            text = (path / INDEX_NAME).read_bytes()
        elif not path.is_dir() and INDEX_NAME in self._places:
            text = self.read(INDEX_NAME)
        names = [name for name in self._places if is_image(name)]
        self.path = path
        super().__init__(path, names, self._index(path, names, text))
        if path.is_dir():
            self.notices = tuple(each.name for each in path.iterdir() if is_notice(each.name))

    def _scan(self, number: int, shard: Path, prefix: str) -> None:
        """Notes where the files of a shard lie."""
        try:
            with tarfile.open(shard, "r:") as archive:
                for member in archive:
                    if member.isfile():
                        self._places[prefix + member.name.removeprefix("./")] = number, member.offset_data, member.size
        except (tarfile.TarError, OSError, EOFError) as error:
            raise ValueError(
                f"{shard}: cannot be read as a .tar ({error}); shards must be whole and not compressed"
            ) from error

    def _index(self, path: Path, names: Iterable[str], text: bytes | None) -> DatasetIndex:
        if text is not None:
            return DatasetIndex.from_json(text, f"{path}/{INDEX_NAME}")
        found = {}
        for name in names:
            stem = PurePosixPath(name).with_suffix("")
            key = stem.with_name(stem.name.split(".")[0])  # webdataset ends a sample's key at the first dot
            for candidate in (f"{stem}.cls", f"{key}.cls", f"{stem}.json", f"{key}.json"):
                label = self._label(candidate) if candidate in self._places else None
                if label is not None:
                    found[name] = label
                    break
        classes = tuple(str(number) for number in range(max(found.values(), default=-1) + 1))
        return DatasetIndex(labels=found or None, classes=classes)

    def _label(self, name: str) -> int | None:
        """The class number in a label's file; None of a .json without one."""
        data = self.read(name)
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            value = data
        if name.endswith(".json"):
            value = value.get("label") if isinstance(value, dict) else None
            if value is None:
                return None
        if type(value) is not int or not 0 <= value < MOST_CLASSES:
            expected = f"a class number from 0 to {MOST_CLASSES - 1}"
            raise ValueError(f"{self.where(name)}: expected {expected}, got {data[:20]!r}")
        return value

    def read(self, name: str) -> bytes:
        if name in self.notices:
            return (self.path / name).read_bytes()
        number, offset, size = self._places[name]
        data = b""
        try:
            if size <= LARGEST_FILE:
                with open(self._shards[number], "rb") as file:  # opened each time: there may be thousands of shards
                    file.seek(offset)
                    data = file.read(size)
        except OSError as error:
            raise BrokenImageError(f"{self.where(name)}: cannot be read ({error.strerror})") from error
        if len(data) != size:
            reason = f"the shard holds {len(data)} of its {size} bytes"
            raise BrokenImageError(f"{self.where(name)}: cannot be read ({reason})")
        return data
