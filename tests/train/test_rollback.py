"""Training that goes back to its last good checkpoint where updates are skipped one after the other."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fastgan.checkpoint import checkpoints, load_checkpoint, read_metadata, save_checkpoint
from fastgan.cli.main import main
from fastgan.report import read_stats
from fastgan.train import loop
from fastgan.train.loop import step
from fastgan.train.players import Player
from fastgan.train.rollback import ATTEMPTS, is_good, is_marked_good, last_good
from fastgan.train.run import Run
from fastgan.train.state import TrainState
from tests.cli.test_train import TINY, assert_same, state_of
from tests.train.test_state import GAMES, flatten

TIMED = ("images_per_second", "seconds_per_kimg", "memory_gib")
OPTIONS = [*TINY, "--roll-back-after", "3", "--keep", "0"]  # a step of 4 images a tick, two ticks a snapshot


def plant(monkeypatch: pytest.MonkeyPatch, bad: Callable[[TrainState, Player], bool]) -> None:
    """Gradients are NaN in the updates that `bad` says."""
    real = loop.update

    def update(player, terms, batches, state) -> None:
        if bad(state, player):
            terms = [dataclasses.replace(term, loss=lambda move, f=term.loss: f(move) * math.nan) for term in terms]
        real(player, terms, batches, state)

    monkeypatch.setattr(loop, "update", update)


def train(run: Path, *arguments: str, kimg: str = "0.04") -> int:
    return main(["train", "--outdir", str(run), *OPTIONS, "--kimg", kimg, *arguments])


def resume(run: Path, kimg: str, *arguments: str) -> int:
    return main(["train", "--resume", str(run), "--kimg", kimg, "--threads", "1", *arguments])


def figures(run: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k not in TIMED} for line in read_stats(run / "stats.jsonl")]


def checkpoint(run: Path, images: int) -> Path:
    return run / f"checkpoint-000000.{images:03d}.safetensors"


def once(*steps: int) -> Callable[[TrainState, Player], bool]:
    """D's updates in these steps, the first time."""
    left = set(steps)

    def bad(state: TrainState, player: Player) -> bool:
        if player.name == "D" and state.step in left and not state.rollbacks:
            left.discard(state.step)
            return True
        return False

    return bad


def test_training_goes_back_says_so_and_goes_on(tmp_path: Path, monkeypatch, capsys) -> None:
    run, after = tmp_path / "run", []
    real, taken = Run._roll_back, {}

    def roll_back(self, *arguments):
        taken["skipped"] = self.state.skipped["D"].item()
        writer = real(self, *arguments)
        after.append((dict(flatten(_copied(self.state.capture()))), torch.get_rng_state()))
        return writer

    monkeypatch.setattr(Run, "_roll_back", roll_back)
    plant(monkeypatch, once(3, 4, 5))  # 0.016 kimg lies in the streak
    assert train(run) == 0
    assert taken["skipped"] == 3
    said = " ".join(capsys.readouterr().out.split())
    sentence = "3 updates of D in a row were skipped at 0.024 kimg: their gradients were not finite; went back to"
    assert f"warning: {sentence} {checkpoint(run, 8)}, 0.008 kimg, with other random numbers" in said
    (state, rng), *others = after
    assert not others
    saved = load_checkpoint(checkpoint(run, 8))[0]["state"]
    for name, value in flatten({"players": saved["players"], "statistics": saved["statistics"]}):
        same = torch.equal(value, state[name]) if isinstance(value, torch.Tensor) else value == state[name]
        assert same, name
    assert not torch.equal(rng, saved["rng"]["cpu"])
    # The folder tells one history.
    assert [path.name for path in checkpoints(run)] == [checkpoint(run, n).name for n in (8, 16, 24, 32, 40)]
    assert all(map(is_marked_good, checkpoints(run)))
    assert (run / f"{checkpoint(run, 16).name}.aside").exists()
    lines = figures(run)
    assert [line["kimg"] for line in lines] == [0.004, 0.008, 0.008, *(round(0.012 + 0.004 * k, 3) for k in range(8))]
    assert [line.get("rollbacks") for line in lines] == [None, None, *[1] * 9]
    assert not any(name.startswith(("skipped", "nonfinite")) for line in lines for name in line)
    record = json.loads((run / "run.json").read_text())
    assert record["state"] == "finished" and any(sentence in warning for warning in record["warnings"])
    assert "training went back to an earlier checkpoint" in (run / "report.html").read_text()


