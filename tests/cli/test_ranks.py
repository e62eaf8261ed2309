"""fastgan train in several processes: the files of one run, exact resume, lost and stopped ranks, what is said."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from fastgan.checkpoint import load_checkpoint
from fastgan.cli.main import main
from fastgan.train.folder import checkpoints, latest_checkpoint
from tests.cli.test_crash import figures
from tests.cli.test_train import TINY, assert_same, state_of, train

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).resolve().parents[2]
# A checkpoint at every step; two micro-batches of each rank.
SHORT = [*TINY, "--batch-gpu", "1", "--mirror", "--cond", "--snap", "1", "--keep", "0"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
FASTGAN = [sys.executable, "-m", "fastgan"]


def start(command: list[str], *arguments: str) -> subprocess.Popen[str]:
    """A process that is stopped with those that it starts, whatever becomes of the test."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    return subprocess.Popen([*command, *arguments], cwd=ROOT, env=environment, **pipes)  # type: ignore[call-overload]


def ended(command: list[str], *arguments: str) -> str:
    """What is printed by a command that succeeds."""
    process = start(command, *arguments)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, out + err
    return out


def begin(outdir: Path, kimg: str, *arguments: str) -> str:
    return ended(FASTGAN, "train", "--outdir", str(outdir), *SHORT, "--kimg", kimg, "--gpus", "2", *arguments)


def ranks_of(outdir: Path) -> dict[int, int]:
    """rank -> process, of those that train there."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "environ").read_bytes().split(b"\0")
            line = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        told = [word.removeprefix(b"RANK=") for word in words if word.startswith(b"RANK=")]
        if told and str(outdir).encode() in line and b"torch.distributed.run" not in line:
            found[int(told[0])] = int(folder.name)
    return found


def lines_of(outdir: Path) -> int:
    path = outdir / "stats.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def wait_for_lines(process: subprocess.Popen[str], outdir: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while lines_of(outdir) < count:
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes that nothing disturbed, 0.016 kimg long; not to be written to."""
    outdir = tmp_path_factory.mktemp("whole") / "run"
    said = begin(outdir, "0.016")
    assert "2 × cpu" in said and said.count("wrote ") == 9  # five grids, four checkpoints, each once
    return outdir


def assert_same_run(a: Path, b: Path) -> None:
    for part in ("state", "G_ema", "scores"):
        assert_same(state_of(a)[part], state_of(b)[part])
    assert figures(a) == figures(b)
    pictures = [{path.name: path.read_bytes() for path in folder.glob("*.png")} for folder in (a, b)]
    assert pictures[0] == pictures[1]


def test_two_processes_leave_the_files_of_one_run(whole: Path) -> None:
    assert [path.name for path in checkpoints(whole)] == [
        f"checkpoint-000000.0{n:02}.safetensors" for n in (4, 8, 12, 16)
    ]
    assert [line["kimg"] for line in figures(whole)] == [0.004, 0.008, 0.012, 0.016]
    state = state_of(whole)["state"]
    (second,) = state["ranks"]
    assert not torch.equal(second["rng"]["cpu"], state["rng"]["cpu"])
    assert second["players"]["D"]["source"] == state["players"]["D"]["source"]
    assert state["progress"]["images"] == 16 and state["players"]["D"]["source"]["position"] == 4  # of 12 images


def test_another_number_of_processes_goes_on_and_says_that_it_is_not_the_same(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["train", "--branch", str(whole), "--outdir", str(tmp_path / "a"), "--kimg", "0.02", "--threads", "1"])
        == 0
    )
    said = capsys.readouterr().out
    assert "was written by 2 ranks, and 1 go on: the run will not be bit for bit what it would have been" in said
    alone = latest_checkpoint(tmp_path / "a")
    assert alone is not None and "ranks" not in load_checkpoint(alone)[0]["state"]
    more = ["--kimg", "0.024", "--gpus", "2", "--device", "cpu", "--threads", "1"]
    said = ended(FASTGAN, "train", "--resume", str(tmp_path / "a"), *more)  # of a checkpoint that one process wrote
    assert "was written by 1 ranks, and 2 go on" in said
    assert state_of(tmp_path / "a")["state"]["progress"]["images"] == 24
    notes = json.loads((tmp_path / "a" / "run.json").read_text())["notes"]
    assert any("was written by 1 ranks" in note for note in notes)


