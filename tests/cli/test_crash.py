"""fastgan train when something breaks: damaged files, a full disk, folders that cannot be written or vanish."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import fastgan.data
from fastgan.cli.main import main
from fastgan.report import read_stats
from fastgan.train.folder import checkpoints, latest_checkpoint, one_writer
from tests.cli.test_train import TINY, assert_same, state_of, train

PACKAGED = Path(fastgan.data.__file__).parent / "assets" / "emoji64.zip"
TIMED = ("images_per_second", "seconds_per_kimg", "memory_gib")
SNAP_EACH_TICK = [*TINY, "--snap", "1", "--keep", "0"]


def begin(outdir: Path, kimg: str) -> None:
    assert main(["train", "--outdir", str(outdir), *SNAP_EACH_TICK, "--kimg", kimg]) == 0


def go_on(path: Path, kimg: str) -> int:
    return main(["train", "--resume", str(path), "--kimg", kimg, "--threads", "1"])


def figures(outdir: Path) -> list[dict]:
    return [{k: v for k, v in line.items() if k not in TIMED} for line in read_stats(outdir / "stats.jsonl")]


def assert_same_run(a: Path, b: Path) -> None:
    for part in ("state", "G_ema", "scores"):
        assert_same(state_of(a)[part], state_of(b)[part])
    assert figures(a) == figures(b)
    pictures = [{path.name: path.read_bytes() for path in folder.glob("*.png")} for folder in (a, b)]
    assert pictures[0] == pictures[1]


def error(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr().err
    assert said.startswith("fastgan: error: ") and said.count("\n") == 1
    return said.removeprefix("fastgan: error: ").rstrip()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed, 0.016 kimg long; not to be written to."""
    outdir = tmp_path_factory.mktemp("whole") / "run"
    begin(outdir, "0.016")
    return outdir


