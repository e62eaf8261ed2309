"""fastgan train --config: a whole configuration, a part of one, the folder of a run, and files that are none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from fastgan.cli.configuration import read_config
from fastgan.cli.main import main
from fastgan.config.data import DataOptions
from fastgan.models.registry import family
from tests.cli.test_train import assert_same, state_of, train


def config_file(tmp_path: Path, **changes: dict) -> Path:
    """The configuration of a small run; each section of `changes` is merged into its own."""
    tree = {
        "model": "stylegan2",
        "architecture": {"channel_base": 64, "channel_max": 8, "z_dim": 8, "w_dim": 8, "mapping_layers": 1},
        "data": {"source": "emoji64", "classes": ["food"], "max_images": 12, "resolution": [16, 16]},
        "training": {"batch": 4, "kimg": 0.004, "tick": 0.004, "r1_gamma": 3},
    }
    path = tmp_path / "my.json"
    path.write_text(json.dumps(tree | {name: {**tree[name], **given} for name, given in changes.items()}))
    return path


def test_a_configuration_file_starts_the_same_run(tmp_path: Path) -> None:
    assert train(tmp_path / "run", "--kimg", "0.004", "--gamma", "3") == 0
    path = tmp_path / "run" / "config.json"
    repeated = ["train", "--config", str(path), "--outdir", str(tmp_path / "again"), "--resume", "auto"]
    assert main([*repeated, "--threads", "1"]) == 0
    assert path.read_text() == (tmp_path / "again" / "config.json").read_text()
    assert_same(state_of(tmp_path / "run")["G_ema"], state_of(tmp_path / "again")["G_ema"])
    # The same command goes on, and sees whether the file is still that of the run.
    assert main([*repeated, "--threads", "1"]) == 0
    path.write_text(path.read_text().replace('"g_lr": 0.0025', '"g_lr": 0.5'))
    assert main(repeated) == 2


def test_options_go_before_the_configuration_file_and_families_fill_it(tmp_path: Path) -> None:
    path = config_file(tmp_path, data={"classes": []})
    given = ["--config", str(path), "--batch", "2", "--set", "w_dim=6", "--cond", "--outdir", str(tmp_path / "run")]
    assert main(["train", *given, "--threads", "1"]) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["training"]["batch"] == 2 and config["training"]["penalties"] == {"r1": [3, 16]}
    assert config["training"]["g_lr"] == 0.0025  # StyleGAN2's own, not the general 0.002
    assert config["architecture"]["w_dim"] == 6 and config["architecture"]["z_dim"] == 8
    assert config["data"]["cond"] is True and config["architecture"]["num_classes"] == 9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"batch": "many"}}, "my.json: training: batch must be an integer of at least 1, got 'many'"),
        (
            {"training": {"gamma": 1}},
            "my.json: training: there is no field 'gamma'; did you mean 'r1_gamma'? There are batch, ",
        ),
        (
            {"architecture": {"wdim": 8}},
            "my.json: architecture: there is no field 'wdim'; did you mean 'w_dim'? There are resolution, ",
        ),
        ({"architecture": {"z_dim": [8]}}, "my.json: architecture: z_dim must be an integer of at least 1, got [8]"),
        (
            {"architecture": {"resolution": 32}},
            "my.json: architecture: resolution is (32, 32), but the data give (16, 16)",
        ),
        ({"data": {"classes": "food"}}, "my.json: data: classes must be a list of names, got 'food'"),
        ({"data": {"cond": "yes"}}, "my.json: data: cond must be one of False, True, got 'yes'"),
    ],
)
def test_errors_name_the_configuration_file_and_the_field(tmp_path, capsys, changes, message) -> None:
    path = config_file(tmp_path, **changes)
    capsys.readouterr()
    assert main(["train", "--config", str(path), "--outdir", str(tmp_path / "other")]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "my.json: line 1: not valid JSON: Expecting property name enclosed in double quotes (column 2)"),
        ("[" * 100_000, "my.json: not valid JSON"),
        ("[]", "my.json: must be an object with model, architecture, data, training; got []"),
        (
            '{"model": "biggan"}',
            "my.json: model: model must be one of cyclegan, dcgan, pix2pix, r3gan, stylegan2, stylegan3-r, "
            "stylegan3-t; got 'biggan'",
        ),
        ('{"model": "dcgan", "data": []}', "my.json: data: must be an object of fields and values, got []"),
        (
            '{"model": "dcgan", "extra": 1}',
            "my.json: there is no section 'extra'. There are model, data, training, architecture",
        ),
        ('{"model": "dcgan"}', "--cfg stylegan2: "),
    ],
)
def test_a_file_that_is_no_configuration_is_named(tmp_path, capsys, text, message) -> None:
    (tmp_path / "my.json").write_text(text)
    command = ["train", "--config", str(tmp_path / "my.json"), "--cfg", "stylegan2", "--outdir", str(tmp_path / "run")]
    assert main(command) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("given", [None, "dcgan"])
def test_a_part_of_a_configuration_is_taken_and_the_family_fills_it(tmp_path: Path, given: str | None) -> None:
    path, name = tmp_path / "part.json", given or "stylegan2"
    path.write_text('{"training": {"batch": 8}}')
    config = read_config(path, given)
    assert config.model == name and config.architecture == {} and config.data == DataOptions()
    training: Any = config.training
    defaults: Any = family(name).options()
    assert training.batch == 8 and training.g_lr == defaults.g_lr
    path.write_text('{"data": {"resolution": 32, "max_images": 4}}')
    config = read_config(path, given)
    assert config.data == DataOptions(resolution=(32, 32), max_images=4)
    assert config.training == family(name).options()
    path.write_text('{"architecture": {"z_dim": 24}}')
    assert read_config(path, given).architecture == {"z_dim": 24}
    path.write_text("{}")
    assert read_config(path, given).training == family(name).options()


def test_a_part_and_options_beside_it_give_one_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "part.json").write_text('{"model": "dcgan", "data": {"max_images": 4}}')
    given = ["--config", str(tmp_path / "part.json"), "--resolution", "16", "--batch", "2"]
    assert main(["train", "-n", *given, "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert '"model": "dcgan"' in said and '"batch": 2' in said and "4 images, 16×16" in said


def test_the_folder_of_a_run_stands_for_its_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config_file(tmp_path).rename(tmp_path / "config.json")
    assert main(["train", "-n", "--config", str(tmp_path), "--device", "cpu"]) == 0
    assert '"r1": [ 3, 16 ]' in " ".join(capsys.readouterr().out.split())
    (tmp_path / "config.json").unlink()
    for path, what in ((tmp_path, "is a folder without a config.json"), (tmp_path / "gone", "does not exist")):
        assert main(["train", "-n", "--config", str(path)]) == 2
        assert f"--config: {path} {what}; expected a run's config.json" in capsys.readouterr().err


def test_a_checkpoint_given_as_configuration_is_told_apart(tmp_path: Path, capsys) -> None:
    assert train(tmp_path / "run", "--kimg", "0.004") == 0
    path = next((tmp_path / "run").glob("*.safetensors"))
    for each in (path, Path(shutil.copy(path, tmp_path / "run" / "weights"))):
        assert main(["train", "-n", "--config", str(each)]) == 2
        said = capsys.readouterr().err
        assert f"--config: {each} is a checkpoint; to go on from it: fastgan train --resume {each}; " in said
        assert f"--config {tmp_path / 'run' / 'config.json'}" in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"training": {"batchh": 4}}', "my.json: training: there is no field 'batchh'; did you mean 'batch'? There"),
        ('{"trainign": {"batch": 4}}', "my.json: there is no section 'trainign'; did you mean 'training'? There are"),
        ('{"batch": 4}', "my.json: there is no section 'batch'; it belongs into training"),
        ('{"training": {"z_dim": 4}}', "my.json: training: there is no field 'z_dim'; it belongs into architecture"),
        ('{"data": {"batch": 4}}', "my.json: data: there is no field 'batch'; it belongs into training"),
        ('{"training": {"batch": 4, "batch": 8}}', "my.json: not valid JSON: 'batch' stands twice in one object"),
        (
            '{\n "training": {\n  "batch": 4,\n }\n}',
            "my.json: line 4: not valid JSON: a comma before } or ]; remove it",
        ),
        ('{"data": {"classes": ["food",]}}', "my.json: line 1: not valid JSON: a comma before } or ]; remove it"),
        ('{\n // mine\n "training": {}}', "my.json: line 2: not valid JSON: JSON has no comments; got '// mine'"),
        ('{"training": {}} # mine', "my.json: line 1: not valid JSON: JSON has no comments; got '# mine'"),
        ("{'training': {}}", "my.json: line 1: not valid JSON: JSON writes names and texts between double quotes"),
        ('{"training": {"mirror": True}}', "not valid JSON: JSON writes true, false and null; got 'True}}'"),
        ("model: stylegan2", "not valid JSON: JSON writes names and texts between double quotes; got 'model: styl"),
        (" \n", "my.json: line 2: not valid JSON: the file is empty; expected an object like"),
        (b'{"model": "\xe9"}', "my.json: is no text in UTF-8 (byte 11); expected JSON"),
    ],
)
def test_slips_in_a_configuration_are_named(tmp_path: Path, capsys, text: str | bytes, message: str) -> None:
    (tmp_path / "my.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert main(["train", "-n", "--config", str(tmp_path / "my.json")]) == 2
    assert message in capsys.readouterr().err


def test_a_configuration_saved_by_an_editor_that_marks_utf8_is_read(tmp_path: Path) -> None:
    (tmp_path / "my.json").write_bytes(b'\xef\xbb\xbf{"training": {"batch": 8}}')
    assert read_config(tmp_path / "my.json", None).training.batch == 8
