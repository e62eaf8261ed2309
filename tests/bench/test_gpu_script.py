"""bench/gpu.sh where there is no GPU."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[2] / "bench" / "gpu.sh"
STEPS = ["build", "tests", "memcheck", "racecheck", "roofline", "bench", "initcheck", "synccheck", "large", "bench-all"]

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": sys.executable}
    return subprocess.run(["bash", str(SCRIPT), *arguments], capture_output=True, text=True, env=environment)


def test_a_dry_run_lists_every_step_and_divides_the_time(tmp_path: Path) -> None:
    done = run("--dry-run", "--minutes", "39", "--out", str(tmp_path / "out"))
    lines = done.stdout.splitlines()
    headings = [line.removeprefix("# ").split(": ") for line in lines if line.startswith("# ")]
    assert done.returncode == 0 and [name for name, _ in headings] == STEPS
    seconds = [int(time.removesuffix(" s")) for _, time in headings]
    assert sum(seconds) == 39 * 60 and seconds[0] == 8 * 60
    assert all(f"{tmp_path}/out/{name}" in done.stdout for name in ("tests.xml", "ops.json", "roofline.json"))
    assert sum("gpu_calls.py native" in line for line in lines) == 4  # the four tools of compute-sanitizer
    assert not (tmp_path / "out").exists()


def test_chosen_steps_share_all_the_time() -> None:
    done = run("--dry-run", "--minutes", "1", "tests", "bench")
    assert [line for line in done.stdout.splitlines() if line.startswith("#")] == ["# tests: 30 s", "# bench: 30 s"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["benhc"], "a step must be one of build tests"),
        (["--minutes", "soon"], "--minutes must be a whole number above 0, got 'soon'"),
        (["--out"], "--out must name a folder"),
    ],
)
def test_a_wrong_command_line(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2 and message in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_it_ends_at_once(tmp_path: Path) -> None:
    done = run("--out", str(tmp_path / "out"))
    assert done.returncode == 2 and "sees no CUDA device" in done.stderr
    assert not (tmp_path / "out").exists()
