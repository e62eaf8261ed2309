"""fastgan train --resume-from: a new run that begins with the networks of another."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from fastgan.checkpoint import load_checkpoint, save_checkpoint
from fastgan.cli.main import main
from fastgan.report import read_stats
from fastgan.train.folder import latest_checkpoint
from tests.cli.test_train import TINY, assert_same, state_of

SHORT = ["--batch", "4", "--tick", "0.004", "--snap", "2", "--device", "cpu", "--threads", "1"]
FACES = ["--data", "emoji64", "--classes", "smileys/faces", "--max-images", "8", "--resolution", "16"]
TWO = ["--data", "emoji64", "--classes", "smileys/faces", "food", "--max-images", "12", "--resolution", "16", "--cond"]


def transfer(run: Path, outdir: Path, *options: str, kimg: str = "0.008") -> int:
    return main(["train", "--resume-from", str(run), "--outdir", str(outdir), "--kimg", kimg, *SHORT, *options])


def record(run: Path) -> dict[str, Any]:
    return json.loads((run / "config.json").read_text())["transferred_from"]


def network(tree: dict[str, Any], name: str) -> dict[str, torch.Tensor]:
    return tree["state"]["players"][name]["modules"][name]


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 0.012 kimg; not to be written to."""
    run = tmp_path_factory.mktemp("parent") / "run"
    assert main(["train", *TINY, "--outdir", str(run), "--kimg", "0.012", "--ema-kimg", "1", "--metrics", "swd"]) == 0
    return run


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Runs as they stand before their first step, which they do not make."""
    seen: list[Any] = []
    monkeypatch.setattr("fastgan.cli.train._train", lambda training, notes, console: seen.append(training) or 0)
    return seen


def test_a_transfer_to_other_images_keeps_networks_and_average_and_nothing_else(tmp_path, parent, begun) -> None:
    before = {path.name: path.read_bytes() for path in parent.iterdir()}
    assert transfer(parent, tmp_path / "run", *FACES) == 0
    state, tree = begun[0].state, state_of(parent)
    G, D = (player.modules[player.name] for player in state.game.players)
    expected = {"G": network(tree, "G"), "D": network(tree, "D"), "average": tree["G_ema"]}
    for name, module in {"G": G, "D": D, "average": state.game.averages["G"].module}.items():
        assert_same(dict(module.state_dict()), expected[name])
    assert not torch.equal(expected["G"]["synthesis.const"], expected["average"]["synthesis.const"])
    assert state.images == state.step == 0 and begun[0].scores.known == []
    assert all(not player.optimizer.state for player in state.game.players)
    assert state.game.players[1].source.state_dict()["position"] == 0
    assert state.game.players[0].extras["path_length"].state_dict()["mean"] == 0
    assert {path.name: path.read_bytes() for path in parent.iterdir()} == before


def test_a_transfer_is_told_recorded_and_goes_on_like_any_run(tmp_path, parent, capsys) -> None:
    run = tmp_path / "run"
    assert transfer(parent, run, *FACES) == 0
    said = capsys.readouterr().out
    newest = latest_checkpoint(parent)
    assert f"begins with the networks and averages of {newest}, 0.012 kimg" in said
    assert "  G: all 46 tensors kept\n  D: all 18 tensors kept\n" in said
    assert "optimizers, kimg, random numbers, the order of the images, augmentation and metrics begin anew" in said
    told = record(run)
    assert told["run"] == str(parent) and told["kimg"] == 0.012 and told["changes"] == {}
    assert told["kept"] == {"G": "all 46 tensors kept", "D": "all 18 tensors kept"} and len(told["begins_anew"]) == 1
    config = json.loads((run / "config.json").read_text())
    assert config["architecture"] == json.loads((parent / "config.json").read_text())["architecture"]
    assert config["training"]["ema_rampup"] == 0 and config["training"]["kimg"] == 0.008
    assert config["training"]["ema_kimg"] is None and config["data"]["classes"] == ["smileys/faces"]
    assert [line["kimg"] for line in read_stats(run / "stats.jsonl")] == [0.004, 0.008]
    assert "all 46 tensors kept" in (run / "report.html").read_text()
    assert main(["train", "--resume", str(run), "--kimg", "0.016", "--threads", "1"]) == 0
    assert record(run) == told
    path = latest_checkpoint(run)
    assert path is not None and load_checkpoint(path)[1]["transferred_from"] == told
    whole = tmp_path / "whole"
    assert transfer(parent, whole, *FACES, kimg="0.016") == 0
    assert_same(state_of(whole)["state"], state_of(run)["state"])
    assert_same(state_of(whole)["G_ema"], state_of(run)["G_ema"])


def test_without_other_data_the_run_s_own_are_taken(tmp_path, parent, begun) -> None:
    assert transfer(parent, tmp_path / "run") == 0
    mine, other = begun[0].config.data, json.loads((parent / "config.json").read_text())["data"]
    assert (mine.max_images, list(mine.classes), list(mine.resolution)) == (12, other["classes"], [16, 16])


def test_options_are_a_new_run_s(tmp_path, parent, begun) -> None:
    assert transfer(parent, tmp_path / "run", "--glr", "0.001", "--ema-rampup", "0.1", "--set", "style_mixing=0") == 0
    training = begun[0].config.training
    assert (training.g_lr, training.ema_rampup, training.metrics, training.pl_weight) == (0.001, 0.1, (), 2.0)
    assert begun[0].config.architecture["style_mixing"] == 0 and begun[0].config.architecture["channel_base"] == 64


def test_labels_begin_anew_and_the_rest_is_kept(tmp_path, parent, begun, capsys) -> None:
    assert transfer(parent, tmp_path / "run", *TWO) == 0
    told = begun[0].lineage["transferred_from"]
    assert told["changes"] == {"num_classes": [0, 2]} and told["kept"] == {
        "G": "45 of 48 tensors kept",
        "D": "16 of 36 tensors kept",
    }
    assert {"G.mapping.embed.weight (new) [8, 2]", "G.mapping.layers.0.weight [8, 8] -> [8, 16]"} <= set(
        told["begins_anew"]
    )
    state, tree = begun[0].state, state_of(parent)
    average, G = state.game.averages["G"].module.state_dict(), state.game.players[0].modules["G"].state_dict()
    assert torch.equal(average["synthesis.const"], tree["G_ema"]["synthesis.const"])
    assert torch.equal(average["mapping.layers.0.weight"], G["mapping.layers.0.weight"])  # both as they were drawn
    assert torch.equal(G["synthesis.const"], network(tree, "G")["synthesis.const"])
    assert G["mapping.embed.weight"].shape == (8, 2)


@pytest.mark.thorough
def test_labels_may_be_given_up_and_counted_otherwise(tmp_path, parent, capsys) -> None:
    assert transfer(parent, tmp_path / "two", *TWO) == 0
    assert transfer(tmp_path / "two", tmp_path / "one", *FACES, "--cond") == 0
    assert "num_classes: 2, now 1" in capsys.readouterr().out
    assert "G.mapping.embed.weight [8, 2] -> [8, 1]" in record(tmp_path / "one")["begins_anew"]
    assert transfer(tmp_path / "two", tmp_path / "none", *FACES, "-n") == 0
    assert "mapping.embed.weight [8, 2] (left out)" in capsys.readouterr().out


@pytest.mark.thorough
def test_another_resolution_keeps_what_fits_and_says_how_to_keep_more(tmp_path, parent, capsys) -> None:
    assert transfer(parent, tmp_path / "run", "--resolution", "32", "--max-images", "4") == 0
    said = capsys.readouterr().out
    assert "resolution: (16, 16), now (32, 32)" in said and "--resolution 16x16 would bring the images" in said
    assert "10 more" in said and "synthesis.layers.5.weight (new) [2, 4, 3, 3]" in said
    assert network(state_of(tmp_path / "run"), "G")["synthesis.layers.5.weight"].shape[2:] == (3, 3)


def test_data_without_a_resolution_have_their_own(tmp_path, parent, begun) -> None:
    assert transfer(parent, tmp_path / "run", "--data", "emoji64", "--max-images", "4") == 0
    assert begun[0].config.architecture["resolution"] == (64, 64) and begun[0].config.data.classes == ()


@pytest.mark.thorough
def test_frozen_layers_stay_to_the_bit_through_training_and_resume(tmp_path, parent, capsys) -> None:
    run = tmp_path / "run"
    assert transfer(parent, run, *FACES, "--freezed", "2", "--d-repeats", "2") == 0
    assert (
        "; frozen: from_rgb.weight, from_rgb.bias, blocks.0.conv0.weight, blocks.0.conv0.bias"
        in capsys.readouterr().out
    )
    assert main(["train", "--resume", str(run), "--kimg", "0.016", "--threads", "1"]) == 0
    before, after = network(state_of(parent), "D"), network(state_of(run), "D")
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == {"from_rgb.weight", "from_rgb.bias", "blocks.0.conv0.weight", "blocks.0.conv0.bias"}
    assert set(state_of(run)["state"]["players"]["D"]["optimizer"]) == set(range(4, 18))
    whole = tmp_path / "whole"
    assert transfer(parent, whole, *FACES, "--freezed", "2", "--d-repeats", "2", kimg="0.016") == 0
    assert_same(state_of(whole)["state"], state_of(run)["state"])


@pytest.mark.thorough
def test_a_branch_may_freeze_and_thaw(tmp_path, parent) -> None:
    options = ["--threads", "1", "--kimg"]
    assert (
        main(["train", "--branch", str(parent), "--outdir", str(tmp_path / "a"), *options, "0.016", "--freezed", "3"])
        == 0
    )
    assert (
        main(
            [
                "train",
                "--branch",
                str(tmp_path / "a"),
                "--outdir",
                str(tmp_path / "b"),
                *options,
                "0.02",
                "--freezed",
                "0",
            ]
        )
        == 0
    )
    first, frozen, thawed = (
        network(state_of(run), "D")["from_rgb.weight"] for run in (parent, tmp_path / "a", tmp_path / "b")
    )
    assert torch.equal(first, frozen) and not torch.equal(frozen, thawed)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--cfg", "dcgan"], "is a stylegan2, asked dcgan; leave --cfg out"),
        (["--cbase", "32"], "without these options: channel_base is 64, now 32; leave them out, or begin a new run"),
        (["--set", "w_dim=16"], "would fit without these options: w_dim is 8, now 16; leave them out"),
        (["--resume", "auto"], "begins a new run with another's networks; it does not go with --resume, which"),
        (["--config", "my.json"], "it does not go with --config, which begins from nothing"),
        (["--resume-from", "nowhere"], "--resume-from: nowhere does not exist"),
        (["--data", "nowhere"], "nowhere: no such file or folder"),
        (["--freezed", "10"], "freezed must be at most 9, for D has 10 layers and one must learn; got 10"),
        (["--freezed", "1", "--channels", "1"], "freezed must leave out what begins anew, and D.from_rgb.weight does"),
        (["--freezed", "-1"], "freezed must be an integer of at least 0, got -1"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_before_anything_is_written(tmp_path, parent, capsys, options, words) -> None:
    assert transfer(parent, tmp_path / "run", *options) == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_layers_are_not_frozen_at_random(tmp_path, capsys) -> None:
    assert main(["train", *TINY, "--outdir", str(tmp_path / "run"), "--freezed", "2"]) == 2
    assert (
        "--freezed keeps layers of D as another run had them, and this one begins from nothing"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "run").exists()


def test_frozen_layers_are_part_of_what_a_run_is(tmp_path, parent, capsys) -> None:
    run = shutil.copytree(parent, tmp_path / "run")
    assert main(["train", "--resume", str(run), "--freezed", "2", "--kimg", "0.016"]) == 2
    assert "freezed is 0, asked 2" in capsys.readouterr().err


def test_a_checkpoint_of_which_nothing_fits(tmp_path, parent, capsys) -> None:
    path = latest_checkpoint(parent)
    assert path is not None
    tree, metadata = load_checkpoint(path)
    for name in "GD":
        tree["state"]["players"][name]["modules"][name] = {"other": torch.zeros(3)}
    alone = tmp_path / "alone.safetensors"
    save_checkpoint(alone, tree, metadata=metadata)
    assert transfer(alone, tmp_path / "run") == 2
    assert f"no weight of {alone} fits the networks of this run" in " ".join(capsys.readouterr().err.split())
    del tree["state"]["players"]
    save_checkpoint(alone, tree, metadata=metadata)
    assert transfer(alone, tmp_path / "run") == 2
    assert f"checkpoint {alone} does not fit this fastgan" in " ".join(capsys.readouterr().err.split())


def test_one_beginning_is_enough(tmp_path, parent, capsys) -> None:
    assert transfer(parent, tmp_path / "run", "--branch", str(parent)) == 2
    words = "--branch begins a new run from another's state; it does not go with --resume-from, which begins a new run"
    assert words in capsys.readouterr().err


def test_help_is_of_the_run_s_family(parent, capsys) -> None:
    assert main(["train", "--resume-from", str(parent), "--help"]) == 0
    said = capsys.readouterr().out
    assert "--freezed" in said and "--style-mixing" in said
