"""Translations from the command line: pairs made, trained on, resumed to the bit, shown, and used."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from fastgan.checkpoint import latest_checkpoint, load_checkpoint
from fastgan.cli.main import main

pytestmark = pytest.mark.thorough

SMALL = ["--set", "channel_base=4", "d_channel_base=4", "receptive_field=16", "--device", "cpu", "--threads", "1"]
STEPS = ["--batch", "4", "--tick", "0.008", "--snap", "1", "--mirror", "--metrics", "swd", "--seed", "3"]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    command = ["dataset", "--source", "emoji64", "--classes", "smileys/heart", "--resolution", "32", "--pair", "grey"]
    assert main([*command, "--hold-out", "0.1", "--dest", str(folder / "hearts.zip")]) == 0
    return folder / "hearts.zip"


def train(pairs: Path, model: str, outdir: Path, *more: str) -> int:
    given = ["--data", str(pairs), "--held-out", str(pairs.with_name("hearts-held-out.zip")), "--outdir", str(outdir)]
    return main(["train", "--cfg", model, *given, *STEPS, *SMALL, *more])


def state(outdir: Path) -> dict[str, torch.Tensor]:
    """Every tensor of the newest checkpoint, by its place."""

    def flat(tree, place=""):
        if isinstance(tree, dict):
            for key, value in tree.items():
                yield from flat(value, f"{place}/{key}")
        elif isinstance(tree, torch.Tensor):
            yield place, tree

    newest = latest_checkpoint(outdir)
    assert newest is not None
    tree, _ = load_checkpoint(newest)
    return dict(flat({name: tree[name] for name in tree if name != "data"}))


@pytest.mark.parametrize("model", ["pix2pix", "cyclegan"])
def test_a_run_that_was_stopped_ends_as_one_left_alone(
    model: str, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--set", "buffer=6"] if model == "cyclegan" else []
    assert train(pairs, model, tmp_path / "whole", "--kimg", "0.024", "--decay", "1", *more) == 0
    monkeypatch.chdir(pairs.parent)
    relative = Path(pairs.name)
    assert train(relative, model, tmp_path / "parts", "--kimg", "0.024", "--decay", "1", *more) == 0
    first, *later = sorted((tmp_path / "parts").glob("checkpoint-*.safetensors"))
    for path in later:
        path.unlink()
    assert first.name == "checkpoint-000000.008.safetensors"
    monkeypatch.chdir(tmp_path)  # the data and the held-out pairs are found all the same
    assert main(["train", "--resume", str(tmp_path / "parts")]) == 0
    whole, parts = state(tmp_path / "whole"), state(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(value, parts[place]) for place, value in whole.items())
    if model == "cyclegan":
        buffers = [place for place in whole if place.endswith("/images") and "buffer_" in place]
        assert len(buffers) == 2 and all(whole[place].abs().sum() > 0 for place in buffers)
    assert "l1_to_target" in capsys.readouterr().out


def test_a_run_shows_inputs_outputs_and_targets_and_its_checkpoint_translates(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert train(pairs, "pix2pix", run, "--kimg", "0.008") == 0
    record = json.loads((run / "run.json").read_text())
    assert record["captions"] == ["input", "output", "target"] and record["floors"]["swd"] > 0
    assert "columns: ${run.captions.join" in (page := (run / "report.html").read_text())
    assert '"captions":["input","output","target"]' in page
    lines = [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]
    assert {"loss/G", "loss/l1", "loss/D", "score/real", "metric/swd", "metric/l1_to_target"} <= lines[-1].keys()
    with Image.open(run / "grid-000000.008.png") as grid:
        assert grid.width % (3 * 34) == 2 and grid.height % 34 == 2
    with Image.open(run / "reals.png") as grid:
        assert grid.width % (2 * 34) == 2
    Image.new("RGB", (45, 50), "red").save(tmp_path / "mine.png")
    given = [
        "translate",
        "--network",
        str(run),
        "--source",
        str(tmp_path / "mine.png"),
        "--outdir",
        str(tmp_path / "out"),
    ]
    assert main([*given, "--device", "cpu"]) == 0
    with Image.open(tmp_path / "out/mine.png") as made:
        assert made.size == (45, 50)
    capsys.readouterr()
    assert main(["generate", "--network", str(run), "--outdir", str(tmp_path / "no")]) == 2
    assert "is of a pix2pix, which translates images" in " ".join(capsys.readouterr().err.split())


def test_what_does_not_go_with_translations_is_told(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*command: str) -> str:
        assert main(["train", *command, "-n", "--device", "cpu"]) == 2
        return " ".join(capsys.readouterr().err.split())

    assert "pairs lie in two folders, a and b" in said("--cfg", "pix2pix", "--data", "emoji64")
    message = said("--cfg", "cyclegan", "--data", str(pairs), "--set", "generator=resnet", "num_downs=3")
    assert "num_downs must be 0 where the generator is a resnet, got 3" in message
    assert re.search("held.out", said("--cfg", "dcgan", "--held-out", str(pairs)))
    message = said("--cfg", "pix2pix", "--data", str(pairs), "--held-out", str(tmp_path / "gone.zip"))
    assert "no such file or folder" in message
    message = said("--cfg", "pix2pix", "--data", str(pairs), "--cond")
    assert "cond" in message


def other_pairs(folder: Path, darker: int) -> Path:
    """Four pairs that are not those of `pairs`."""
    for side in ("a", "b"):
        (folder / side).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (32, 32), (60 * number, 255 - darker, darker)).save(folder / side / f"{number}.png")
    return folder


def swd(run: Path) -> list[float]:
    newest = latest_checkpoint(run)
    assert newest is not None
    return [figures["swd"] for figures in load_checkpoint(newest)[0]["scores"]]


def test_pairs_that_are_held_out_later_or_others(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Figures of different pairs are in no list together, and the order of the images that are trained on goes on."""
    first, second = other_pairs(tmp_path / "first", 10), other_pairs(tmp_path / "second", 200)
    run, held, inside = tmp_path / "run", tmp_path / "held", first / "a" / "run"
    begin = ["train", "--cfg", "pix2pix", "--data", str(pairs), "--outdir", str(run), "--kimg", "0.008"]
    assert main([*begin, *STEPS, *SMALL]) == 0

    def go_on(*options: object) -> int:
        capsys.readouterr()
        return main(["train", *map(str, options), "--device", "cpu", "--threads", "1"])

    assert go_on("--resume", run, "--held-out", first, "--kimg", 0.016) == 2
    assert "held_out is none, asked" in " ".join(capsys.readouterr().err.split()).lower()

    assert go_on("--branch", run, "--held-out", first, "--outdir", inside, "--kimg", 0.016) == 2
    assert not inside.exists()
    assert go_on("--branch", run, "--held-out", first, "--outdir", held, "--kimg", 0.008 + 0.004) == 0
    told = capsys.readouterr().out
    assert "the metrics begin anew: other held-out pairs" in told and "order of the images" not in told
    assert len(swd(held)) == 1

    assert go_on("--resume", held, "--held-out", second, "--kimg", 0.016) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert f"are not those at {second} (held_" in message and f"--held-out {second}" in message
    assert go_on("--resume", held, "--kimg", 0.016) == 0
    told = capsys.readouterr().out
    assert "what changes with progress follows the length of 0.016 kimg, which was 0.012" in told
    assert json.loads((held / "run.json").read_text())["captions"] == ["input", "output", "target"]
    assert len(swd(held)) == 2


def test_buffers_of_a_branch(pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, cpu = tmp_path / "run", ["--device", "cpu", "--threads", "1"]
    assert train(pairs, "cyclegan", run, "--kimg", "0.008", "--set", "buffer=6", "num_blocks=1") == 0
    go_on = ["train", "--branch", str(run), "--kimg", "0.012", *cpu]
    assert main([*go_on, "--outdir", str(tmp_path / "smaller"), "--set", "buffer=4"]) == 0
    assert "the buffers of earlier translations begin anew" in capsys.readouterr().out
    other = other_pairs(tmp_path / "other", 10)
    assert main([*go_on, "--outdir", str(tmp_path / "others"), "--data", str(other)]) == 0
    assert "the buffers of earlier translations begin anew" in capsys.readouterr().out
    filled = [int(value) for place, value in state(tmp_path / "others").items() if place.endswith("/filled")]
    assert filled == [4, 4]
    assert main([*go_on, "--outdir", str(tmp_path / "same")]) == 0
    assert "the buffers" not in capsys.readouterr().out
