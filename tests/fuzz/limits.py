"""What one fuzzed call may take: a call that would hang or fill the memory fails instead."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS = 20
MEMORY = 2**30


@contextmanager
def bounded() -> Iterator[None]:
    """At most 20 seconds, and 1 GiB of address space beyond what the process has."""

    def too_long(*_: object) -> None:
        raise AssertionError(f"the call took more than {SECONDS} seconds")

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
