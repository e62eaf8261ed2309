"""Several ranks in trouble: the first looks, and all do the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastgan.checkpoint import checkpoints, load_checkpoint
from tests.train import test_rollback_ranks as ranks
from tests.train.test_rollback import checkpoint
from tests.train.test_troubles import OPTIONS, SENTENCE

pytestmark = pytest.mark.thorough

# What `test_troubles` plants, by the first argument; the rest is a command line.
PLANTED = """
import sys
import pytest
from fastgan.cli.main import main
from tests.train.test_troubles import measured, plant
eval(sys.argv[1])
sys.exit(main(sys.argv[2:]))
"""
PLANT = "plant(pytest.MonkeyPatch(), lambda state: state.images > 30 and not state.rollbacks)"


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "PLANTED", PLANTED)


def arguments(run: Path, *more: str) -> list[str]:
    return ["--outdir", str(run), *OPTIONS, "--batch-gpu", "1", "--kimg", "0.056", *more]


def test_ranks_go_back_together(tmp_path: Path) -> None:
    run = tmp_path / "run"
    statuses, out, err = ranks.train(PLANT, *arguments(run, "--on-trouble", "roll-back"))
    assert statuses == [0, 0], err
    assert out.count(f"warning: {SENTENCE}") == 2  # as it begins, and why training goes back
    assert out.count(f"went back to {checkpoint(run, 24)}, 0.024 kimg, with other random numbers") == 1
    tree, _ = load_checkpoint(checkpoint(run, 56))
    assert tree["state"]["progress"]["rollbacks"] == 1 and len(tree["state"]["ranks"]) == 1


def test_ranks_stop_together(tmp_path: Path) -> None:
    run = tmp_path / "run"
    statuses, _, err = ranks.train(PLANT, *arguments(run, "--on-trouble", "stop"))
    assert statuses == [2, 2]
    assert err.count(SENTENCE) == 1 and f"{checkpoint(run, 48)} stands" in err


def test_ranks_end_together_where_a_metric_gets_no_better(tmp_path: Path) -> None:
    run = tmp_path / "run"
    scores = "measured(pytest.MonkeyPatch(), iter([5.0, 4.0, 4.5, 4.5, 3.0]))"
    statuses, out, err = ranks.train(scores, *arguments(run, "--metrics", "swd", "--patience", "2"))
    assert statuses == [0, 0], err
    assert out.count("note: swd has not become better than 4, at 0.016 kimg, for 2 snapshots") == 1
    assert checkpoints(run)[-1] == checkpoint(run, 32)
