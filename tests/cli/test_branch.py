"""fastgan train --branch: a new run that begins with all the state of another."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fastgan.checkpoint import load_checkpoint
from fastgan.cli.main import main
from fastgan.report import read_stats
from fastgan.train.folder import checkpoints, latest_checkpoint
from tests.cli.test_moved_data import NETWORKS, add, draw, make, relabel
from tests.cli.test_train import assert_same, state_of

pytestmark = pytest.mark.thorough


def branch(run: Path, outdir: Path, *options: str, kimg: str = "0.024") -> int:
    return main(["train", "--branch", str(run), "--outdir", str(outdir), "--kimg", kimg, "--threads", "1", *options])


def record(run: Path) -> dict:
    return json.loads((run / "config.json").read_text())["branched_from"]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    return make(tmp_path_factory.mktemp("data") / "data")


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A conditional run of 0.012 kimg; not to be written to."""
    run = tmp_path_factory.mktemp("parent") / "run"
    options = ["--data", str(data), *NETWORKS, "--cond", "--keep", "0", "--kimg", "0.012", "--snap", "1"]
    assert main(["train", *options, "--outdir", str(run), "--metrics", "swd"]) == 0
    return run


@pytest.fixture(scope="module")
def continued(tmp_path_factory: pytest.TempPathFactory, parent: Path) -> Path:
    """The same run, gone on to 0.024 kimg."""
    run = shutil.copytree(parent, tmp_path_factory.mktemp("continued") / "run")
    assert main(["train", "--resume", str(run), "--kimg", "0.024", "--threads", "1"]) == 0
    return run


def test_a_branch_without_changes_is_the_run_itself(tmp_path, parent, continued) -> None:
    before = contents(parent)
    assert branch(parent, tmp_path / "run") == 0
    for part in ("state", "G_ema", "scores", "data"):
        assert_same(state_of(continued)[part], state_of(tmp_path / "run")[part])
    assert contents(parent) == before
    assert record(tmp_path / "run") == {
        "run": str(parent), "checkpoint": "checkpoint-000000.012.safetensors", "kimg": 0.012,
        "changes": {"kimg": [0.012, 0.024]}, "begins_anew": [],
    }  # fmt: skip
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"reals.png", "grid-000000.012.png", "report.html", "stats.jsonl"} <= names
    assert [line["kimg"] for line in read_stats(tmp_path / "run" / "stats.jsonl")] == [0.016, 0.02, 0.024]


def test_a_branch_of_an_older_checkpoint(tmp_path, parent, continued) -> None:
    older = checkpoints(parent)[0]
    assert branch(older, tmp_path / "run") == 0
    assert_same(state_of(continued)["state"], state_of(tmp_path / "run")["state"])
    assert record(tmp_path / "run")["kimg"] == 0.004


def test_a_branch_goes_on_like_any_run(tmp_path, parent, continued) -> None:
    assert branch(parent, tmp_path / "run", kimg="0.016") == 0
    before = record(tmp_path / "run")
    assert main(["train", "--resume", str(tmp_path / "run"), "--kimg", "0.024", "--threads", "1"]) == 0
    assert_same(state_of(continued)["state"], state_of(tmp_path / "run")["state"])
    assert record(tmp_path / "run") == before
    path = latest_checkpoint(tmp_path / "run")
    assert path is not None and load_checkpoint(path)[1]["branched_from"] == before
    assert branch(tmp_path / "run", tmp_path / "again", kimg="0.028") == 0  # and may be branched from
    assert record(tmp_path / "again")["run"] == str(tmp_path / "run")


