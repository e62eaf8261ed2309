"""`fastgan metrics`: figures with all that belongs to them, on the checkpoint's own data or on others."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from fastgan.choices import METRICS
from fastgan.cli.main import main
from fastgan.data import load_dataset
from fastgan.generate import Sampler
from fastgan.metrics import Evaluation, GeneratorMetric, synthetic_training
from fastgan.report.measured import rows
from tests.cli.test_generate import network

TRAIN = "train --cfg dcgan --data emoji64 --resolution 16 --cbase 64 --cmax 8 --set z_dim=4 --batch 4 --kimg 0.008 "
TRAIN += "--tick 0.008 --snap 1 --device cpu --calibrate never"
FACES = ["--classes", "smileys/face-smiling", "smileys/face-concerned"]
PLAIN = {
    "copies_wavelet",
    "kid_wavelet",
    "fd_wavelet",
    "precision_wavelet",
    "recall_wavelet",
    "density_wavelet",
    "coverage_wavelet",
}
CLOSED = GeneratorMetric(lambda G, images, device, weights: {"closed": 1.5}, torch.nn.Module, "any generator", 7)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    outdir = tmp_path_factory.mktemp("run")
    assert main([*TRAIN.split(), *FACES, "--outdir", str(outdir)]) == 0
    return outdir


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_checkpoint_beside_what_it_was_trained_on(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", "--network", str(trained), "--images", "60", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    found = {line["figure"]: line for line in lines(trained / "metrics.jsonl")}
    assert found.keys() == PLAIN | {"swd", "spectrum"}
    kid, swd = found["kid_wavelet"], found["swd"]
    assert kid["low"] < kid["value"] < kid["high"]
    assert (kid["real_images"], kid["generated_images"], kid["floor_images"]) == (40, 60, 20)
    assert (kid["extractor"], kid["resize"]) == ("wavelet", "not resized")
    assert (swd["real_images"], swd["generated_images"]) == (40, 40) and "low" not in swd
    for text in ("kid_wavelet", "60 to 40", "wavelet: images are not resized", "20 in each", "beside 40 images of"):
        assert text in said
    with Image.open(trained / "nearest.png") as picture:  # 8 rows of two groups of 1 + 3 + 3 images of 16 pixels
        assert picture.size == (14 * 18 + 2, 8 * 18 + 2)
    page = (trained / "report.html").read_text(encoding="utf-8")
    assert '"figure":"kid_wavelet"' in page and '"nearest":"data:image/webp' in page
    # The figures are those of the images that the seeds give.
    data = load_dataset("emoji64", classes=FACES[1:], resolution=(16, 16))
    images = Sampler.from_checkpoint(trained).images(range(60), batch_size=32)
    figures = Evaluation(["kid_wavelet"], data, images=60).evaluate(lambda count: [images[:count]])
    assert figures["kid_wavelet"] == pytest.approx(kid["value"], rel=1e-9)


def test_lines_are_added_and_other_data_named(trained: Path, tmp_path: Path) -> None:
    command = ["metrics", "--network", str(trained), "--data", "emoji64", "--classes", "animals", "--max-images", "30"]
    command += ["--images", "20", "--nearest", "0", "--outdir", str(tmp_path), "--device", "cpu"]
    for _ in range(2):
        assert main([*command, "--metrics", "swd", "kid_wavelet"]) == 0
    first, second = (lines(tmp_path / "metrics.jsonl")[i : i + 2] for i in (0, 2))
    assert [each | {"written": 0} for each in first] == [each | {"written": 0} for each in second]
    assert first[0]["real_images"] == 30 - 10 and first[1]["real_images"] == 30
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_each_class_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outdir = tmp_path / "run"
    assert main([*TRAIN.split(), *FACES, "--cond", "--outdir", str(outdir)]) == 0
    command = ["metrics", "--network", str(outdir), "--metrics", "kid_wavelet", "--images", "20", "--device", "cpu"]
    assert main([*command, "--by-class"]) == 0
    found = lines(outdir / "metrics.jsonl")
    assert [line.get("class") for line in found] == [None, "smileys/face-smiling", "smileys/face-concerned"]
    assert sum(line["real_images"] for line in found[1:]) == found[0]["real_images"]
    monkeypatch.setitem(METRICS, "closed", f"{__name__}:CLOSED")
    assert main([*command[:3], "--metrics", "closed", "--outdir", str(tmp_path), "--device", "cpu"]) == 0
    (line,) = lines(tmp_path / "metrics.jsonl")
    assert (line["value"], line["generated_images"], "real_images" in line) == (1.5, 7, False)


def test_how_often_each_class_is_made_without_knowing_of_classes(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["metrics", "--network", str(trained), "--data", "emoji64", "--classes", "smileys/faces", "flags"]
    command += ["--metrics", "swd", "--images", "20", "--nearest", "0", "--outdir", str(tmp_path), "--device", "cpu"]
    assert main([*command, "--by-class"]) == 0
    _, faces, flags = lines(tmp_path / "metrics.jsonl")
    assert [faces["class"], flags["class"]] == ["smileys/faces", "flags"] and faces["figure"] == "share_wavelet"
    assert faces["value"] + flags["value"] == faces["share_of_reals"] + flags["share_of_reals"] == 1
    told = capsys.readouterr().out
    rare = any(each["value"] < 0.1 * each["share_of_reals"] for each in (faces, flags))
    assert ("hardly ever made" in told) == rare
    assert "share_wavelet of flags" in told and "share: of images whose nearest real one is of the class" in told
    plain = tmp_path / "plain"
    plain.mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (16, 16)).save(plain / name)
    assert main([*command[:3], "--by-class", "--data", str(plain), "--device", "cpu"]) == 2
    assert re.search("plain.*label", capsys.readouterr().err)


def test_what_classifiers_learn_of_generated_and_of_real_images(tmp_path: Path, capsys) -> None:
    data, held_out, outdir = (str(tmp_path / name) for name in ("faces.zip", "faces-held-out.zip", "run"))
    assert main(["dataset", "--source", "emoji64", *FACES, "--hold-out", "0.3", "--dest", data]) == 0
    train = TRAIN.replace("emoji64", data).split()
    assert main([*train, "--cond", "--outdir", outdir]) == 0
    command = ["metrics", "--network", outdir, "--metrics", "swd", "--images", "20", "--device", "cpu"]
    assert main([*command, "--test-data", held_out]) == 0
    found = {line["figure"]: line for line in lines(tmp_path / "run" / "metrics.jsonl")}
    reals, test = (load_dataset(place, resolution=(16, 16), labelled=True) for place in (data, held_out))
    assert found["tstr"]["generated_images"] == found["trtr"]["real_images"] == 20
    assert found["tstr"]["test_images"] == len(test) > 8 and found["tstr"]["test_data"] == held_out
    # They are those of as many images with the labels of the real ones.
    order = torch.randperm(len(reals), generator=torch.Generator().manual_seed(0))[:20]
    made = Sampler.from_checkpoint(outdir).images(range(20), labels=reals.conditions(order), batch_size=32)
    real, seen = (each.read(torch.arange(len(each))).permute(0, 3, 1, 2) for each in (reals, test))
    assert reals.labels is not None and test.labels is not None
    figures = synthetic_training((made, reals.labels[order]), (real[order], reals.labels[order]), (seen, test.labels))
    for name in ("tstr", "trtr"):
        value, low, high = (found[name][end] for end in ("value", "low", "high"))
        assert value == figures[name] and low == figures[f"{name}_low"] < value < high
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert (
        '"figure":"tstr"' in page and f"images of {held_out} that a classifier of generated" in capsys.readouterr().out
    )
    # What the generator was trained on is no test, and other classes are none either.
    assert main([*command, "--test-data", data]) == 2
    assert re.search(rf"{len(reals)} of {len(reals)} are also among those of faces", capsys.readouterr().err)
    animals = str(tmp_path / "animals.zip")
    assert main(["dataset", "--source", "emoji64", "--classes", "animals", "food", "--dest", animals]) == 0
    assert main([*command, "--test-data", animals]) == 2
    assert "the classes of animals must be those of checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--test-data", "emoji64"], "--test-data needs a model and data of the same classes"),
        (["--metrics", "kid"], "metrics must be one of swd, .*got 'kid'"),
        (["--nearest", "-1"], "nearest must be an integer of at least 0, got -1"),
        (["--images", "1"], "images must be an integer of at least 2, got 1"),
        (["--classes", "animals"], "--classes and --max-images are of --data, which is not given"),
        (["--metrics", "ppl2_wend"], "metrics: ppl2_wend is of generators that map latents to styles, got Generator"),
        (["--metrics", "fid50k_full"], "pt_inception-2015-12-05-6726825d.pth"),
        (["--metrics", "eqr50k"], "metrics: eqr50k is of generators that can move their pictures"),
        (["--data", "nowhere"], "nowhere: no such file or folder"),
    ],
)
def test_what_cannot_be_measured_is_told(
    trained: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["metrics", "--network", str(trained), "--images", "8", "--metrics", "kid_wavelet", "--device", "cpu"]
    assert main([*command, *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("fastgan: error: ")
    assert re.search(message, captured.err)


def test_a_checkpoint_that_does_not_tell_its_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = network(tmp_path)
    assert main(["metrics", "--network", str(path)]) == 2
    assert "does not tell its training set; give real images with --data" in capsys.readouterr().err


def test_a_damaged_file_of_lines_is_a_note_of_the_report(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"figure": "x"}\n', encoding="utf-8")
    with pytest.raises(ValueError, match="metrics.jsonl line 1 cannot be read"):
        rows(tmp_path)
    assert rows(tmp_path / "none") == []
