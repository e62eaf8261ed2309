"""Output that breaks: readers that end, full disks, closed streams, terminals that vanish."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastgan.cli.main import main
from fastgan.cli.output import Output
from fastgan.report import read_stats
from fastgan.train.folder import latest_checkpoint
from fastgan.train.interrupt import Interrupt
from tests.cli.test_train import TINY, assert_same, state_of, train

pytestmark = pytest.mark.thorough

FASTGAN = [sys.executable, "-m", "fastgan"]
ENDLESS = [*TINY, "--kimg", "1000", "--snap", "1000000"]


def piped(verb: list[str], reader: str, **options) -> tuple[int, str]:
    """Exit status of `fastgan VERB | READER` and what it says on standard error."""
    command = f'"$@" | {reader}; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", command, "bash", *FASTGAN, *verb], capture_output=True, text=True, timeout=300, **options
    )
    return done.returncode, done.stderr


def wait_for_lines(run: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not (run / "stats.jsonl").exists() or not (run / "stats.jsonl").read_text().count("\n"):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose output somebody read."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert train(run, "--kimg", "0.016") == 0
    return run


@pytest.mark.parametrize("reader", ["head -1", "true"])
def test_a_training_piped_into_a_command_that_ends_goes_on(tmp_path: Path, whole: Path, reader: str) -> None:
    run = tmp_path / "run"
    status, said = piped(["train", "--outdir", str(run), *TINY, "--kimg", "0.016"], reader)
    assert (status, said) == (
        0,
        "fastgan: standard output cannot be written any more (Broken pipe); the training goes on\n",
    )
    assert_same(state_of(whole), state_of(run))
    assert [line["kimg"] for line in read_stats(run / "stats.jsonl")] == [0.004, 0.008, 0.012, 0.016]
    record = json.loads((run / "run.json").read_text())
    assert record["state"] == "finished"
    assert record["warnings"] == ["standard output could not be written any more: Broken pipe"]
    assert "standard output could not be written any more" in (run / "report.html").read_text()


def test_a_training_whose_errors_go_into_the_same_broken_pipe_goes_on(tmp_path: Path, whole: Path) -> None:
    run = tmp_path / "run"
    command = ["bash", "-c", '"$@" 2>&1 | head -1; exit ${PIPESTATUS[0]}', "bash", *FASTGAN, "train"]
    assert subprocess.run([*command, "--outdir", str(tmp_path / "both"), *TINY, "--kimg", "0.016"]).returncode == 0
    assert_same(state_of(whole), state_of(tmp_path / "both"))
    assert subprocess.run([*command, "--outdir", str(run), "--batch", "0"], stdout=subprocess.PIPE).returncode == 2


def test_a_training_without_standard_streams(tmp_path: Path, whole: Path) -> None:
    command = ["bash", "-c", '"$@" <&- >&- 2>&-', "bash", *FASTGAN, "train", "--outdir", str(tmp_path / "run"), *TINY]
    assert subprocess.run([*command, "--kimg", "0.016"]).returncode == 0
    assert_same(state_of(whole), state_of(tmp_path / "run"))


def test_a_log_on_a_full_disk_does_not_end_a_training(tmp_path: Path, whole: Path) -> None:
    run = tmp_path / "run"
    with open("/dev/full", "w") as full:
        command = [*FASTGAN, "train", "--outdir", str(run), *TINY, "--kimg", "0.016"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0
    assert "(No space left on device); the training goes on" in done.stderr and "Traceback" not in done.stderr
    assert_same(state_of(whole), state_of(run))


def test_ctrl_c_while_tee_dies_saves(tmp_path: Path) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    command = ["bash", "-c", '"$@" | tee "$LOG"; exit ${PIPESTATUS[0]}', "bash", *FASTGAN, "train", *ENDLESS]
    process = subprocess.Popen(
        [*command, "--outdir", str(run)], start_new_session=True, env={**os.environ, "LOG": str(log)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_for_lines(run, process)
    tee = subprocess.check_output(["pgrep", "-s", str(process.pid), "-x", "tee"], text=True).split()
    os.kill(int(tee[0]), signal.SIGKILL)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    newest = latest_checkpoint(run)
    assert newest is not None
    assert json.loads((run / "run.json").read_text())["state"] == "stopped"


def test_a_terminal_that_vanishes_stops_the_training_with_its_checkpoint(tmp_path: Path, whole: Path) -> None:
    run = tmp_path / "run"
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [*FASTGAN, "train", "--outdir", str(run), *ENDLESS])
    os.set_blocking(terminal, False)
    deadline, said = time.monotonic() + 120, b""
    while not (run / "stats.jsonl").exists() or not (run / "stats.jsonl").read_text().count("\n"):
        assert time.monotonic() < deadline, said.decode()
        time.sleep(0.05)
        with contextlib.suppress(BlockingIOError):
            said += os.read(terminal, 1 << 16)
    os.close(terminal)  # the system sends SIGHUP, and writing fails with EIO
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 128 + signal.SIGHUP
    images = state_of(run)["state"]["progress"]["images"]
    assert main(["train", "--resume", str(run), "--kimg", str((images + 8) / 1000), "--threads", "1"]) == 0


def test_two_hangups_in_a_row_still_leave_a_checkpoint(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = subprocess.Popen(
        [*FASTGAN, "train", "--outdir", str(run), *ENDLESS], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    wait_for_lines(run, process)
    for _ in range(3):
        process.send_signal(signal.SIGHUP)
        time.sleep(0.001)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGHUP and latest_checkpoint(run) is not None


def test_nohup_keeps_its_promise() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupt() as interrupt:
            signal.raise_signal(signal.SIGHUP)
            assert not interrupt()
            signal.raise_signal(signal.SIGTERM)
            assert interrupt() and interrupt.signum == signal.SIGTERM
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("verb", [["--help"], ["train", "--help"], ["doctor"], ["dataset", "--source", "emoji64"]])
def test_other_verbs_piped_into_a_command_that_ends(verb: list[str]) -> None:
    status, said = piped(verb, "true")
    assert status == 141 and "Traceback" not in said and "Exception" not in said and "error" not in said


def test_images_are_all_written_when_nobody_reads_what_generate_says(tmp_path: Path, whole: Path) -> None:
    pictures = ["generate", "--network", str(whole), "--seeds", "0-3", "--grid", "--outdir", str(tmp_path / "out")]
    status, said = piped(pictures, "true")
    assert (status, said) == (141, "")
    assert len(list((tmp_path / "out").glob("*.png"))) == 5


def test_a_set_is_written_whole_when_nobody_reads_what_dataset_says(tmp_path: Path) -> None:
    dest = tmp_path / "few.zip"
    command = '"$@" 2>&1 | true; exit ${PIPESTATUS[0]}'
    verb = ["dataset", "--source", "emoji64", "--max-images", "20", "--dest", str(dest)]
    assert subprocess.run(["bash", "-c", command, "bash", *FASTGAN, *verb]).returncode == 141
    assert dest.is_file() and not list(tmp_path.glob(".*"))


def test_a_text_on_a_full_disk_is_an_error() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([*FASTGAN, "doctor"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr == "fastgan: error: standard output: No space left on device\n"


def test_a_lost_output_is_told_once() -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    reasons: list[str] = []
    output = Output(Full(), reasons.append)
    assert output.write("a") == 1 and output.write("b") == 1 and not output.isatty()
    assert reasons == ["No space left on device"] == [output.lost]
    closed = io.StringIO()
    closed.close()
    shut = Output(closed)
    shut.write("a")
    assert shut.lost == "I/O operation on closed file"
    assert Output(None).write("abc") == 3
