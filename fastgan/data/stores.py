"""Where images come from: files in a folder tree, a zip or shards, or bare pixels, behind one interface."""

from __future__ import annotations

import contextlib
import lzma
import os
import re
import stat
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from PIL import Image

from fastgan.data.image import IMAGE_SUFFIXES, WHITE, BrokenImageError, decode_image
from fastgan.data.index import INDEX_NAME, DatasetIndex

# One image file larger than this is taken for a mistake or an attack, and not read into memory.
LARGEST_FILE = 1 << 30
# What reading a damaged zip raises; RuntimeError where it is encrypted.
_ZIP_FAULTS = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, RuntimeError, NotImplementedError,
)  # fmt: skip


# The checksum of what has not been read.
UNREAD = -1


def checksum(data: bytes | memoryview) -> int:
    """bytes · 2^32 + CRC-32: what the directory of a zip holds of each file."""
    return len(data) << 32 | zlib.crc32(data)


class ImageStore(ABC):
    """Images by name, sorted, with what is known of their classes.

    Attributes:
        path: the folder or file that holds them.
        names: paths relative to `path`, `/` between folders, sorted; images that are no files get numbers for names.
        index: labels, classes and selections.
        channels: 1 where every image is known to be grey, else 3.
        notices: names of licence files, which go with the images wherever they go.
    """

    notices: tuple[str, ...] = ()

    def __init__(self, path: Path, names: Iterable[str], index: DatasetIndex, channels: int = 3) -> None:
        self.path, self.names, self.index, self.channels = path, tuple(sorted(names)), index, channels
        self._checksums: dict[str, int] = {}  # of what has been decoded
        for name in self.names:
            if ".." in PurePosixPath(name).parts or name.startswith("/"):
                raise ValueError(f"{path}: holds {name!r}, a path that leads out of the set; build it again")
        if not self.names:
            kinds = ", ".join(sorted(IMAGE_SUFFIXES))
            raise ValueError(f"{path}: holds no images; expected files ending in {kinds}")

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The image's file; of bare pixels, a PNG of them. Safe from several threads.

        Raises:
            BrokenImageError: it cannot be read.
        """

    def decode(self, name: str, *, channels: int = 3, background: tuple[int, int, int] = WHITE) -> Image.Image:
        """The image as `RGB` or `L`; `decode_image` documents arguments and errors. Safe from several threads."""
        data = self.read(name)
        self._checksums[name] = checksum(data)
        return decode_image(data, self.where(name), channels=channels, background=background)

    def checksum(self, name: str) -> int:
        """`checksum` of the image's file, the same in every container; `UNREAD` where only reading would tell, and the
        image has not been decoded yet.
        """
        return self._checksums.get(name, UNREAD)

    def modified(self, name: str) -> int:
        """When the image's file was last written, in nanoseconds."""
        return self.path.stat().st_mtime_ns

    def where(self, name: str) -> str:
        """How errors name an image of this store."""
        return f"{self.path}/{name}"

    @property
    def title(self) -> str:
        """What reports call the set."""
        path = self.path.resolve()
        return path.name if path.is_dir() else path.stem

    def __enter__(self) -> ImageStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027 - most hold nothing open
        """Let go of open files; reading from now on is an error or opens them again."""


class FolderStore(ImageStore):
    """A folder and its sub-folders; hidden files are passed over."""

    def __init__(self, path: Path) -> None:
        files = _walk(path)
        text = (path / INDEX_NAME).read_bytes() if INDEX_NAME in files else None
        names = [name for name in files if is_image(name)]
        super().__init__(path, names, index_of_files(path, names, text))
        self.notices = tuple(filter(is_notice, files))

    def read(self, name: str) -> bytes:
        path = self.path / name
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise BrokenImageError(f"{path}: cannot be read (it is no regular file); remove it")
            _check_size(self.where(name), status.st_size)
            return path.read_bytes()
        except OSError as error:
            raise BrokenImageError(f"{path}: cannot be read ({error.strerror}); replace or remove the file") from error

    def modified(self, name: str) -> int:
        with contextlib.suppress(OSError):  # reading it tells what is wrong
            return (self.path / name).stat().st_mtime_ns
        return 0


class ZipStore(ImageStore):
    """A zip, compressed or not."""

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except _ZIP_FAULTS as error:
            raise ValueError(f"{path}: not a readable zip ({error}); build or download it again") from error
        files = self._zip.namelist()
        text = self._read(INDEX_NAME, path) if INDEX_NAME in files else None
        names = [name for name in files if is_image(name)]
        super().__init__(path, names, index_of_files(path, names, text))
        self.notices = tuple(filter(is_notice, files))

    def read(self, name: str) -> bytes:
        return self._read(name, self.path)

    def checksum(self, name: str) -> int:
        entry = self._zip.getinfo(name)
        return entry.file_size << 32 | entry.CRC

    def _read(self, name: str, path: Path) -> bytes:
        try:
            _check_size(f"{path}/{name}", self._zip.getinfo(name).file_size)
            return self._zip.read(name)
        except BrokenImageError:
            raise
        except _ZIP_FAULTS as error:
            raise BrokenImageError(f"{path}/{name}: cannot be read ({error}); build the zip again") from error

    def close(self) -> None:
        self._zip.close()


def is_image(name: str) -> bool:
    """Whether the path's ending is that of an image, and no part of it is hidden."""
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in IMAGE_SUFFIXES and not hidden


def has_images(folder: Path) -> bool:
    """Whether an image lies in the folder or below."""
    return any(map(is_image, _walk(folder)))


def is_notice(name: str) -> bool:
    return re.fullmatch(r"(licen[cs]e|notice|copying)(\.\w+)?", name, re.IGNORECASE) is not None


def index_of_files(path: Path, names: Iterable[str], text: bytes | None) -> DatasetIndex:
    """What `dataset.json` says; where there is none, the sub-folders are the classes.

    Args:
        path: names the store in errors.
        names: paths of all images.
        text: content of `dataset.json`; None without one.
    """
    return DatasetIndex.of_folders(names) if text is None else DatasetIndex.from_json(text, f"{path}/{INDEX_NAME}")


def _walk(root: Path) -> list[str]:
    """All files under `root`, relative to it. Links to folders are followed, each folder entered once."""

    def refuse(error: OSError) -> None:
        raise ValueError(f"{error.filename}: cannot be read ({error.strerror}); mend its permissions or move it away")

    files, entered = [], set()
    for folder, folders, names in os.walk(root, followlinks=True, onerror=refuse):
        here = os.path.realpath(folder)
        if here in entered:
            folders.clear()
            continue
        entered.add(here)
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        files += [(Path(folder) / name).relative_to(root).as_posix() for name in names]
    for name in files:
        if not name.isprintable() and name != name.encode(errors="replace").decode():
            shown = name.encode(errors="backslashreplace").decode()
            raise ValueError(f"{root}/{shown}: the name is not valid UTF-8; rename the file")
    return files


def _check_size(where: str, size: int) -> None:
    if size > LARGEST_FILE:
        raise BrokenImageError(f"{where}: has {size:,} bytes, more than any image ({LARGEST_FILE:,}); remove it")
