"""Where images come from: a folder tree or a zip, read by path; and the packaged set by its name."""

from __future__ import annotations

import os
import zipfile
from abc import ABC, abstractmethod
from pathlib import Path, PurePosixPath

from fastgan.data.image import IMAGE_SUFFIXES
from fastgan.data.index import INDEX_NAME, DatasetIndex

ASSETS = Path(__file__).parent / "assets"
PACKAGED = {"emoji64": ASSETS / "emoji64.zip"}


class ImageStore(ABC):
    """Image files under one root, sorted by path, with the index that lies beside them.

    Attributes:
        path: the folder or zip.
        names: paths of the images relative to the root, `/` between folders, sorted.
        index: what `dataset.json` in the root says; empty without one.
    """

    def __init__(self, path: Path, files: list[str]) -> None:
        self.path = path
        self.names = tuple(sorted(name for name in files if _is_image(name)))
        if not self.names:
            kinds = ", ".join(sorted(IMAGE_SUFFIXES))
            raise ValueError(f"{path}: holds no images; expected files ending in {kinds}")
        self.index = DatasetIndex()
        if INDEX_NAME in files:
            self.index = DatasetIndex.from_json(self.read(INDEX_NAME), self.where(INDEX_NAME))

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The bytes of one file; safe from several threads."""

    def where(self, name: str) -> str:
        """How errors name a file of this store."""
        return f"{self.path}/{name}"

    def __enter__(self) -> ImageStore:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class FolderStore(ImageStore):
    """A folder and its sub-folders; hidden files are passed over."""

    def __init__(self, path: Path) -> None:
        files = []
        for folder, folders, names in os.walk(path, followlinks=True):
            folders[:] = sorted(each for each in folders if not each.startswith("."))
            files += [(Path(folder) / name).relative_to(path).as_posix() for name in names]
        super().__init__(path, files)

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()


class ZipStore(ImageStore):
    """A zip, compressed or not."""

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except zipfile.BadZipFile as error:
            raise ValueError(f"{path}: not a readable zip ({error}); build or download it again") from error
        super().__init__(path, self._zip.namelist())

    def read(self, name: str) -> bytes:
        try:
            return self._zip.read(name)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            raise ValueError(f"{self.where(name)}: cannot be read ({error}); build the zip again") from error

    def __exit__(self, *_: object) -> None:
        self._zip.close()


def open_store(source: str | Path) -> ImageStore:
    """Open a set of images by name (`emoji64`), folder or zip.

    Raises:
        ValueError: nothing there, or not a folder or zip, or no images in it.
    """
    path = Path(PACKAGED.get(str(source), source))
    if path.is_dir():
        return FolderStore(path)
    if path.is_file():
        return ZipStore(path)
    names = ", ".join(PACKAGED)
    raise ValueError(f"{path}: no such folder or zip; give a path that exists, or a packaged set ({names})")


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in IMAGE_SUFFIXES and not hidden
