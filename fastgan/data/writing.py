"""Writing a set of images to a folder or zip: whole or not at all, and the same bytes every time."""

from __future__ import annotations

import contextlib
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from fastgan.data.index import INDEX_NAME, DatasetIndex

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold
Put = Callable[[str, bytes], None]


def write_dataset(
    dest: Path,
    images: Iterable[tuple[str, bytes]],
    index: DatasetIndex,
    *,
    notices: Iterable[tuple[str, bytes]] = (),
    force: bool = False,
) -> int:
    """Write `notices`, `dataset.json`, then `images` in their order to a zip (`dest` ends in .zip) or folder.

    The destination appears under its name only when complete. Equal input gives equal bytes: entries of a zip are
    stored, with one fixed time and mode.

    Args:
        dest: folder or `.zip`.
        images: (path, bytes), `/` between folders.
        index: goes to `dataset.json`.
        notices: licences and the like, (path, bytes).
        force: replace a zip, or a folder that holds a `dataset.json`.
    Returns:
        Number of images written.
    Raises:
        ValueError: the destination exists, or nothing to write.
    """
    check_destination(dest, force=force)
    count = 0
    with _zip_writer(dest) if dest.suffix.lower() == ".zip" else _folder_writer(dest) as put:
        for name, data in notices:
            put(name, data)
        put(INDEX_NAME, index.to_json().encode())
        for name, data in images:
            put(name, data)
            count += 1
        if not count:
            raise ValueError(f"{dest}: nothing to write, no images were chosen")
    return count


def check_destination(dest: Path, *, force: bool = False) -> None:
    """Refuse to write over what is there, unless `force` and it is a data set.

    Raises:
        ValueError: `dest` is not empty and may not be replaced.
    """
    if not dest.exists() or (dest.is_dir() and not any(dest.iterdir())):
        return
    as_zip = dest.suffix.lower() == ".zip"
    replaceable = dest.is_file() if as_zip else (dest / INDEX_NAME).is_file()
    if not replaceable:
        raise ValueError(f"{dest}: exists and is not a data set of ours; choose another destination")
    if not force:
        raise ValueError(f"{dest}: exists; choose another destination or pass --force to replace it")


@contextlib.contextmanager
def _zip_writer(dest: Path) -> Iterator[Put]:
    dest.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial_name(dest)
    try:
        with open(partial, "wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:

                def put(name: str, data: bytes) -> None:
                    info = zipfile.ZipInfo(name, _EPOCH)
                    info.create_system = 3  # Unix, on every system, for equal bytes
                    info.external_attr = 0o100644 << 16
                    archive.writestr(info, data)

                yield put
            file.flush()
            os.fsync(file.fileno())
        if dest.is_dir():
            dest.rmdir()
        os.replace(partial, dest)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _folder_writer(dest: Path) -> Iterator[Put]:
    dest.parent.mkdir(parents=True, exist_ok=True)
    partial, replaced = _partial_name(dest), _partial_name(dest, "replaced")

    def put(name: str, data: bytes) -> None:
        path = partial / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    try:
        partial.mkdir()
        yield put
        if dest.exists():
            os.rename(dest, replaced)
        os.rename(partial, dest)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if dest.exists():
            shutil.rmtree(replaced, ignore_errors=True)


def _partial_name(dest: Path, kind: str = "partial") -> Path:
    return dest.with_name(f".{dest.name}.{kind}-{os.getpid()}")
