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
from fastgan.metrics import Evaluation, GeneratorMetric
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metrics", "kid"], "metrics must be one of swd, .*got 'kid'"),
        (["--nearest", "-1"], "nearest must be an integer of at least 0, got -1"),
        (["--images", "1"], "images must be an integer of at least 2, got 1"),
        (["--classes", "animals"], "--classes and --max-images are of --data, which is not given"),
        (["--by-class"], "--by-class needs a model and data of the same classes"),
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