def test_a_branch_with_other_options_lists_them(tmp_path, parent, continued, capsys) -> None:
    run = tmp_path / "run"
    options = ["--batch", "6", "--glr", "0.001", "--loss", "hinge", "--gamma", "5", "--set", "betas=[0.5, 0.9]"]
    assert branch(parent, run, *options) == 0
    said = capsys.readouterr().out
    changes = record(run)["changes"]
    assert changes["batch"] == [4, 6] and changes["g_lr"] == [0.0025, 0.001]
    assert changes["loss"] == ["nonsaturating", "hinge"] and changes["weight of r1"][1] == 5
    assert changes["half-life of the average, kimg"] == [1.25, 1.875]
    for words in (
        "branched from",
        "batch: 4, now 6",
        "g_lr: 0.0025, now 0.001",
        "penalties: r1=auto/16, now r1=5/16",
        "half-life of the average, kimg: 1.25",
    ):
        assert words in said
    page = (run / "report.html").read_text()
    assert '"batch":"4 → 6"' in page or '"batch":"4 \\u2192 6"' in page
    config = json.loads((run / "config.json").read_text())
    assert config["training"]["batch"] == 6 and config["training"]["loss"] == "hinge"
    state = state_of(run)["state"]
    assert state["progress"]["images"] == 24 and state["progress"]["step"] == 3 + 2
    assert state["players"]["D"]["source"]["position"] == 12 and state["players"]["D"]["source"]["epoch"] == 1
    assert main(["train", "--resume", str(run), "--kimg", "0.03", "--threads", "1"]) == 0
    assert main(["train", "--config", str(run / "config.json"), "--outdir", str(tmp_path / "fresh"), "--kimg", "0.006",
                 "--threads", "1"]) == 0  # fmt: skip


