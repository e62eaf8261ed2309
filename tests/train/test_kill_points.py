"""A few kill points of scripts/kill_points.py; the whole of it takes minutes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(900)  # half a minute of computing, more beside other work
def test_runs_that_are_killed_end_as_one_left_alone() -> None:
    # A process of its own: it forks, which a process with threads must not.
    command = [sys.executable, "scripts/kill_points.py", "--points", "9", "--seed", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    kind, points, kills, identical = done.stdout.splitlines()[-1].split()[:4]
    assert (kind, points, identical) == ("all", "9", "9") and int(kills) >= 8  # one loses its reader, and goes on
