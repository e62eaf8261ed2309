"""SIGINT and SIGTERM as a question the training loop asks after every step."""

from __future__ import annotations

import signal
from types import FrameType


class Interrupt:
    """While entered, the first SIGINT or SIGTERM is remembered instead of ending the process; the second acts as usual.

    Attributes:
        signum: the signal that came, None if none did.
    """

    def __init__(self):
        self.signum: int | None = None
        self._before: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> Interrupt:
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()

    def __call__(self) -> bool:
        """True once a signal has come."""
        return self.signum is not None

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
