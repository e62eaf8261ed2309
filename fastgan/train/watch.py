"""Ranks that watch each other: what is lost or hangs is named, and ends all of them."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from torch.distributed.distributed_c10d import Store

_POLL = 1.0  # seconds
_SILENT = 15  # polls without a sign of life, of a process that was killed or stopped
_SILENT_WHEN_BROKEN = 5  # the same, once a connection has broken
_PATIENCE = 40  # polls, at least, in which a rank may come no further within a step
_LONGEST = 5  # times as long as ever before may it stay in one place of a step
TO_COME = timedelta(minutes=10)  # until all ranks have started
_ANSWER = 8  # seconds in which the store answers
_LEFT, _WAITS, _STEPS, _FREE = "left", "waits", "steps", "free"  # where a rank is
_PACKAGE = os.path.dirname(os.path.dirname(__file__))
FAILED = "failed"  # key of the store: which ranks, and what is to be said


class Watch:
    """A thread that tells the other ranks through a store how far this one has come, and reads how far they have.

    Three things end the process with status 2, on every rank within a minute: a rank gives no sign of life (killed,
    stopped), a rank stays in one place of a step five times as long as any did before and at least 40 s (it hangs in
    Python or in a collective), a rank has failed. The lowest rank that is well says which it was, and `advice`.

    Outside of a step (loading, snapshots) and in the first a rank may take as long as it likes.

    Args:
        store: of its own, in which all ranks' threads meet.
        rank, world: of this process, and their number.

    Raises:
        TimeoutError: not all have come within ten minutes.

    Attributes:
        advice: () -> what is said of how to go on.
    """

    def __init__(self, store: Store, rank: int, world: int) -> None:
        self.store, self.rank, self.advice = store, rank, _no_advice
        self._keys = [f"rank/{each}" for each in range(world)]
        self._where, self._progress, self._steps, self._stepping, self._broken = _FREE, 0, 0, False, False
        self._since, self._longest = time.monotonic(), 0.0
        self._main = threading.get_ident()
        self._host, self._beat = socket.gethostname(), 0
        self._seen: dict[int, tuple[dict[str, Any], int, int]] = {}  # rank -> record, polls of silence, of no progress
        self._left = threading.Event()
        self._publish()
        self._wait_for_all()
        store.set_timeout(timedelta(seconds=_ANSWER))
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)
        self._thread.start()

    def step(self, begins: bool) -> None:
        """A step begins, whose parts may not take much longer than before; or ends."""
        self._steps += begins
        self._move(_STEPS if begins and self._steps > 1 else _FREE)
        self._stepping = self._where == _STEPS

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Inside, this rank waits for others. Where it fails for the loss of another, the process ends inside."""
        self._move(_WAITS)
        try:
            yield
        except RuntimeError:
            self._broken = True
            self._thread.join(60)  # it finds who is lost
            raise
        self._move(_STEPS if self._stepping else _FREE)

    def fail(self, text: str) -> bool:
        """Tell the others that this rank has failed; False if another had told so before."""
        if self.rank:
            time.sleep(_POLL)  # where all have failed alike, the first tells
        mine = json.dumps(
            {
                "ranks": [self.rank],
                "host": self._host,
                "text": f"{_named(self.rank, os.getpid(), self._host)} failed: {text}",
            }
        )
        self._left.set()
        try:
            return self.store.compare_set(FAILED, "", mine).decode() == mine
        except RuntimeError:
            return True

    def leave(self) -> None:
        """Tell the others that this rank has done its part, and watch no more."""
        self._where = _LEFT
        self._left.set()
        self._thread.join()

    def _wait_for_all(self) -> None:
        deadline = time.monotonic() + TO_COME.seconds
        while not self.store.check(self._keys):
            if self.store.check([FAILED]):
                self._end(json.loads(self.store.get(FAILED)))
            if time.monotonic() > deadline:
                missing = [str(rank) for rank, key in enumerate(self._keys) if not self.store.check([key])]
                raise TimeoutError(f"rank {' and '.join(missing)} has not come within {TO_COME.seconds // 60} minutes")
            time.sleep(_POLL / 5)

    def _move(self, where: str) -> None:
        now = time.monotonic()
        if self._stepping:
            self._longest = max(self._longest, now - self._since)
        self._where, self._since = where, now
        self._progress += 1

    def _publish(self) -> None:
        self._beat += 1
        record = {"beat": self._beat, "progress": self._progress, "where": self._where, "line": _line_of(self._main)}
        record |= {"process": os.getpid(), "host": self._host, "longest": self._longest}
        self.store.set(self._keys[self.rank], json.dumps(record))

    def _watch(self) -> None:
        unanswered = 0
        while not self._left.wait(_POLL):
            try:
                self._publish()
                if self.store.check([FAILED]):
                    self._end(json.loads(self.store.get(FAILED)))
                if self.store.check(self._keys):
                    self._look([json.loads(text) for text in self.store.multi_get(self._keys)])
                unanswered = 0
            except RuntimeError:  # of torch.distributed
                unanswered += 1
                if unanswered > 1 and not self._left.is_set():
                    text = "the process that had started the ranks, or rank 0, is lost"
                    self._end({"ranks": [], "host": "", "text": text})
        if self._where == _LEFT:
            try:
                self._publish()
            except RuntimeError:
                return

    def _look(self, records: list[dict[str, Any]]) -> None:
        """Compare with what was seen before."""
        for rank, record in enumerate(records):
            before, silent, still = self._seen.get(rank, (record, 0, 0))
            silent = silent + 1 if record["beat"] == before["beat"] and record["where"] != _LEFT else 0
            still = still + 1 if record["progress"] == before["progress"] else 0
            self._seen[rank] = (record, silent, still)
        limit = _SILENT_WHEN_BROKEN if self._broken else _SILENT
        lost = [rank for rank, (_, silent, _) in self._seen.items() if silent >= limit and rank != self.rank]
        if lost:
            self._tell(lost, f"gave no sign of life for {limit * _POLL:.0f} s: it was killed, or is stopped")
        elif not any(record["where"] in (_FREE, _LEFT) for record in records):
            self._look_for_hanging(records)

    def _look_for_hanging(self, records: list[dict[str, Any]]) -> None:
        longest = max(record["longest"] for record in records)
        patience = max(_PATIENCE, _LONGEST * longest / _POLL)
        still = {rank for rank, (_, _, polls) in self._seen.items() if polls >= patience}
        hanging = [rank for rank in sorted(still) if records[rank]["where"] == _STEPS]
        if not hanging and len(still) == len(records):  # all wait; one for something else than the others
            least = min(record["progress"] for record in records)
            hanging = [rank for rank, record in enumerate(records) if record["progress"] == least]
        if len(hanging) == len(records) > 1:
            self._tell(
                [], f"no rank has come further for {patience * _POLL:.0f} s: the network between them may be down"
            )
        elif hanging:
            line = records[hanging[0]]["line"]
            self._tell(hanging, f"has come no further for {patience * _POLL:.0f} s: it hangs in {line}")

    def _tell(self, ranks: list[int], what: str) -> None:
        """Publish a verdict, unless another has, and end."""
        records = {rank: self._seen[rank][0] for rank in ranks}
        named = " and ".join(_named(rank, record["process"], record["host"]) for rank, record in records.items())
        verdict = json.dumps({"ranks": ranks, "host": "", "text": f"{named} {what}".strip()})
        self._end(json.loads(self.store.compare_set(FAILED, "", verdict)))

    def _end(self, verdict: dict[str, Any]) -> None:
        """End the process. `host` is where the verdict has been told already; "" for nowhere."""
        silent = {rank for rank, (_, polls, _) in self._seen.items() if polls > 2}
        well = set(range(len(self._keys))) - silent - set(verdict["ranks"])
        if self.rank == min(well, default=self.rank) and verdict["host"] != self._host:
            line_end = "\n" if os.isatty(2) else ""  # the display of a terminal does not end its last line
            os.write(2, f"{line_end}fastgan: error: {verdict['text']}. {self.advice()}\n".encode())
        os._exit(2)


def _line_of(thread: int) -> str:
    """Where a thread is: the innermost function of this package, or if there is none the innermost."""
    frame = innermost = sys._current_frames()[thread]
    while frame is not None and not frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    at = frame or innermost
    return f"{at.f_code.co_name} ({at.f_code.co_filename}:{at.f_lineno})"


def _no_advice() -> str:
    return "Start again"


def _named(rank: int, process: int, host: str) -> str:
    return f"rank {rank} (process {process} on {host})"