def test_new_rates_reach_the_optimizers_and_old_moments_stay(tmp_path, parent, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr("fastgan.cli.train._train", lambda training, notes, console: seen.append(training) or 0)
    assert branch(parent, tmp_path / "run", "--glr", "0.001", "--set", "betas=[0.5, 0.9]") == 0
    (training,) = seen
    G, D = training.game.players
    lazy = 4 / 5  # the path length comes every fourth step
    group = G.optimizer.param_groups[0]
    assert group["lr"] == pytest.approx(0.001 * lazy)
    assert group["betas"] == pytest.approx((0.5**lazy, 0.9**lazy))
    assert D.optimizer.param_groups[0]["lr"] == pytest.approx(0.0025 * 16 / 17)
    moments = G.optimizer.state[G.parameters[0]]
    saved = state_of(parent)["state"]["players"]["G"]["optimizer"][0]
    assert_same({name: saved[name] for name in ("exp_avg", "exp_avg_sq")},
                {name: moments[name] for name in ("exp_avg", "exp_avg_sq")})  # fmt: skip


def test_a_branch_on_more_images_says_what_begins_anew(tmp_path, data, parent, capsys) -> None:
    more = shutil.copytree(data, tmp_path / "more")
    add(more)
    assert branch(parent, tmp_path / "run", "--data", str(more)) == 0
    assert "the order of the images begins anew" in capsys.readouterr().out
    told = record(tmp_path / "run")
    assert told["changes"]["data"][1] == "3 images more than when the run began (15; then 12)"
    assert told["changes"]["source"] == [str(data), str(more)] and len(told["begins_anew"]) == 1
    tree = state_of(tmp_path / "run")
    assert tree["state"]["players"]["D"]["source"] == {"seed": 0, "epoch": 0, "position": 12}
    assert "begins anew" in (tmp_path / "run" / "report.html").read_text()
    assert [score["kimg"] for score in tree["scores"]] == [0.016, 0.02, 0.024]


def test_a_branch_on_the_same_images_elsewhere_keeps_their_order(tmp_path, data, parent, continued) -> None:
    copy = shutil.copytree(data, tmp_path / "copy")
    assert branch(parent, tmp_path / "run", "--data", str(copy)) == 0
    assert_same(state_of(continued)["state"], state_of(tmp_path / "run")["state"])


def test_a_branch_with_other_labels(tmp_path, data, parent) -> None:
    other = shutil.copytree(data, tmp_path / "other")
    relabel(other)
    assert branch(parent, tmp_path / "run", "--data", str(other)) == 0
    assert record(tmp_path / "run")["changes"]["data"][1] == "other labels or class names"
    assert record(tmp_path / "run")["begins_anew"] == []


def test_a_branch_with_another_seed_draws_other_numbers(tmp_path, parent, continued) -> None:
    assert branch(parent, tmp_path / "run", "--seed", "5") == 0
    assert record(tmp_path / "run")["begins_anew"] == [
        "random numbers and the order of the images begin anew: another seed"
    ]
    mine, other = state_of(tmp_path / "run")["state"], state_of(continued)["state"]
    assert mine["players"]["D"]["source"] == {"seed": 5, "epoch": 0, "position": 12}
    assert not (mine["rng"]["cpu"] == other["rng"]["cpu"]).all()


def test_a_branch_that_adds_or_drops_the_path_length_penalty(tmp_path, parent) -> None:
    assert branch(parent, tmp_path / "without", "--pl-weight", "0", kimg="0.016") == 0
    assert branch(tmp_path / "without", tmp_path / "with", "--pl-weight", "2", kimg="0.024") == 0
    assert record(tmp_path / "with")["begins_anew"] == ["the running mean of path lengths begins: the run had none"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--resume", "auto"], "it does not go with --resume, which goes on with a run"),
        (["--config", "my.json"], "it does not go with --config, which begins from nothing"),
        (["--cbase", "32"], "have other shapes: channel_base is 64, now 32; leave these options out"),
        (["--resolution", "32"], "resolution is (16, 16), now (32, 32); bring the images to the networks' size by "),
        (["--cfg", "dcgan"], "is a stylegan2, asked dcgan; leave --cfg out"),
        (["--classes", "cats"], "num_classes is 2, now 1; choose as many classes as the networks know"),
        (["--channels", "1"], "img_channels is 3, now 1; bring the images to it by --channels 3"),
        (["--kimg", "0.01"], "has come to 0.012 kimg, so a run of 0.01 kimg has nothing left to train"),
        (["--branch", "nowhere"], "--branch: nowhere does not exist"),
    ],
)
def test_what_a_branch_cannot_be_is_said_before_anything_is_written(tmp_path, parent, capsys, options, words) -> None:
    assert branch(parent, tmp_path / "run", *options) == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_a_branch_needs_a_folder_of_its_own(parent, capsys) -> None:
    assert main(["train", "--branch", str(parent), "--kimg", "1"]) == 2
    assert "--outdir is needed" in capsys.readouterr().err
    assert branch(parent, parent) == 2
    assert "already holds a run" in capsys.readouterr().err


def test_a_dry_branch_shows_what_would_change(tmp_path, parent, capsys) -> None:
    assert branch(parent, tmp_path / "run", "--batch", "8", "-n") == 0
    assert "batch: 4, now 8" in capsys.readouterr().out and not (tmp_path / "run").exists()


def test_architecture_that_changes_no_shape_may_change(tmp_path, parent) -> None:
    assert branch(parent, tmp_path / "run", "--set", "style_mixing=0", kimg="0.016") == 0
    assert record(tmp_path / "run")["changes"]["style_mixing"] == [0.9, 0]


def test_a_branch_onto_a_streamed_folder_that_changed(tmp_path) -> None:
    data, run = make(tmp_path / "data"), tmp_path / "run"
    first = ["--data", str(data), *NETWORKS, "--stream", "True", "--kimg", "0.012", "--outdir", str(run)]
    assert main(["train", *first]) == 0
    draw(data / "cats" / "03.png", 99)
    assert branch(run, tmp_path / "branch") == 0
    assert record(tmp_path / "branch")["changes"]["data"][1].startswith("as many images, not compared: ")
    assert state_of(tmp_path / "branch")["state"]["progress"]["images"] == 24
    assert main(["train", "--resume", str(run), "--kimg", "0.024", "--cfg", "dcgan"]) == 2