def test_a_run_that_went_back_is_resumed_bit_for_bit(tmp_path: Path, monkeypatch) -> None:
    for name, kimg in (("whole", "0.04"), ("parts", "0.032")):
        plant(monkeypatch, once(3, 4, 5))
        assert train(tmp_path / name, kimg=kimg) == 0
        monkeypatch.undo()
    assert resume(tmp_path / "parts", "0.04") == 0
    for part in ("state", "G_ema", "scores"):
        assert_same(state_of(tmp_path / "whole")[part], state_of(tmp_path / "parts")[part])
    assert state_of(tmp_path / "whole")["state"]["progress"]["rollbacks"] == 1
    assert figures(tmp_path / "whole") == figures(tmp_path / "parts")


def test_a_failure_that_hangs_on_random_numbers_does_not_come_again(tmp_path: Path, monkeypatch) -> None:
    doomed: set[bytes] = set()

    def bad(state: TrainState, player: Player) -> bool:
        if player.name != "G" or state.step < 3:
            return False
        now = torch.get_rng_state().numpy().tobytes()
        if not state.rollbacks:
            doomed.add(now)
        return now in doomed

    plant(monkeypatch, bad)
    assert train(tmp_path / "run") == 0
    assert len(doomed) == 3
    assert state_of(tmp_path / "run")["state"]["progress"]["rollbacks"] == 1


def test_training_that_goes_back_in_vain_ends(tmp_path: Path, monkeypatch, capsys) -> None:
    run, streams = tmp_path / "run", set()

    def bad(state: TrainState, player: Player) -> bool:
        if state.step == 2 and player.name == "G":
            streams.add(torch.get_rng_state().numpy().tobytes())
        return state.step >= 3 and player.name == "G"

    plant(monkeypatch, bad)
    assert train(run) == 2
    error = capsys.readouterr().err
    good = checkpoint(run, 8)
    assert "3 updates of G in a row were skipped at 0.02 kimg" in error  # one of them of the path length
    assert f"as {ATTEMPTS} times before from {good}, which stands" in error
    assert f"fastgan train --branch {good} --outdir NEW" in error
    assert len(streams) == 1 + ATTEMPTS  # each attempt has random numbers of its own
    assert is_marked_good(good) and not is_marked_good(checkpoint(run, 16))
    assert json.loads((run / "run.json").read_text())["state"] == "stopped"
    monkeypatch.undo()
    assert main(["train", "--branch", str(good), "--outdir", str(tmp_path / "new"), "--glr", "0.001", "--kimg",
                 "0.016", "--threads", "1"]) == 0  # fmt: skip


def test_progress_gives_new_attempts(tmp_path: Path, monkeypatch) -> None:
    failures = {3: ATTEMPTS, 9: ATTEMPTS}  # step at which a streak begins -> how often it does

    def bad(state: TrainState, player: Player) -> bool:
        if player.name != "D":
            return False
        begins = max((step for step in failures if step <= state.step < step + 3 and failures[step]), default=None)
        if begins is not None and state.step == begins + 2:
            failures[begins] -= 1
        return begins is not None

    plant(monkeypatch, bad)
    assert train(tmp_path / "run", kimg="0.056") == 0
    assert state_of(tmp_path / "run")["state"]["progress"]["rollbacks"] == 2 * ATTEMPTS
    assert failures == {3: 0, 9: 0}


def test_without_a_good_checkpoint_the_run_ends_and_nothing_is_lost(tmp_path: Path, monkeypatch, capsys) -> None:
    run = tmp_path / "run"
    plant(monkeypatch, lambda state, player: state.step >= 1)
    assert train(run, "--snap", "100") == 2
    error = capsys.readouterr().err
    stands = checkpoint(run, 16)
    assert "3 updates of G and 3 updates of D in a row were skipped at 0.016 kimg" in error
    assert f"There is no good checkpoint to go back to; {stands} stands" in error
    assert not is_marked_good(stands)
    progress = load_checkpoint(stands)[0]["state"]["progress"]
    assert (progress["streak"]["D"], progress["skipped"]["D"]) == (3, 3)
    assert resume(run, "0.02") == 2  # it is no better now
    monkeypatch.undo()
    assert resume(run, "0.024", "--snap", "1") == 0
    assert is_marked_good(checkpoint(run, 24))


