"""Several ranks that go back to their last good checkpoint together."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fastgan.checkpoint import load_checkpoint
from tests.cli.test_train import assert_same, state_of
from tests.train.test_rollback import OPTIONS, checkpoint, figures
from tests.train.together import ROOT, free_port

pytestmark = pytest.mark.thorough

# Gradients are broken in the updates that the first argument says; the rest is a command line.
PLANTED = """
import sys
import pytest
from fastgan.cli.main import main
from tests.train.test_rollback import once, plant
plant(pytest.MonkeyPatch(), eval(sys.argv[1]))
sys.exit(main(sys.argv[2:]))
"""


def train(bad: str, *arguments: str) -> tuple[list[int], str, str]:
    """Statuses of two ranks, and what both have printed to either output."""
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    told |= {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    command = [sys.executable, "-c", PLANTED, bad, "train", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT}
    ranks = [
        subprocess.Popen(command, env=os.environ | told | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, **pipes)
        for rank in range(2)
    ]
    printed = [rank.communicate(timeout=200) for rank in ranks]
    out, err = ("".join(texts) for texts in zip(*printed, strict=True))
    return [rank.returncode for rank in ranks], " ".join(out.split()), err


def test_ranks_go_back_together_and_are_resumed_bit_for_bit(tmp_path: Path) -> None:
    whole, again = tmp_path / "whole", tmp_path / "again"
    arguments = ["--outdir", str(whole), *OPTIONS, "--batch-gpu", "1", "--kimg", "0.028"]
    statuses, out, err = train("once(3, 4, 5)", *arguments)
    assert statuses == [0, 0], err
    sentence = "3 updates of D in a row were skipped at 0.024 kimg: their gradients were not finite; went back to"
    assert out.count(f"warning: {sentence} {checkpoint(whole, 8)}, 0.008 kimg, with other random numbers") == 1
    good, after = (load_checkpoint(checkpoint(whole, images))[0]["state"] for images in (8, 16))
    assert after["progress"]["rollbacks"] == 1 and not after["progress"]["skipped"]["D"]
    streams = [part["rng"]["cpu"] for state in (good, after) for part in (state, *state["ranks"])]
    assert len(streams) == 4 and len({each.numpy().tobytes() for each in streams}) == 4
    assert [line["kimg"] for line in figures(whole)][:4] == [0.004, 0.008, 0.008, 0.012]

    shutil.copytree(whole, again)
    for images in (24, 28):
        checkpoint(again, images).unlink()
    never = "lambda state, player: False"
    statuses, _, err = train(never, "--resume", str(again), "--kimg", "0.028", "--device", "cpu")
    assert statuses == [0, 0], err
    for part in ("state", "G_ema", "scores"):
        assert_same(state_of(whole)[part], state_of(again)[part])
    assert figures(whole) == figures(again)


def test_ranks_without_a_good_checkpoint_end_and_nothing_is_lost(tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ["--outdir", str(run), *OPTIONS, "--batch-gpu", "1", "--kimg", "0.04", "--snap", "100"]
    statuses, _, err = train("lambda state, player: state.step >= 1", *arguments)
    assert statuses == [2, 2]
    assert err.count(f"There is no good checkpoint to go back to; {checkpoint(run, 16)} stands") == 1, err
    state = load_checkpoint(checkpoint(run, 16))[0]["state"]
    assert state["progress"]["streak"]["D"] == 3 and len(state["ranks"]) == 1
    assert state["ranks"][0]["rng"]["cpu"].numel()
