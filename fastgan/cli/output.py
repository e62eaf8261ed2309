"""Standard output and standard error that may break, and work that does not end with them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import IO, Any


class Output:
    """A text stream whose loss costs nothing but the text.

    After the first write that fails (the reader has gone, the disk is full, the terminal has vanished) nothing is
    written any more.

    Args:
        stream: where text goes; None, as of a process that was started without one, swallows all.
        on_loss: called once with the reason, "Broken pipe".

    Attributes:
        lost: the reason why nothing is written any more, None as long as all is well.
    """

    def __init__(self, stream: IO[str] | None, on_loss: Callable[[str], object] | None = None):
        self._stream, self._on_loss = stream, on_loss
        self.lost: str | None = None

    def write(self, text: str) -> int:
        self._attempt(lambda stream: stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._attempt(lambda stream: stream.flush())

    def isatty(self) -> bool:
        return self._stream is not None and self.lost is None and self._stream.isatty()

    @property
    def encoding(self) -> str:
        return getattr(self._stream, "encoding", None) or "utf-8"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _attempt(self, act: Callable[[IO[str]], object]) -> None:
        stream = self._stream
        if stream is None or self.lost is not None:
            return
        try:
            act(stream)
        except (OSError, ValueError) as error:
            if isinstance(error, ValueError) and not stream.closed:
                raise
            self.lost = reason = getattr(error, "strerror", None) or str(error)
            drain(stream)
            if self._on_loss is not None:
                self._on_loss(reason)


def drain(stream: IO[str] | None) -> None:
    """What the stream still holds, and all that follows, goes to /dev/null: at its end Python flushes once more."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # no stream, or one without a descriptor
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())  # type: ignore[union-attr]
        finally:
            os.close(nowhere)


def open_missing() -> None:
    """Descriptors 0 to 2 <- /dev/null where they are closed.

    Otherwise the next file that is opened gets the number, and what a library prints is written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
