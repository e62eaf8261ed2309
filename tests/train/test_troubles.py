"""What a run does about troubles: it warns, stops, goes back to before them, or ends when nothing gets better."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fastgan.checkpoint import checkpoints
from fastgan.cli.main import main
from fastgan.config.options import TrainingOptions
from fastgan.metrics import Evaluation
from fastgan.report import Finding, read_stats
from fastgan.train.rollback import ATTEMPTS, is_marked_good
from fastgan.train.run import Run
from fastgan.train.scores import Scores
from fastgan.train.state import TrainState
from fastgan.train.troubles import Troubles
from tests.cli.test_train import TINY, assert_same, state_of
from tests.train.test_rollback import checkpoint, figures

OPTIONS = [*TINY, "--keep", "0"]  # a snapshot each 8 images


def plant(monkeypatch: pytest.MonkeyPatch, collapsed: Callable[[TrainState], bool]) -> None:
    """Images are alike at the snapshots that `collapsed` says."""
    real, states = Scores.measure, dict[int, TrainState]()
    begin = Run._train

    def train(self: Run, *rest: Any) -> bool:
        states[id(self.scores)] = self.state
        return begin(self, *rest)

    def measure(self: Scores, kimg: float, pictures: Any) -> dict[str, float]:
        measured = real(self, kimg, pictures)
        assert 0 <= measured["diversity/alike"] <= 1 and measured["diversity/ratio"] > 0
        ratio = 0.1 if collapsed(states[id(self)]) else 0.8
        return measured | {"diversity/ratio": ratio, "diversity/alike": 0.0}

    monkeypatch.setattr(Run, "_train", train)
    monkeypatch.setattr(Scores, "measure", measure)


def train(run: Path, *arguments: str, kimg: str = "0.064") -> int:
    return main(["train", "--outdir", str(run), *OPTIONS, "--kimg", kimg, *arguments])


def resume(run: Path, kimg: str, *arguments: str) -> int:
    return main(["train", "--resume", str(run), "--kimg", kimg, "--threads", "1", *arguments])


SENTENCE = "mode collapse since 0.032 kimg: generated images differ 0.10 times as much as real ones (0.80 at its best)"


def test_a_trouble_is_told_when_it_begins_and_when_it_is_over(tmp_path: Path, monkeypatch, capsys) -> None:
    run = tmp_path / "run"
    plant(monkeypatch, lambda state: 30 < state.images < 60)
    assert train(run) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.count(f"warning: {SENTENCE}") == said.count("mode collapse since") == 1
    assert said.count("note: mode collapse is over at 0.064 kimg") == 1
    record = json.loads((run / "run.json").read_text())
    assert record["notes"][-1] == "mode collapse is over at 0.064 kimg"
    assert SENTENCE not in (run / "report.html").read_text()
    assert "passes" in read_stats(run / "stats.jsonl")[0] and "gradient/G" in read_stats(run / "stats.jsonl")[0]


def test_a_trouble_that_stands_is_told_at_the_end_too(tmp_path: Path, monkeypatch, capsys) -> None:
    run = tmp_path / "run"
    plant(monkeypatch, lambda state: state.images > 30)
    assert train(run) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.count(f"warning: {SENTENCE}") == 1 and said.count(SENTENCE) == 2
    assert SENTENCE in (run / "report.html").read_text()
    assert json.loads((run / "run.json").read_text())["warnings"] == []


def test_a_run_in_trouble_stops_where_it_is_told_so(tmp_path: Path, monkeypatch, capsys) -> None:
    run = tmp_path / "run"
    plant(monkeypatch, lambda state: state.images > 30)
    assert train(run, "--on-trouble", "stop") == 2
    error = " ".join(capsys.readouterr().err.split())
    assert SENTENCE in error and f"{checkpoint(run, 48)} stands" in error
    assert f"fastgan train --resume {run} --on-trouble warn" in error
    assert [path.name for path in checkpoints(run)][-1] == checkpoint(run, 48).name
    assert json.loads((run / "run.json").read_text())["state"] == "stopped"
    assert resume(run, "0.064") == 2  # at the next snapshot: it stands
    assert resume(run, "0.064", "--on-trouble", "warn") == 0


def test_a_run_goes_back_to_before_its_trouble(tmp_path: Path, monkeypatch, capsys) -> None:
    run = tmp_path / "run"
    plant(monkeypatch, lambda state: state.images > 30 and not state.rollbacks)
    assert train(run, "--on-trouble", "roll-back") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"went back to {checkpoint(run, 24)}, 0.024 kimg, with other random numbers" in said
    lines = read_stats(run / "stats.jsonl")
    assert [round(line["kimg"] * 1000) for line in lines[4:9]] == [20, 24, 24, 28, 32]
    assert [line.get("rollbacks") for line in lines[5:8]] == [None, 1, 1]
    aside = Path(f"{checkpoint(run, 32)}.aside")
    assert aside.exists() and Path(f"{checkpoint(run, 40)}.aside").exists()
    assert not is_marked_good(Path(f"{checkpoint(run, 40)}.aside").rename(checkpoint(tmp_path, 40)))
    weights = [state_of(run)["state"]["players"]["G"]["modules"]]
    train(tmp_path / "other", kimg="0.064")
    weights.append(state_of(tmp_path / "other")["state"]["players"]["G"]["modules"])
    assert not all(torch.equal(*pair) for pair in zip(*(tree["G"].values() for tree in weights), strict=True))


def test_a_run_that_went_back_is_resumed_bit_for_bit(tmp_path: Path, monkeypatch) -> None:
    collapsed = lambda state: state.images > 30 and state.rollbacks < 2  # noqa: E731
    for name, kimg in (("whole", "0.064"), ("parts", "0.04")):
        plant(monkeypatch, collapsed)
        assert train(tmp_path / name, "--on-trouble", "roll-back", kimg=kimg) == 0
        if name == "parts":
            assert resume(tmp_path / name, "0.064") == 0
        monkeypatch.undo()
    for part in ("state", "G_ema", "scores", "rollback"):
        assert_same(state_of(tmp_path / "whole")[part], state_of(tmp_path / "parts")[part])
    assert figures(tmp_path / "whole") == figures(tmp_path / "parts")
    assert state_of(tmp_path / "whole")["rollback"] == {"attempts": 0, "beyond": 48}


def test_a_run_goes_back_so_many_times(tmp_path: Path, monkeypatch, capsys) -> None:
    run, back = tmp_path / "run", []
    real = Run._roll_back
    monkeypatch.setattr(Run, "_roll_back", lambda self, *rest: (back.append(self.state.images), real(self, *rest))[1])
    plant(monkeypatch, lambda state: state.images > 30)
    assert train(run, "--on-trouble", "roll-back") == 2
    error = " ".join(capsys.readouterr().err.split())
    assert f"as {ATTEMPTS} times before from {checkpoint(run, 24)}, which stands" in error
    assert back == [48] * (ATTEMPTS + 1)


def test_a_trouble_from_the_first_snapshot_on_leaves_nowhere_to_go(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("fastgan.train.troubles.diagnosis", lambda records: [Finding("it", 0.004, "it is bad")])
    assert train(tmp_path / "run", "--on-trouble", "roll-back") == 2
    error = " ".join(capsys.readouterr().err.split())
    assert f"it is bad. There is no good checkpoint to go back to; {checkpoint(tmp_path / 'run', 16)} stands" in error


def measured(monkeypatch: pytest.MonkeyPatch, values: Iterator[float]) -> None:
    monkeypatch.setattr(Evaluation, "evaluate", lambda self, sample, **more: {"swd": next(values)})
    monkeypatch.setattr(Evaluation, "floors", lambda self: {"swd": 1.0})


def test_a_run_whose_metric_does_not_get_better_ends(tmp_path: Path, monkeypatch, capsys) -> None:
    run, values = tmp_path / "run", [5.0, 6.0, 4.0, 4.0, 4.5, 4.2, 4.1, 3.0]
    measured(monkeypatch, iter(values))
    assert train(run, "--metrics", "swd", "--patience", "2") == 0
    said = " ".join(capsys.readouterr().out.split())
    sentence = "swd has not become better than 4, at 0.024 kimg, for 2 snapshots"
    assert said.count(f"note: {sentence}") == 1 and "Go on with" not in said
    assert checkpoints(run)[-1] == checkpoint(run, 40)
    record = json.loads((run / "run.json").read_text())
    assert record["state"] == "finished" and sentence in record["notes"]
    measured(monkeypatch, iter(values[5:]))
    assert resume(run, "0.064", "--patience", "4") == 0  # whose scores are remembered: 4.2, 4.1
    assert checkpoints(run)[-1] == checkpoint(run, 56)


def options(**more: Any) -> TrainingOptions:
    return TrainingOptions(tick=0.1, snap=3, batch=16, **more)


@pytest.mark.parametrize(("images", "acts"), [(608, False), (912, False), (1200, True), (1504, True)])
def test_a_trouble_must_stand_for_three_snapshots(monkeypatch, images: int, acts: bool) -> None:
    """Snapshots of batches of 16 lie at 304, 608, 912, 1200 images."""
    for began in (0.608, 0.704):  # at a snapshot, or at a tick after it
        monkeypatch.setattr("fastgan.train.troubles.diagnosis", lambda _, k=began: [Finding("it", k, "it is bad")])
        stop, back = (
            Troubles(options(on_trouble=action)).look([], images, None, [], lambda _: None)
            for action in ("stop", "roll-back")
        )
        assert (stop.stop is not None, back.back is not None) == (acts, acts)


def test_what_random_numbers_cannot_help_does_not_send_a_run_back(monkeypatch) -> None:
    finding = Finding("overfitting of D", 1.0, "D knows its images", chance=False)
    monkeypatch.setattr("fastgan.train.troubles.diagnosis", lambda _: [finding])
    for action, what in (("warn", None), ("roll-back", None), ("stop", "D knows its images")):
        troubles, told = Troubles(options(on_trouble=action)), []
        verdict = troubles.look([], 9000, None, [], told.append)
        assert (verdict.stop, verdict.back, troubles.doubtful) == (what, None, False)
        troubles.look([], 9300, None, [], told.append)
        assert told == ["warning: D knows its images"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"on_trouble": "back"}, "on_trouble must be one of warn, stop, roll-back, got 'back'"),
        ({"on_trouble": "roll-back", "keep": 3}, "keep must be 0 or at least 4 for on_trouble=roll-back, got 3"),
        ({"patience": 3}, "patience must be 0 without metrics, got 3"),
        ({"patience": -1}, "patience must be"),
    ],
    ids=str,
)
def test_options_that_cannot_be(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        options(**more)
