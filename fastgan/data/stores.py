"""Where images come from: files in a folder tree, a zip or shards, or bare pixels, behind one interface."""

from __future__ import annotations

import contextlib
import lzma
import os
import stat
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from fastgan.data.finding import index_of_files
from fastgan.data.formats import HEAD, IMAGE_SUFFIXES, suffix_of
from fastgan.data.image import WHITE, BrokenImageError, decode_image
from fastgan.data.index import DatasetIndex
from fastgan.data.kinds import complaint_of_folder
from fastgan.data.listing import by_name, is_hidden, is_notice, passed_over, tell_apart

# One image file larger than this is taken for a mistake or an attack, and not read into memory.
LARGEST_FILE = 1 << 30
# Notes look at so many images, and call a set nearly black whose values all are below this.
_LOOKED_AT = 16
_DARK = 32
# The bit of an entry's flags that says that its content is encrypted.
_ENCRYPTED = 1
# What reading a damaged zip raises.
_ZIP_FAULTS = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, RuntimeError, NotImplementedError,
)  # fmt: skip


# The checksums of what has not been read, and of what cannot be and is left out.
UNREAD, BROKEN = -1, -2


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
        passed: sentences on what is there and is passed over.
        notices: names of licence files, which go with the images wherever they go.
    """

    notices: tuple[str, ...] = ()

    def __init__(
        self, path: Path, names: Iterable[str], index: DatasetIndex, channels: int = 3, passed: Sequence[str] = ()
    ) -> None:
        self.path, self.names, self.index, self.channels = path, tuple(sorted(names)), index, channels
        self.passed = passed
        self._checksums: dict[str, int] = {}  # of what has been decoded
        if not self.names:
            held = "; ".join(passed) or "expected PNG, JPEG, WebP or other image files"
            raise ValueError(f"{path}: holds no images; {held}")

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

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what is passed over, and on images that are nearly black: a few are decoded for that."""
        passed, largest = list(self.passed), []
        for i in range(0, len(self.names), -(-len(self.names) // _LOOKED_AT)):
            with contextlib.suppress(BrokenImageError):
                largest.append(int(np.asarray(self.decode(self.names[i])).max()))
            if largest and largest[-1] >= _DARK:
                break
        if largest and max(largest) < _DARK:
            passed.append(
                f"the images are nearly black: the largest value of {len(largest)} is {max(largest)} of 255; "
                "12 bits in 16 must be multiplied by 16, or be TIFF that says which value is white (SMaxSampleValue)"
            )
        return tuple(f"{self.path}: {sentence}" for sentence in passed)

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
        self.path, files = path, walk(path)
        self._files = by_name(path, ((name, name) for name in files))  # Windows' zips may be unpacked to names with \
        names, others = tell_apart(self._files, self._head)
        _refuse_runs(path, others)
        if not names:
            raise ValueError(complaint_of_folder(path, others))
        index = index_of_files(path, names, self._files, self.read) or DatasetIndex.of_folders(names)
        super().__init__(path, names, index, passed=passed_over(names, others))
        self.notices = tuple(filter(is_notice, self._files))

    def read(self, name: str) -> bytes:
        path = self.path / self._files[name]
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise BrokenImageError(f"{path}: cannot be read (it is no regular file); remove it")
            _check_size(self.where(name), status.st_size)
            return path.read_bytes()
        except OSError as error:
            raise BrokenImageError(f"{path}: cannot be read ({error.strerror}); replace or remove the file") from error

    def _head(self, name: str) -> bytes:
        path = self.path / self._files[name]
        with contextlib.suppress(OSError):
            if path.is_file():
                with path.open("rb") as file:
                    return file.read(HEAD)
        return b""

    def modified(self, name: str) -> int:
        with contextlib.suppress(OSError):  # reading it tells what is wrong
            return (self.path / self._files[name]).stat().st_mtime_ns
        return 0


class ZipStore(ImageStore):
    """A zip, compressed or not."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except _ZIP_FAULTS as error:
            with path.open("rb") as file:
                cut = file.read(2) == b"PK"
            reason = "it is cut off: the list of its files, which ends a zip, is missing" if cut else error
            raise ValueError(f"{path}: not a readable zip ({reason}); build or download it again") from error
        entries = ((each.filename, each) for each in self._zip.infolist() if not each.filename.endswith(("/", "\\")))
        self._entries = by_name(path, entries, lambda a, b: (a.CRC, a.file_size) == (b.CRC, b.file_size))
        if any(entry.flag_bits & _ENCRYPTED for entry in self._entries.values()):
            raise ValueError(f"{path}: is encrypted; unpack it with its password and give the folder")
        names, others = tell_apart(self._entries, self._head)
        index = index_of_files(path, names, self._entries, self.read) or DatasetIndex.of_folders(names)
        super().__init__(path, names, index, passed=passed_over(names, others))
        self.notices = tuple(filter(is_notice, self._entries))

    def read(self, name: str) -> bytes:
        entry = self._entries[name]
        _check_size(f"{self.path}/{name}", entry.file_size)
        return self._read(name, entry.file_size)

    def checksum(self, name: str) -> int:
        entry = self._entries[name]
        return UNREAD if entry.file_size > LARGEST_FILE else entry.file_size << 32 | entry.CRC

    def _head(self, name: str) -> bytes:
        with contextlib.suppress(BrokenImageError):
            return self._read(name, HEAD)
        return b""

    def _read(self, name: str, size: int) -> bytes:
        """The entry's first `size` bytes, unpacked no further: an entry may claim less than it holds."""
        try:
            with self._zip.open(self._entries[name]) as file:
                return file.read(size)
        except _ZIP_FAULTS as error:
            raise BrokenImageError(f"{self.path}/{name}: cannot be read ({error}); build the zip again") from error

    def close(self) -> None:
        self._zip.close()


def has_images(folder: Path) -> bool:
    """Whether an image lies in the folder or below."""
    return any(suffix_of(name) in IMAGE_SUFFIXES and not is_hidden(name) for name in walk(folder))


def _refuse_runs(path: Path, others: Collection[str]) -> None:
    """Raises ValueError where the images are the grids of a run."""
    for name in others:
        folder, slash, file = name.rpartition("/")
        if file == "stats.jsonl" and f"{folder}{slash}config.json" in others:
            raise ValueError(
                f"{path / folder}: is the folder of a run; --data takes images, and --resume goes on from it"
            )


def walk(root: Path) -> list[str]:
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
