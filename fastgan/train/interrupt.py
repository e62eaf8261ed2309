"""SIGINT, SIGTERM and SIGHUP as a question the training loop asks after every step."""

from __future__ import annotations

import signal
from types import FrameType


class Interrupt:
    """While entered, the first SIGINT, SIGTERM or SIGHUP is remembered instead of ending the process.

    A second SIGINT or SIGTERM acts as usual. SIGHUP never does: when a terminal vanishes, the system and the shell send
    one each. It stays ignored where it was (nohup).

    Attributes:
        signum: the signal that came, None if none did.
    """

    def __init__(self):
        self.signum: int | None = None
        self._before: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> Interrupt:
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        self._before = {number: signal.signal(number, self._note) for number in numbers}
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore(*self._before)

    def __call__(self) -> bool:
        """True once a signal has come."""
        return self.signum is not None

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.signum = self.signum or signum
        self._restore(signal.SIGINT, signal.SIGTERM)

    def _restore(self, *numbers: int) -> None:
        for number in numbers:
            if number in self._before:
                signal.signal(number, self._before.pop(number))
