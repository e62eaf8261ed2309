"""Opening a set of images by name or path, whatever its format."""

from __future__ import annotations

import os
import re
import stat
import zipfile
from pathlib import Path

from fastgan import choices
from fastgan.data.arrays import is_cifar, open_cifar, open_idx
from fastgan.data.formats import suffix_of
from fastgan.data.kinds import complaint_of_file, complaint_of_missing, head_of, is_tar, kind_of_file
from fastgan.data.shards import ShardStore
from fastgan.data.stores import FolderStore, ImageStore, ZipStore, has_images

ASSETS = Path(__file__).parent / "assets"
PACKAGED = {name: ASSETS / file for name, file in choices.PACKAGED.items()}


def open_store(source: str | Path) -> ImageStore:
    """Open a set of images: a packaged set's name (`emoji64`), or the path of one in any format read here.

    Raises:
        ValueError: nothing there, of no known format, or no images in it.
    """
    path = Path(PACKAGED.get(str(source), source))
    try:
        _check_there(str(source), path)
        return _open_folder(path) if path.is_dir() else _open_file(path)
    except OSError as error:
        name, reason = error.filename or path, error.strerror or error
        raise ValueError(f"{name}: cannot be read ({reason}); mend its permissions or the path") from error


def _check_there(source: str, path: Path) -> None:
    """Raises ValueError where nothing is that could be opened."""
    if not source:
        raise ValueError("the path of the data is empty; give a folder or a file, . for the current folder")
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        names = ", ".join(PACKAGED)
        known = f"{path}: no such file or folder; give a path that exists, or a packaged set ({names})"
        raise ValueError(complaint_of_missing(source) or known) from None
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ValueError(f"{path}: is no regular file; give a folder, or write it to a file first")


def _open_file(path: Path) -> ImageStore:
    head = head_of(path)
    unknown = kind_of_file(head, path.name) is None
    if is_cifar(path) and unknown:
        return open_cifar(path)
    if re.search(r"idx\d", path.name):
        return open_idx(path)
    if is_tar(head) or (path.suffix == ".tar" and unknown):
        return ShardStore(path)
    if zipfile.is_zipfile(path) or (suffix_of(path.name) == ".zip" and unknown):
        return ZipStore(path)
    raise ValueError(complaint_of_file(path, head))


def _open_folder(path: Path) -> ImageStore:
    os.scandir(path).close()  # complains where it may not be read
    if is_cifar(path):
        return open_cifar(path)
    if not any(path.glob("*.tar")):
        _refuse_pickles(path)
        return FolderStore(path)
    if has_images(path):
        raise ValueError(f"{path}: holds both images and .tar files; name a .tar, or move them apart")
    return ShardStore(path)


def _refuse_pickles(path: Path) -> None:
    names = ("data_batch_1", "batches.meta", "meta")
    found = next((name for name in names if (path / name).is_file()), None)
    if found is not None and not has_images(path):
        raise ValueError(
            f"{path / found}: CIFAR as Python pickles, which could run any code when read; "
            "download the binary version (cifar-10-binary.tar.gz or cifar-100-binary.tar.gz)"
        )