def test_training_never_goes_back_where_it_is_told_so(tmp_path: Path, monkeypatch) -> None:
    run = tmp_path / "run"
    plant(monkeypatch, lambda state, player: state.step >= 2)
    assert train(run, "--roll-back-after", "0", kimg="0.032") == 0
    assert [is_marked_good(path) for path in checkpoints(run)] == [True, False, False, False]
    assert figures(run)[-1]["skipped/D"] == 6
    good, bad = (load_checkpoint(checkpoint(run, n))[0]["state"]["players"]["D"] for n in (8, 32))
    assert_same(good["modules"], bad["modules"])
    assert_same(good["optimizer"], bad["optimizer"])


def test_the_last_good_checkpoint_is_kept(tmp_path: Path, monkeypatch) -> None:
    run = tmp_path / "run"
    plant(monkeypatch, lambda state, player: state.step >= 2)
    assert train(run, "--roll-back-after", "0", "--keep", "2", kimg="0.04") == 0
    assert checkpoints(run) == [checkpoint(run, n) for n in (8, 32, 40)]


def test_what_is_good_is_whole_finite_and_of_no_streak(tmp_path: Path) -> None:
    state: TrainState = GAMES["stylegan2"]()
    step(state)
    assert is_good(state, state.capture())
    state.streak["G"] += 1
    assert not is_good(state, state.capture())
    state.streak["G"].zero_()
    places = {
        "a weight": next(state.game.averages["G"].module.parameters()),
        "a buffer": state.buffers[0],
        "a moment": next(iter(state.game.players[1].optimizer.state.values()))["exp_avg_sq"],
        "an extra": state.game.players[0].extras["path_length"].mean,  # type: ignore[attr-defined]
    }
    for name, tensor in places.items():
        before = tensor.detach().clone()
        with torch.no_grad():
            tensor.view(-1)[-1] = math.inf
            assert not is_good(state, state.capture()), name
            tensor.copy_(before)
    assert is_good(state, state.capture())

    def save(images: int, value: float, **metadata: Any) -> Path:
        save_checkpoint(checkpoint(tmp_path, images), {"w": torch.tensor([value])}, metadata=metadata)
        return checkpoint(tmp_path, images)

    assert last_good(tmp_path) is None
    older = save(4, 4.0)  # of a fastgan that did not mark them
    save(8, math.nan)
    save(12, 12.0, good=False)
    damaged = save(16, 16.0, good=True)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    found = last_good(tmp_path)
    assert found is not None and found[0] == older and found[1]["w"] == 4
    assert read_metadata(older).get("good") is None


def test_events_for_tensorboard_tell_one_history(tmp_path: Path, monkeypatch) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    plant(monkeypatch, once(3, 4, 5))
    assert train(tmp_path / "run", "--tensorboard", kimg="0.028") == 0
    events = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("loss/G")] == [4, 8, 12, 16, 20, 24, 28]


def test_a_state_is_restored_where_it_lies() -> None:
    state: TrainState = GAMES["stylegan2"]()
    step(state)
    saved = state.capture()
    saved = {**saved, "players": {name: _copied(part) for name, part in saved["players"].items()}}
    tensors = [t for player in state.game.players for each in player.optimizer.state.values() for t in each.values()]
    tensors += [*state.streak.values(), *state.skipped.values(), *state.buffers]
    places = [t.data_ptr() for t in tensors]
    step(state)
    state.restore(saved)
    now = [t for player in state.game.players for each in player.optimizer.state.values() for t in each.values()]
    now += [*state.streak.values(), *state.skipped.values(), *state.buffers]
    assert [t.data_ptr() for t in now] == places and [id(t) for t in now] == [id(t) for t in tensors]
    for name, value in flatten(saved["players"]):
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, dict(flatten(state.capture()["players"]))[name]), name


def _copied(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _copied(part) for name, part in tree.items()}
    return tree.clone() if isinstance(tree, torch.Tensor) else tree
