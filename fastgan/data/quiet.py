"""Pillow without its warnings: of damaged EXIF data, odd palettes, large images, which are read all the same."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_here = threading.local()


class _PillowHere:
    """Stands for a pattern of module names: matches Pillow's, in threads that are inside `quiet`."""

    def match(self, module: str) -> bool:
        return getattr(_here, "quiet", False) and module.startswith("PIL.")


_FILTER: Any = ("ignore", None, Warning, _PillowHere(), 0)


@contextmanager
def quiet() -> Iterator[None]:
    """Pillow warns of nothing in this thread, whatever the filters say: no warning is shown, none becomes an error.

    `warnings.catch_warnings` would exchange the filters of all threads, and bring back others than it found where two
    threads are inside it. This puts one filter in front, where it stays, and which says nothing about other threads.
    """
    if not warnings.filters or warnings.filters[0] is not _FILTER:
        warnings.filters.insert(0, _FILTER)  # type: ignore[attr-defined]
    before, _here.quiet = getattr(_here, "quiet", False), True
    try:
        yield
    finally:
        _here.quiet = before
