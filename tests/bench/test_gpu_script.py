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

from fastgan.bench.conv2d_layer import CUDA_LAYERS

SCRIPT = Path(__file__).resolve().parents[2] / "bench" / "gpu.sh"
STEPS = [
    "build",
    "tests-native",
    "sanitize",
    "roofline",
    "bench",
    "training",
    "tests-triton",
    "calibrate",
    "sanitize-more",
]
STEPS += ["sanitize-triton", "large", "bench-all", "sanitize-triton-more"]

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
    assert sum(seconds) == 46 * 60 and seconds[0] == 46 * 60 * 12 // 243
    assert all(
        f"{tmp_path}/out/{name}" in done.stdout
        for name in ("tests-triton.xml", "ops-conv2d_layer.json", "roofline.json", "training.json")
    )
    tools = [line for line in lines if "compute-sanitizer --tool" in line]
    for name in "native", "triton":
        of_it = [line.split("--tool ")[1].split()[0] for line in tools if f"gpu_calls.py {name} &&" in line]
        assert sorted(of_it) == ["initcheck", "memcheck", "racecheck", "synccheck"]
    assert not (tmp_path / "out").exists()


def test_chosen_steps_share_all_the_time() -> None:
    done = run("--dry-run", "--minutes", "1", "large", "roofline")
    assert [line for line in done.stdout.splitlines() if line.startswith("#")] == ["# large: 37 s", "# roofline: 23 s"]


def test_the_calls_of_the_help_fit_a_lease() -> None:
    """Four of nine minutes, in which every tool of the sanitizer has two minutes at least."""
    calls = [
        line.split("gpu.sh ")[1].split() for line in run("--help").stdout.splitlines() if "gpu.sh --minutes" in line
    ]
    assert [call[:2] for call in calls] == [["--minutes", "9"]] * 4
    named = [step for call in calls for step in call[2:]]
    assert named == [step for step in STEPS if step in named] and set(STEPS) - set(named) == {
        "large",
        "bench-all",
        "sanitize-triton-more",
    }
    tools = []
    for call in calls:
        lines = run("--dry-run", *call).stdout.splitlines()
        tools += [line.split() for line in lines if "compute-sanitizer" in line]
    assert len(tools) == 6
    for words in tools:
        assert int(words[words.index("timeout") + 3]) >= 120, words


def test_quick_figures_begin_with_the_layers_and_compile_nothing() -> None:
    lines = run("--dry-run", "bench").stdout.splitlines()[1:]
    assert [line.split("--op ")[1].split()[0] for line in lines] == [
        "conv2d_layer", "affine_warp", "bias_act", "filtered_lrelu", "gradient_penalty", "upfirdn2d",
    ]  # fmt: skip
    for line in lines:
        assert "--no-compile --layout channels_last --dtype bf16 fp32 " in line
    assert [h for _, _, h, _ in CUDA_LAYERS[:2]] == [256, 64]


def test_calibration_is_written_beside_the_figures(tmp_path: Path) -> None:
    lines = run("--dry-run", "--minutes", "10", "--out", str(tmp_path), "calibrate").stdout.splitlines()
    assert lines[0] == "# calibrate: 600 s"
    words = shlex.split(lines[1])
    assert words[1] == "-c" and words[3:] == ["9.00", f"{tmp_path}/calibration.json"]
    asked = (
        "from unittest import mock; from fastgan.cli import calibrate\n"
        f"with mock.patch.object(calibrate, 'run', print):\n exec({words[2]!r})"
    )
    done = subprocess.run([sys.executable, "-c", asked, *words[3:]], capture_output=True, text=True, check=True)
    assert "minutes=9.0" in done.stdout and "device='cuda'" in done.stdout and "calibration.json" in done.stdout


REPORT = "========= Uninitialized __global__ memory read of size 4 bytes\n=========     at {}+0x70\n"
SUMMARY = "========= ERROR SUMMARY: 1 error\n"


@pytest.mark.parametrize(
    ("step", "log", "status", "passes"),
    [
        ("sanitize-more", SUMMARY, 0, True),
        ("sanitize-more", REPORT.format("void cudnn::winograd<float>(float *)") + SUMMARY, 0, True),
        ("sanitize-more", REPORT.format("void fastgan::cuda::up_kernel<float>(Launch)") + SUMMARY, 0, False),
        ("sanitize-more", REPORT.format("conv2d_kernel") + SUMMARY, 0, True),  # Triton's: not of this provider
        ("sanitize-triton-more", REPORT.format("conv2d_kernel") + SUMMARY, 0, False),
        ("sanitize-triton-more", REPORT.format("void at::native::reduce_kernel<512>()") + SUMMARY, 0, True),
        ("sanitize-more", SUMMARY, 9, False),
        ("sanitize-more", "", 0, False),  # it ended before its end
    ],
)
def test_a_tool_fails_by_what_it_reports_of_our_kernels(
    step: str, log: str, status: int, passes: bool, tmp_path: Path
) -> None:
    """By the very command, with a sanitizer that writes this log."""
    (line,) = [line for line in run("--dry-run", step).stdout.splitlines() if "--tool initcheck" in line]
    written = str(SCRIPT.parents[1] / "build/gpu/work")
    line = line.replace(written, str(tmp_path))
    stand_in = tmp_path / "compute-sanitizer"
    name = f"initcheck-{'triton' if 'triton' in step else 'native'}.log"
    stand_in.write_text(f"#!/bin/sh\nprintf %s {shlex.quote(log)} >{tmp_path}/{name}\nexit {status}\n")
    stand_in.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=environment)
    assert (done.returncode == 0) == passes, done.stdout + done.stderr


def test_only_tools_that_check_a_kernel_by_itself_leave_others_out() -> None:
    lines = run("--dry-run", "sanitize", "sanitize-more").stdout.splitlines()
    filtered = {line.split("--tool ")[1].split()[0] for line in lines if "--kernel-name kns=7fastgan " in line}
    assert filtered == {"racecheck", "synccheck"}


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
