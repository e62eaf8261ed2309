"""bench/gpu.sh where there is no GPU."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[2] / "bench" / "gpu.sh"
STEPS = ["build", "tests-native", "sanitize", "roofline", "tests-triton", "bench", "sanitize-triton", "sanitize-more"]
STEPS += ["large", "bench-all"]

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": sys.executable}
    return subprocess.run(["bash", str(SCRIPT), *arguments], capture_output=True, text=True, env=environment)


def test_a_dry_run_lists_every_step_and_divides_the_time(tmp_path: Path) -> None:
    done = run("--dry-run", "--minutes", "46", "--out", str(tmp_path / "out"))
    lines = done.stdout.splitlines()
    headings = [line.removeprefix("# ").split(": ") for line in lines if line.startswith("# ")]
    assert done.returncode == 0 and [name for name, _ in headings] == STEPS
    seconds = [int(time.removesuffix(" s")) for _, time in headings]
    assert sum(seconds) == 46 * 60 and seconds[0] == 8 * 60
    assert all(
        f"{tmp_path}/out/{name}" in done.stdout
        for name in ("tests-triton.xml", "ops-conv2d_layer.json", "roofline.json")
    )
    tools = [line for line in lines if "compute-sanitizer --tool" in line]
    assert sum(line.endswith("gpu_calls.py native") for line in tools) == 4
    assert sum(line.endswith("gpu_calls.py triton") for line in tools) == 4
    assert not (tmp_path / "out").exists()


def test_chosen_steps_share_all_the_time() -> None:
    done = run("--dry-run", "--minutes", "1", "large", "roofline")
    assert [line for line in done.stdout.splitlines() if line.startswith("#")] == ["# large: 40 s", "# roofline: 20 s"]


@pytest.mark.parametrize("name", ["native", "triton"])
def test_the_tests_of_a_provider_are_chosen_by_its_name(name: str) -> None:
    """By the very command, which collects here what would run there."""
    done = run("--dry-run", f"tests-{name}")
    words = shlex.split(done.stdout.splitlines()[1])
    command = [word for word in words if not word.startswith("--junitxml")] + ["--collect-only", "-p", "no:xdist"]
    if "-n" in command:
        del command[command.index("-n") : command.index("-n") + 2]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
    listed = subprocess.run(command, capture_output=True, text=True, env=environment).stdout
    found = [line for line in listed.splitlines() if "::" in line]
    assert len(found) > 100 and all(f"[{name}-" in line for line in found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["benhc"], "a step must be one of build tests-native"),
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
