"""What people give for a set of images and is none: what it is, by its first bytes or its name, and what to do."""

from __future__ import annotations

import contextlib
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fastgan.data.formats import image_format, suffix_of

# First bytes of a file that tell its kind.
HEAD = 512
_UNPACK = "unpack it and give the folder or the .tar"
_SAVE = "save its images as PNG or JPEG files and give their folder"
# (what the file begins with, what it is, what to do).
_BEGINNINGS: tuple[tuple[bytes, str, str], ...] = (
    (rb"7z\xbc\xaf\x27\x1c", "a .7z archive", "unpack it (7z x) and give the folder"),
    (rb"Rar!\x1a\x07", "a .rar archive", "unpack it (unrar x) and give the folder"),
    (rb"BZh[1-9]", "compressed by bzip2", _UNPACK),
    (rb"\xfd7zXZ\0", "compressed by xz", _UNPACK),
    (rb"\x28\xb5\x2f\xfd", "compressed by zstd", _UNPACK),
    (rb"PAR1", "a Parquet table", _SAVE),
    (rb"ARROW1|\xff\xff\xff\xff.{4}\x10\0\0\0", "an Arrow table", _SAVE),
    (rb"\x89HDF\r\n\x1a\n", "an HDF5 file", _SAVE),
    (rb"\x93NUMPY", "a NumPy array", _SAVE),
    (rb"MATLAB 5\.0", "a MATLAB file", _SAVE),
    (rb".{16}\xde\xc0\xef\xbe", "an LMDB data base", _SAVE),
    (rb"SQLite format 3", "an SQLite data base", _SAVE),
    (rb"\x80[\x02-\x05]", "a Python pickle, which could run any code when read", _SAVE),
    (rb".{5}\0\0\0\{", "a checkpoint (safetensors)", "--data takes images; to go on from a checkpoint: --resume"),
    (rb"....ftyp|\x1a\x45\xdf\xa3|RIFF....AVI |\0\0\x01[\xb3\xba]", "a film",
     "save its frames as images (ffmpeg -i FILM frames/%06d.png) and give their folder"),
    (rb"%PDF", "a PDF", _SAVE),
    (rb"\s*<(!doctype|html)", "a web page", "download the set itself: the page has come in its place"),
    (rb"version https://git-lfs", "a pointer of git-lfs", "fetch the file itself (git lfs pull)"),
)  # fmt: skip
_KINDS = tuple((re.compile(start, re.DOTALL | re.IGNORECASE), what, advice) for start, what, advice in _BEGINNINGS)
_BY_SUFFIX = {
    ".tfrecord": ("a TFRecord file", _SAVE),
    ".tfrecords": ("a TFRecord file", _SAVE),
    ".csv": ("a table of text", "give the folder or archive that holds the images"),
    ".tsv": ("a table of text", "give the folder or archive that holds the images"),
    ".txt": ("a text", "give the folder or archive that holds the images"),
    ".json": ("a JSON text", "give the folder or archive that holds the images"),
}
_URL = re.compile(r"[a-z][a-z0-9+.-]+:/+", re.IGNORECASE)


def is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


def kind_of_file(head: bytes, name: str) -> tuple[str, str] | None:
    """What a file is that is no set of images, and what to do; None if its kind is not known.

    >>> kind_of_file(b"PAR1", "a.parquet")[0]
    'a Parquet table'

    Args:
        head: its first bytes, `HEAD` of them if it has so many.
        name: its name.
    """
    if not head:
        return "empty (0 bytes)", "build or download it again"
    form = image_format(head)
    if form is not None:
        return f"a single image ({form})", "give the folder that holds the images"
    if head.startswith(b"\x1f\x8b"):
        if is_tar(_inflated(head)):
            return "a compressed .tar", f"unpack it (tar xzf {name}) and give the folder, or make it a .tar (gunzip)"
        return "compressed by gzip", "unpack it (gunzip)"
    for beginning, what, advice in _KINDS:
        if beginning.match(head):
            return what, advice
    return _BY_SUFFIX.get(suffix_of(name))


def complaint_of_file(path: Path, head: bytes) -> str:
    """Why a file is no set of images, in one sentence that names it."""
    kind = kind_of_file(head, path.name)
    if kind is None:
        kind = f"no set of images that is known here: it begins with {head[:8]!r}", "give a folder, a zip or a .tar"
    return f"{path}: is {kind[0]}; {kind[1]}"


def complaint_of_folder(path: Path, files: Sequence[str]) -> str:
    """Why a folder without images is no set of images, told by what it holds.

    Args:
        path: the folder.
        files: what lies in it and below, relative to it.
    """
    if not files:
        return f"{path}: holds no images and no other files; give the folder that holds the images"
    suffix, count = Counter(suffix_of(file) for file in files).most_common(1)[0]
    archives = sorted(file for file in files if suffix_of(file) in (".zip", ".tar"))
    if archives:
        shown = ", ".join(archives[:3]) + ", ..." * (len(archives) > 3)
        what = "an archive" if len(archives) == 1 else f"{len(archives)} archives"
        return f"{path}: holds no images but {what}, {shown}; give {path / archives[0]}, or unpack it"
    first = min(file for file in files if suffix_of(file) == suffix)
    kind = None
    with contextlib.suppress(OSError):
        kind = kind_of_file(head_of(path / first), first) if (path / first).is_file() else None
    what = f"{first} is {kind[0]}; {kind[1]}" if kind else "give the folder that holds the images"
    return f"{path}: holds no images but {count:,} {suffix or 'files'}; {what}"


def complaint_of_missing(source: str) -> str | None:
    """Why nothing lies at what looks like a path, where that is to be seen from the text itself; None if it is not."""
    if _URL.match(source):
        return f"{source}: is a URL; download the set and give the path of its folder or archive"
    if Path(source).is_symlink():
        return f"{source}: is a link to {Path(source).readlink()}, which is not there; mend the link"
    if source.startswith("~"):
        return f"{source}: ~ stands for the home folder only where the shell sees it; give the whole path"
    if re.search(r"[*?]|\{.*(\.\.|,).*\}", source):
        return f"{source}: no such file or folder; patterns are not filled in, give the folder that holds the files"
    return None


def head_of(path: Path) -> bytes:
    """The first bytes of a file, `HEAD` of them if it has so many."""
    with path.open("rb") as file:
        return file.read(HEAD)


def _inflated(head: bytes) -> bytes:
    """What the first bytes of a .gz unpack to."""
    try:
        return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(head, HEAD)
    except zlib.error:
        return b""
