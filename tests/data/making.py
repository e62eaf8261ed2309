"""Small image files, zips and tars for the tests of data sets."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from fastgan.data import ImageDataset, load_dataset, load_pairs

Files = dict[str, bytes] | Iterable[tuple[str, bytes]]


def flat(value: int, kind: str = "PNG", mode: str = "RGB", size: tuple[int, int] = (6, 4), **options: object) -> bytes:
    """The file of an image of one value."""
    buffer = io.BytesIO()
    bands = Image.getmodebands(mode)
    Image.new(mode, size, value if bands == 1 else (value,) * bands).save(buffer, kind, **options)
    return buffer.getvalue()


def in_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def in_zip(path: Path, files: Files, compression: int = zipfile.ZIP_STORED) -> Path:
    """A zip of entries with just these names; a name may come several times."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in pairs(files):
            entry = zipfile.ZipInfo("x")
            entry.filename, entry.compress_type = name, compression
            archive.NameToInfo.pop(name, None)  # else it warns of a name that is there already
            archive.writestr(entry, data)
    return path


def in_tar(path: Path, files: Files) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in pairs(files):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def pairs(files: Files) -> Iterable[tuple[str, bytes]]:
    return files.items() if isinstance(files, dict) else files  # type: ignore[return-value]  # (no subclass of dict)


def in_memory(source: str | Path, **options: Any) -> ImageDataset:
    """A set that load_dataset holds in memory."""
    dataset = load_dataset(source, **options)
    assert isinstance(dataset, ImageDataset)
    return dataset


def pairs_in_memory(source: str | Path, **options: Any) -> dict[str, ImageDataset]:
    """The sides of a set of pairs that load_pairs holds in memory."""
    sides: dict[str, ImageDataset] = {}
    for name, dataset in load_pairs(source, **options).items():
        assert isinstance(dataset, ImageDataset)
        sides[name] = dataset
    return sides
