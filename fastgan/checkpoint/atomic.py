"""Replacing a file whole: readers see the old content or the new one, never a part."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
        OSError: the system could not write, sync or rename; its filename is `path`.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        os.chmod(partial, 0o666 & ~_umask())  # some writers make files that only their owner may read
        # Writable: some systems refuse to sync a descriptor that is not.
        _sync(partial, os.O_RDWR)
        os.replace(partial, path)
        if os.name == "posix":
            _sync(path.parent, os.O_RDONLY)
    except BaseException as error:
        with suppress(OSError):  # the folder may be read-only or gone: the first error tells
            partial.unlink()
        if not isinstance(error, OSError):
            raise
        gone = not path.parent.is_dir()
        reason = f"the folder {path.parent} does not exist" if gone else error.strerror or str(error)
        raise OSError(errno.ENOENT if gone else error.errno, reason, str(path)) from error