def test_a_damaged_newest_checkpoint_stops_the_run_and_the_named_older_one_goes_on(
    tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    begin(run, "0.012")
    older, newest = checkpoints(run)[-2:]
    raw = bytearray(newest.read_bytes())
    raw[len(raw) // 2] ^= 1
    newest.write_bytes(raw)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    capsys.readouterr()
    assert go_on(run, "0.016") == 2
    said = error(capsys)
    assert said.startswith(f"checkpoint {newest} is damaged: the checksum of ")
    assert said.endswith(f"to go on from there: fastgan train --resume {older}")
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before  # nothing was chosen or changed
    assert go_on(older, "0.012") == 0
    assert newest.with_name(f"{newest.name}.aside").read_bytes() == bytes(raw)
    assert go_on(run, "0.016") == 0  # takes the newest: the one written anew
    assert_same_run(whole, run)


def test_an_older_checkpoint_is_the_newest_until_the_run_has_passed_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    begin(run, "0.012")
    older, newest = checkpoints(run)[-2:]
    assert go_on(older, "0.008") == 0  # already there: nothing is trained
    assert latest_checkpoint(run) == older and not newest.exists()
    assert [line["kimg"] for line in figures(run)] == [0.004, 0.008]


def test_a_half_written_line_of_statistics_does_not_matter(tmp_path: Path, whole: Path) -> None:
    run = tmp_path / "run"
    begin(run, "0.008")
    with (run / "stats.jsonl").open("a") as file:
        file.write('{"kimg": 0.012, "loss/G": 0.6')
    assert go_on(run, "0.016") == 0
    assert_same_run(whole, run)


def test_a_second_writer_is_refused(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = shutil.copytree(whole, tmp_path / "run")
    before = sorted(path.name for path in run.iterdir())
    with one_writer(run):
        assert go_on(run, "0.02") == 2
        assert error(capsys).startswith(f"{run}: process {os.getpid()} on ")
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    with one_writer(fresh):  # a run that has no checkpoint yet
        assert train(fresh, "--kimg", "0.004") == 2
        assert "is writing there" in error(capsys)
    assert sorted(path.name for path in run.iterdir()) == before


def test_a_run_is_not_mixed_into_another(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = shutil.copytree(whole, tmp_path / "run")
    assert main(["train", "--resume", str(whole), "--outdir", str(run)]) == 2
    assert "already holds a run" in error(capsys)


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """The system refuses to let a file of this process grow beyond `size` bytes, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    begin(run, "0.008")
    newest = latest_checkpoint(run)
    assert newest is not None
    capsys.readouterr()
    with files_at_most(newest.stat().st_size - 1000):
        assert go_on(run, "0.016") == 2
    failed = run / "checkpoint-000000.012.safetensors"
    assert error(capsys) == (
        f"cannot write {failed}: File too large. The run stopped at 0.012 kimg; {newest} stands. "
        f"Mend the cause, then: fastgan train --resume {run}"
    )
    assert latest_checkpoint(run) == newest and not list(run.glob(".*.partial"))
    assert go_on(run, "0.016") == 0
    assert_same_run(whole, run)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 400 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("this process may not mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(disk: Path, whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = disk / "run"
    assert main(["train", "--outdir", str(run), *SNAP_EACH_TICK, "--kimg", "0.016"]) == 2
    said, newest = error(capsys), latest_checkpoint(run)
    assert said.startswith(f"cannot write {run}/") and ": No space left on device. The run stopped at " in said
    assert said.endswith(f"{newest} stands. Mend the cause, then: fastgan train --resume {run}")
    assert not list(run.glob(".*.partial"))
    subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
    assert go_on(run, "0.016") == 0
    assert_same_run(whole, run)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Permissions count: root may write anywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        if not os.access(PACKAGED, os.R_OK, effective_ids=True):
            pytest.skip("the package lies where nobody but root may read")
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_may_not_be_written(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        run = shutil.copytree(whole, Path(name) / "run")
        run.chmod(0o555)
        (run / ".lock").unlink()
        newest = latest_checkpoint(run)
        with as_nobody():
            assert go_on(run, "0.02") == 2
            said = error(capsys)
            assert train(run / "deeper", "--kimg", "0.004") == 2
            deeper = error(capsys)
        run.chmod(0o755)
    assert said == (
        f"cannot write {run / '.lock'}: Permission denied. The run stopped at 0.016 kimg; {newest} stands. "
        f"Mend the cause, then: fastgan train --resume {run}"
    )
    assert deeper.startswith(f"cannot write {run / 'deeper'}: Permission denied. ")


def test_a_checkpoint_that_may_not_be_read(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        run = shutil.copytree(whole, Path(name) / "run")
        older, newest = checkpoints(run)[-2:]
        newest.chmod(0o000)
        with as_nobody():
            assert go_on(run, "0.02") == 2
    said = error(capsys)
    assert said.startswith(f"checkpoint {newest} cannot be read: Permission denied; ")
    assert said.endswith(f"fastgan train --resume {older}")


def test_a_folder_that_vanishes(tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "fastgan", "train", "--outdir", str(run), *TINY, "--kimg", "1000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (run / "stats.jsonl").exists() or not (run / "stats.jsonl").read_text().count("\n"):
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()
        time.sleep(0.05)
    run.rename(tmp_path / "gone")
    shutil.rmtree(tmp_path / "gone")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2 and said.count("\n") == 1
    assert said.startswith(f"fastgan: error: cannot write {run}/") and "The run stopped at " in said
    assert said.endswith(f"{run} holds no checkpoint. Mend the cause, then start again\n")
    assert not run.exists()


def test_a_file_where_the_folder_should_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").write_text("mine")
    assert train(tmp_path / "run", "--kimg", "0.004") == 2
    assert error(capsys) == (
        f"--outdir must be a folder; {tmp_path / 'run'} is a file. Choose another, or move the file away"
    )
    assert train(tmp_path / "run" / "deeper", "--kimg", "0.004") == 2
    assert error(capsys).startswith(f"cannot write {tmp_path / 'run' / 'deeper'}: Not a directory. ")
    assert (tmp_path / "run").read_text() == "mine"
