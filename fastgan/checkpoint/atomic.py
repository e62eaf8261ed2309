"""Replacing a file whole: readers see the old content or the new one, never a part."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """path <- what the block writes to the yielded path; synced, renamed, and the folder synced.

    The temporary file lies in the folder of `path` and its name depends on that of `path` alone, so what a killed
    process left is overwritten by the next write. When the block or the rename fails, `path` keeps its old content
    and the temporary file is removed.

    Args:
        path: the file to write; its folder must exist.

    Yields:
        the temporary path to write to.

    Raises:
        FileNotFoundError: the folder does not exist.
        OSError: the system could not write, sync or rename.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: the folder {path.parent} does not exist")
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        os.chmod(partial, 0o666 & ~_umask())  # some writers make files that only their owner may read
        # Writable: some systems refuse to sync a descriptor that is not.
        _sync(partial, os.O_RDWR)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        _sync(path.parent, os.O_RDONLY)
