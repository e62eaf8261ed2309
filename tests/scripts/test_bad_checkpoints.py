"""Every kind of bad checkpoint, folder and disk that the script knows is told in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).resolve().parents[2]
GOES_ON = {"half a line at the end of stats.jsonl"}


def test_every_case_is_an_error_in_words() -> None:
    # A process of its own: it changes its user and its limits.
    command = [sys.executable, "scripts/bad_checkpoints.py"]
    done = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [line.split("|", 2)[1:] for line in done.stdout.splitlines()[2:]]
    assert len(rows) >= 30
    for kind, said in rows:
        if "(not tried: " in said:
            continue
        assert ("(goes on; exit status 0)" in said) == (kind.strip() in GOES_ON), (kind, said)
        if kind.strip() not in GOES_ON:
            assert said.startswith(" `fastgan: error: ") and ("runs" in said or "--branch" in said), (kind, said)
