"""Pillow without its warnings: of damaged EXIF data, odd palettes, large images, which are read all the same."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

# Another thread may put its own filters in front while work is going on, and turn a warning into an error. Then the
# work is done again, at most so many times.
_ATTEMPTS = 9

_here = threading.local()

Result = TypeVar("Result")


class _PillowHere:
    """Stands for a pattern of module names: matches Pillow's, in threads that are inside `quietly`."""

    def match(self, module: str) -> bool:
        return getattr(_here, "quiet", False) and module.startswith("PIL.")


_FILTER: Any = ("ignore", None, Warning, _PillowHere(), 0)


def quietly(work: Callable[[], Result]) -> Result:
    """work(), in which Pillow warns of nothing, whatever the filters say: nothing is shown, nothing becomes an error.

    `warnings.catch_warnings` would exchange the filters of all threads, and leave wrong ones behind where two threads
    are inside it. This puts one filter in front, which stays there and says nothing about other threads.

    Args:
        work: has no effects, so that it can be done again.
    """
    before, _here.quiet = getattr(_here, "quiet", False), True
    try:
        for _ in range(_ATTEMPTS):
            if not warnings.filters or warnings.filters[0] is not _FILTER:
                warnings.filters.insert(0, _FILTER)  # type: ignore[attr-defined]
            with contextlib.suppress(Warning):
                return work()
        return work()
    finally:
        _here.quiet = before