def test_one_process_of_torchrun_is_as_without_it(tmp_path: Path) -> None:
    arguments = ["-m", "fastgan", "train", "--outdir", str(tmp_path / "a"), *SHORT, "--kimg", "0.008"]
    ended([*TORCHRUN, "--standalone", "--nproc-per-node", "1"], *arguments)
    assert train(tmp_path / "b", *SHORT[len(TINY) :], "--kimg", "0.008") == 0
    assert_same_run(tmp_path / "a", tmp_path / "b")


def test_ctrl_c_ends_all_with_a_checkpoint(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(FASTGAN, "train", "--outdir", str(run), *SHORT, "--kimg", "100", "--snap", "1000", "--gpus", "2")
    wait_for_lines(process, run, 2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and not err, err
    assert "stopped; everything is saved" in out
    assert len(checkpoints(run)) == 1 and len(state_of(run)["state"]["ranks"]) == 1
    assert not ranks_of(run)


def test_what_is_wrong_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["train", "--outdir", str(tmp_path / "run"), *TINY]
    for arguments, said in {
        ("--gpus", "0"): "--gpus must be at least 1, got 0",
        ("--gpus", "2", "--batch", "5", "-n"): "must be a multiple of 2 ranks, got 5",
        ("--gpus", "2", "--batch-gpu", "4", "-n"): "must be a multiple of 2 ranks x batch_gpu=4, got 4",
        ("--gpus", "2", "--device", "cuda"): "torch sees no GPU",
    }.items():
        if "cuda" in arguments and torch.cuda.is_available():
            continue
        assert main([*where, *arguments]) == 2
        assert said in capsys.readouterr().err
    process = start(FASTGAN, *where, "--gpus", "2", "--data", "nowhere")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 2 and not out
    assert (
        err == "fastgan: error: nowhere: no such file or folder; give a path that exists, or a packaged set (emoji64)\n"
    )


def lose(command: list[str], more: list[str], run: Path, rank: int, signum: int) -> str:
    """What is said when a rank of a run gets a signal after two ticks."""
    process = start(command, "train", "--outdir", str(run), *SHORT, "--kimg", "100", *more)
    wait_for_lines(process, run, 2)
    victim = ranks_of(run)[rank]
    begin = time.monotonic()
    os.kill(victim, signum)
    out, err = process.communicate(timeout=120)
    assert time.monotonic() - begin < 60 and process.returncode != 0
    assert not ranks_of(run)
    named = re.findall(rf"fastgan: error: rank {rank} \(process {victim}.*", err)
    assert len(named) == 1 and f"train --resume {run}" in named[0], out + err
    return named[0]


def test_a_killed_rank_is_named_and_the_run_goes_on_bit_for_bit(tmp_path: Path, whole: Path) -> None:
    run = tmp_path / "run"
    said = lose(FASTGAN, ["--gpus", "2"], run, 1, signal.SIGKILL)
    assert "was killed by signal 9" in said and said.endswith(
        f"Go on with: fastgan train --resume {run} --gpus 2 --device cpu"
    )
    for path in checkpoints(run)[1:]:  # as if it had come no further
        path.unlink()
    more = ["--kimg", "0.016", "--gpus", "2", "--device", "cpu", "--threads", "1"]
    said = ended(FASTGAN, "train", "--resume", str(run), *more)
    assert "going on from" in said and "ranks" not in said
    assert_same_run(whole, run)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("by", ["gpus", "torchrun"])
@pytest.mark.parametrize("signum", [signal.SIGSTOP, signal.SIGKILL])
def test_a_lost_rank_ends_the_others(tmp_path: Path, by: str, rank: int, signum: int) -> None:
    torchrun = [*TORCHRUN, "--standalone", "--nproc-per-node", "2", "-m", "fastgan"]
    command, more = (FASTGAN, ["--gpus", "2"]) if by == "gpus" else (torchrun, [])
    said = lose(command, more, tmp_path / "run", rank, signum)
    if by == "torchrun" or signum == signal.SIGSTOP:
        assert "gave no sign of life for" in said


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ranks_that_are_killed_at_random_instants() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.cli.killed_ranks", "20"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("20 points, 20 identical")
