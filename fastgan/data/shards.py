"""Shards: .tar files of images with labels beside them, as the webdataset library reads and writes them."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from fastgan.data.image import BrokenImageError
from fastgan.data.index import INDEX_NAME, DatasetIndex
from fastgan.data.stores import LARGEST_FILE, ImageStore, is_image

# A label file is a number, a .json a few fields; more is a mistake.
_LARGEST_LABEL = 1 << 20


class ShardStore(ImageStore):
    """One .tar, or a folder of them; images are read where they lie, in any order, without unpacking.

    `a/7.png` and `a/7.cls` of one shard are an image and its class number; `a/7.json` may hold it as "label". A
    `dataset.json` in the folder, or in the only shard, comes first.

    Raises:
        ValueError: a shard that is no plain .tar or ends too early, a label that is no class number.
    """

    def __init__(self, path: Path) -> None:
        shards = sorted(path.glob("*.tar")) if path.is_dir() else [path]
        self._places: dict[str, tuple[int, int, int]] = {}  # name -> shard, offset, bytes
        self._files: list[int] = []
        labels: dict[str, int] = {}
        index_file = path / INDEX_NAME
        text = index_file.read_bytes() if path.is_dir() and index_file.is_file() else None
        try:
            for shard in shards:
                self._files.append(os.open(shard, os.O_RDONLY))
                for name, data in self._scan(shard, prefix=f"{shard.name}/" if path.is_dir() else ""):
                    if name == INDEX_NAME:
                        text = data
                    else:
                        labels[name] = _label(f"{shard}/{name}", data)
            super().__init__(path, self._places, self._index(path, labels, text))
        except BaseException:
            self.close()
            raise

    def _scan(self, shard: Path, prefix: str) -> Iterator[tuple[str, bytes]]:
        """Notes where the shard's images lie, and yields its label files and index."""
        try:
            with tarfile.open(shard, "r:") as archive:
                for member in archive:
                    name = member.name.removeprefix("./")
                    if member.isfile() and is_image(name):
                        self._places[prefix + name] = (len(self._files) - 1, member.offset_data, member.size)
                    elif member.isfile() and PurePosixPath(name).suffix in (".cls", ".json"):
                        file = archive.extractfile(member)
                        assert file is not None
                        yield (
                            (name if name == INDEX_NAME else prefix + name),
                            file.read(LARGEST_FILE if name == INDEX_NAME else _LARGEST_LABEL),
                        )
        except (tarfile.TarError, OSError, EOFError) as error:
            raise ValueError(
                f"{shard}: cannot be read as a .tar ({error}); shards must be whole and not compressed"
            ) from error

    def _index(self, path: Path, labels: dict[str, int], text: bytes | None) -> DatasetIndex:
        if text is not None:
            return DatasetIndex.from_json(text, f"{path}/{INDEX_NAME}")
        found = {}
        for name in self._places:
            stem = PurePosixPath(name).with_suffix("")
            key = stem.with_name(stem.name.split(".")[0])  # webdataset ends a sample's key at the first dot
            for candidate in (f"{stem}.cls", f"{key}.cls", f"{stem}.json", f"{key}.json"):
                if candidate in labels and labels[candidate] >= 0:
                    found[name] = labels[candidate]
                    break
        classes = tuple(str(number) for number in range(max(found.values(), default=-1) + 1))
        return DatasetIndex(labels=found or None, classes=classes)

    def read(self, name: str) -> bytes:
        shard, offset, size = self._places[name]
        data = os.pread(self._files[shard], size, offset) if size <= LARGEST_FILE else b""
        if len(data) != size:
            raise BrokenImageError(
                f"{self.where(name)}: cannot be read (the shard holds {len(data)} of its {size} bytes)"
            )
        return data

    def close(self) -> None:
        while self._files:
            os.close(self._files.pop())


def _label(where: str, data: bytes) -> int:
    """The class number; -1 of a .json without one."""
    try:
        value = json.loads(data)
    except ValueError as error:
        raise ValueError(f"{where}: expected a class number, got {data[:20]!r}") from error
    if where.endswith(".json"):
        value = value.get("label", -1) if isinstance(value, dict) else -1
        return value if type(value) is int else -1
    if type(value) is not int or value < 0:
        raise ValueError(f"{where}: expected a class number, at least 0, got {data[:20]!r}")
    return value
