"""The parent's side of a child process: questions with a time limit, and why one was not answered."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

Answer = dict[str, Any]


class Child:
    """A process that runs kernels; when one takes it along, or keeps it, another process takes its place.

    Args:
        settings: as `worker.Worker` takes them.
        start_seconds: it may take to begin.
    """

    def __init__(self, settings: dict[str, Any], start_seconds: float = 120.0) -> None:
        self._settings = settings
        self._start_seconds = start_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._answers = -1
        self._rest = b""
        self._output: Any = None
        self.at: Answer = {}  # what it said it was at, last

    def ask(self, question: dict[str, Any], seconds: float, end: float = float("inf")) -> tuple[Answer | None, str]:
        """The answer; or None, and why there is none.

        Args:
            question: as `worker.Worker.answer` takes it.
            seconds: that one step of it may take before the process is ended.
            end: `time.monotonic()` after which it is ended in any case.

        Raises:
            RuntimeError: no process can be started at all.
        """
        if self._process is None:
            self._start()
        assert self._process is not None and self._process.stdin is not None
        self.at = {}
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
            return self._read("answer", seconds, end), ""
        except TimeoutError:
            why = f"hangs: {seconds:.0f} s were not enough for {self.at.get('at', 'its first step')}"
        except (EOFError, BrokenPipeError):
            why = f"{self._end()} at {self.at.get('at', 'its first step')}{self._last_words()}"
        self.close()
        return None, why

    def close(self) -> None:
        """Ends the process, if there is one."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        os.close(self._answers)
        self._output.close()
        self._process, self._rest = None, b""

    def _start(self) -> None:
        self._answers, writes = os.pipe()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
        command = [sys.executable, "-m", "fastgan.calibration.worker", str(writes)]
        environment = {**os.environ, "FASTGAN_PROVIDER": ""}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=self._output, stderr=self._output, pass_fds=[writes], env=environment
        )
        os.close(writes)
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(self._settings).encode() + b"\n")
            self._process.stdin.flush()
            self._read("ready", self._start_seconds)
        except (TimeoutError, EOFError, BrokenPipeError) as error:
            end = "did not begin in time" if isinstance(error, TimeoutError) else self._end()
            why = f"the process that tries kernels {end}{self._last_words()}"
            self.close()
            raise RuntimeError(why) from None

    def _read(self, wanted: str, seconds: float, end: float = float("inf")) -> Any:
        """The next message of a kind; raises TimeoutError and EOFError."""
        limit = min(time.monotonic() + seconds, end)
        while True:
            line, newline, rest = self._rest.partition(b"\n")
            if newline:
                self._rest = rest
                message = json.loads(line)
                if wanted in message:
                    return message[wanted]
                self.at = message
                limit = min(time.monotonic() + seconds, end)
                continue
            left = limit - time.monotonic()
            if left <= 0 or not select.select([self._answers], [], [], left)[0]:
                raise TimeoutError
            more = os.read(self._answers, 1 << 16)
            if not more:
                raise EOFError
            self._rest += more

    def _end(self) -> str:
        assert self._process is not None
        try:
            status = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return "closed its pipe"
        if status >= 0:
            return f"ends the process (status {status})"
        name = signal.Signals(-status).name
        return f"crashes ({name}{', as when memory is short' if -status == signal.SIGKILL else ''})"

    def _last_words(self) -> str:
        """The last line that it printed."""
        self._output.seek(0)
        lines = [line for line in self._output.read().decode(errors="replace").splitlines() if line.strip()]
        return f": {lines[-1].strip()[:300]}" if lines else ""
