"""Writing a set of images to a folder or zip: whole or not at all, and the same bytes every time."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from fastgan.data.index import INDEX_NAME, DatasetIndex

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold
Content = bytes | Path
Put = Callable[[str, Content], None]


def write_dataset(
    dest: Path,
    images: Iterable[tuple[str, Content]],
    index: DatasetIndex,
    *,
    notices: Iterable[tuple[str, bytes]] = (),
    shards: bool = False,
    force: bool = False,
) -> int:
    """Write `notices`, `dataset.json`, then `images` in their order to a zip (`dest` ends in .zip) or folder.

    The destination appears under its name only when complete. Equal input gives equal bytes: entries of a zip are
    stored, with one fixed time and mode.

    Args:
        dest: folder or `.zip`.
        images: (path, bytes or the file that holds them), `/` between folders.
        index: goes to `dataset.json`.
        notices: licences and the like, (path, bytes).
        shards: the first folder of each path is the .tar of `dest` to put it into (see `shard_names`).
        force: replace a zip, or a folder that holds a `dataset.json`.
    Returns:
        Number of images written.
    Raises:
        ValueError: the destination exists, or nothing to write.
    """
    dest = dest.resolve()
    check_destination(dest, force=force, shards=shards)
    count = 0
    folder_writer = _folder_writer(dest, index if shards else None)
    with _zip_writer(dest) if dest.suffix.lower() == ".zip" else folder_writer as put:
        for name, data in notices:
            put(name, data)
        put(INDEX_NAME, index.to_json().encode())
        for name, data in images:
            put(name, data)
            count += 1
        if not count:
            raise ValueError(f"{dest}: nothing to write, no images were chosen")
    return count


def shard_names(names: Mapping[str, str], size: int | None) -> dict[str, str]:
    """key -> path becomes key -> `shard-000000.tar/path`, `size` images a shard in their order; None: no shards."""
    if size is None:
        return dict(names)
    return {key: f"shard-{number // size:06d}.tar/{path}" for number, (key, path) in enumerate(names.items())}


def check_destination(dest: Path, *, force: bool = False, shards: bool = False) -> None:
    """Refuse to write over what is there, unless `force` and it is a data set; and shards into a zip.

    Raises:
        ValueError: `dest` is not empty and may not be replaced.
    """
    if shards and dest.suffix.lower() == ".zip":
        raise ValueError(f"{dest}: shards go into a folder, not into a zip")
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
    partial = _beside(dest, "partial")
    try:
        with open(partial, "wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:

                def put(name: str, content: Content) -> None:
                    info = zipfile.ZipInfo(name, _EPOCH)
                    info.create_system = 3  # Unix, on every system, for equal bytes
                    info.external_attr = 0o100644 << 16
                    archive.writestr(info, _bytes(content))

                yield put
            file.flush()
            os.fsync(file.fileno())
        if dest.is_dir():
            dest.rmdir()
        os.replace(partial, dest)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _folder_writer(dest: Path, sharded: DatasetIndex | None) -> Iterator[Put]:
    dest.parent.mkdir(parents=True, exist_ok=True)
    partial, replaced = _beside(dest, "partial"), _beside(dest, "replaced")
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed

    def put(name: str, content: Content) -> None:
        path = partial / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            with contextlib.suppress(OSError):
                os.link(content, path)
                return
        path.write_bytes(_bytes(content))

    try:
        partial.mkdir()
        if sharded is None:
            yield put
        else:
            with _Shards(partial, sharded) as shards:
                yield lambda name, content: shards.put(name, content) if ".tar/" in name else put(name, content)
        if dest.exists():
            os.rename(dest, replaced)
        try:
            os.rename(partial, dest)
        except OSError:
            if replaced.exists():
                os.rename(replaced, dest)
            raise
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


class _Shards:
    """Images and their labels, classes (`.cls`) or vectors (`.json`), into .tar files, one after the other."""

    def __init__(self, folder: Path, index: DatasetIndex) -> None:
        self._folder, self._labels = folder, index.labels or {}
        self._shard, self._archive = "", contextlib.ExitStack()

    def __enter__(self) -> _Shards:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def put(self, name: str, content: Content) -> None:
        shard, _, path = name.partition("/")
        if shard != self._shard:
            self._archive.close()
            self._shard = shard
            self._tar = self._archive.enter_context(tarfile.open(self._folder / shard, "w"))  # noqa: SIM115 - the stack closes it
        self._add(path, _bytes(content))
        label = self._labels.get(name)
        if label is not None:
            ending, text = (".json", json.dumps({"label": label})) if isinstance(label, tuple) else (".cls", str(label))
            self._add(PurePosixPath(path).with_suffix(ending).as_posix(), text.encode())

    def _add(self, path: str, data: bytes) -> None:
        info = tarfile.TarInfo(path)
        info.size = len(data)
        self._tar.addfile(info, io.BytesIO(data))


def _bytes(content: Content) -> bytes:
    return content.read_bytes() if isinstance(content, Path) else content


def _beside(dest: Path, kind: str) -> Path:
    return dest.with_name(f".{dest.name}.{kind}")
