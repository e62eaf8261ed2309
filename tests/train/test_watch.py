"""A rank that is lost, hangs or fails is named, once, and ends the others; none waits for ever."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.train.watched import ACCIDENTS

ROOT = Path(__file__).resolve().parents[2]
KILLED, ENDED = -9, 2
# accident -> statuses of the ranks, and what is said
EXPECTED: dict[str, tuple[list[int], str]] = {
    "ends": ([0, 0, 0], ""),
    "is_killed": (
        [KILLED, ENDED, ENDED],
        "rank 0 (process P) gave no sign of life for 2 s: it was killed, or is stopped",
    ),
    "is_stopped": (
        [ENDED, KILLED, ENDED],
        "rank 1 (process P) gave no sign of life for 2 s: it was killed, or is stopped",
    ),
    "hangs": ([ENDED] * 3, "rank 1 (process P) has come no further for 2 s: it hangs in hangs (watched.py)"),
    "waits_elsewhere": (
        [ENDED] * 3,
        "rank 2 (process P) has come no further for 2 s: it hangs in waits_elsewhere (watched.py)",
    ),
    "all_wait": ([ENDED] * 3, "no rank has come further for 2 s: the network between them may be down"),
    "takes_long_outside_of_a_step": ([0, 0, 0], ""),
    "fails": ([ENDED] * 3, "told"),
    "loses_the_store": ([ENDED] * 3, "the process that had started the ranks, or rank 0, is lost"),
}


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    command = [sys.executable, "-m", "tests.train.watched"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("accident", [each.__name__ for each in ACCIDENTS])
def test_accidents(seen: dict[str, Any], accident: str) -> None:
    statuses, said, seconds = seen[accident]
    expected, text = EXPECTED[accident]
    assert statuses == expected, said
    assert seconds < 30
    if text in ("", "told"):  # what has failed tells it itself
        assert said.split() == text.split()
    else:
        said = re.sub(r"process \d+ on [^)]+", "process P", said)
        said = re.sub(r"[^ (]*/(watched.py):\d+", r"\1", said)
        assert said == f"fastgan: error: {text}. Go on\n"
