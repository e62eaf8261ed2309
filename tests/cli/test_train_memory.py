"""fastgan train and memory: what is said before, what is refused, and what is said when it runs out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from fastgan.cli.main import main
from fastgan.train import loop, planner
from fastgan.train.available import held_bytes

pytestmark = pytest.mark.thorough

TINY = [
    "--data", "emoji64", "--max-images", "12", "--resolution", "16", "--batch", "4", "--cbase", "64", "--cmax", "8",
    "--map-depth", "1", "--set", "z_dim=8", "w_dim=8", "--tick", "0.004", "--snap", "1", "--device", "cpu",
    "--threads", "1",
]  # fmt: skip
CPU = torch.device("cpu")


def train(outdir: Path, *arguments: str) -> int:
    return main(["train", "--outdir", str(outdir), *TINY, *arguments])


def test_memory_is_told_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = re.compile(r"^memory: about [\d.]+ [MG]iB of [\d.]+ [MGT]iB$", re.MULTILINE)
    assert main(["train", "-n", *TINY]) == 0
    assert line.search(capsys.readouterr().out)
    assert train(tmp_path / "run", "--kimg", "0.004") == 0
    assert line.search(capsys.readouterr().out)


def test_several_processes_divide_the_batch_and_share_the_memory(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = held_bytes(CPU)
    monkeypatch.setattr(planner, "held_bytes", lambda device: held)
    named = []
    for processes, free in ((1, 29 << 20), (4, 4 * 29 << 20)):
        monkeypatch.setattr(planner, "free_bytes", lambda device, free=free: free)
        assert main(["train", "-n", *TINY, "--batch", "8000", "--device", "cpu", "--gpus", str(processes)]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert "warning: --batch 8000 takes about" in said
        assert ("for each of 4 processes" in said) == (processes == 4)
        fits = re.search(r"--batch (\d+) is the largest that fits at once", said)
        assert fits is not None
        named.append(int(fits[1]))
    assert named[0] > 1 and named[1] == pytest.approx(4 * named[0], rel=0.05)  # each has what the one had


def test_too_large_a_batch_is_refused_and_the_one_that_is_named_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = held_bytes(CPU)
    monkeypatch.setattr(planner, "held_bytes", lambda device: held)
    monkeypatch.setattr(planner, "free_bytes", lambda device: 29 << 20)
    assert train(tmp_path / "run", "--kimg", "0.004", "--batch", "5000") == 2
    said = capsys.readouterr().err
    assert "--batch 5000 takes about" in said and "--overcommit goes on anyway" in said
    assert not (tmp_path / "run").exists()
    named = re.search(r"--batch (\d+) is the largest that fits at once", said)
    assert named is not None and 1 < int(named[1]) < 100
    assert main(["train", "-n", *TINY, "--batch", "5000"]) == 0
    assert "warning: --batch 5000 takes about" in capsys.readouterr().out
    assert train(tmp_path / "run", "--kimg", "0.004", "--batch", named[1]) == 0
    assert "memory: about" in capsys.readouterr().out
    assert train(tmp_path / "other", "--kimg", "0.004", "--batch", str(int(named[1]) + 4)) == 2
    assert train(tmp_path / "other", "--kimg", "0.004", "--batch", str(int(named[1]) + 4), "--overcommit") == 0
    assert "warning: --batch" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["device", "allocator"])
def test_memory_that_runs_out_leaves_a_run_to_go_on_from(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, update = tmp_path / "run", loop.update

    def fails(player, terms, batches, state):
        if state.step == 2 and player.name == "D":
            if kind == "device":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            torch.empty(2**57)
        update(player, terms, batches, state)

    monkeypatch.setattr(loop, "update", fails)
    assert train(run, "--kimg", "0.02") == 2
    said = capsys.readouterr().err
    assert (
        said.startswith("fastgan: error: memory ran out with --batch 4: ") and "The run stopped at 0.008 kimg" in said
    )
    newest = run / "checkpoint-000000.008.safetensors"
    assert (
        newest.exists()
        and not list(run.glob(".*.partial"))
        and not (run / "checkpoint-000000.012.safetensors").exists()
    )
    part = re.search(r"--batch-gpu (\d) trains the same batch", said)
    assert part is not None and f"fastgan train --branch {newest} --outdir NEW" in said
    monkeypatch.setattr(loop, "update", update)
    on = ["train", "--branch", str(newest), "--outdir", str(tmp_path / "on"), "--batch-gpu", part[1], "--kimg", "0.012"]
    assert main([*on, "--device", "cpu"]) == 0
    assert (tmp_path / "on" / "checkpoint-000000.012.safetensors").exists()


def test_other_errors_stay_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(player, terms, batches, state):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(loop, "update", fails)
    with pytest.raises(RuntimeError, match="^shapes do not match$"):
        train(tmp_path / "run", "--kimg", "0.02")


def test_a_game_that_reads_numbers_trains_without_an_estimate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    update = loop.update

    def reads(player, terms, batches, state):
        assert isinstance(state.skipped[player.name].item(), float)
        update(player, terms, batches, state)

    monkeypatch.setattr(loop, "update", reads)
    assert train(tmp_path / "run", "--kimg", "0.004") == 0
    assert "memory: not estimated (a number of a tensor without values is asked for)" in capsys.readouterr().out
