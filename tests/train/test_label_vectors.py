"""Runs conditioned on label vectors, and on classes of which one has no image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fastgan.checkpoint import load_checkpoint, read_metadata
from fastgan.cli.main import main
from fastgan.data import Batches, load_dataset
from fastgan.generate import Sampler
from fastgan.models.stylegan2 import Discriminator
from fastgan.train.folder import latest_checkpoint
from tests.data.making import flat, in_folder

TINY = [
    "--cond", "--batch", "4", "--cbase", "64", "--cmax", "8", "--map-depth", "1", "--set", "z_dim=8", "w_dim=8",
    "--tick", "0.004", "--snap", "1", "--device", "cpu", "--threads", "1",
]  # fmt: skip
VECTORS = [[0.25 * i, -1.0, 10.0 - i] for i in range(12)]


def folder_of(path: Path, labels: list[Any]) -> Path:
    files = {f"{i:02d}.png": flat(100 + i, size=(16, 16)) for i in range(len(labels))}
    text = json.dumps({"labels": list(zip(files, labels, strict=True))}).encode()
    return in_folder(path, files | {"dataset.json": text})


def state_of(run: Path) -> dict[str, Any]:
    path = latest_checkpoint(run)
    assert path is not None
    return load_checkpoint(path)[0]


def test_poses_condition_both_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    source = folder_of(tmp_path / "set", VECTORS)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    forward = Discriminator.forward

    def watched(self: Discriminator, img: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        assert c is not None
        if type(img) is torch.Tensor:  # not of the planner's step, whose tensors have no values
            seen.append((img.detach(), c.detach()))
        return forward(self, img, c)

    monkeypatch.setattr(Discriminator, "forward", watched)
    run = tmp_path / "run"
    assert main(["train", "--outdir", str(run), "--data", str(source), *TINY, "--kimg", "0.008", "--mirror"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"note: {source}: labels: 12 of 12 images from dataset.json, vectors of 3 numbers" in said
    assert "warning: --mirror flips images, not what their label vectors say" in said
    known = torch.tensor(VECTORS)
    real = 0
    for images, c in seen:
        rows = (c[:, None] == known).all(dim=2)
        assert (rows.sum(dim=1) == 1).all()  # each label, real or drawn, is one of the set's
        places = ((images[:, 0, 0, 0] + 1) * 127.5 - 100).round().long()
        if images.flatten(1).std(dim=1).max() == 0 and ((places >= 0) & (places < 12)).all():  # images of the set
            real += 1
            assert torch.equal(rows.int().argmax(dim=1), places)
    assert 2 <= real < len(seen)
    config = json.loads((run / "config.json").read_text())
    assert config["architecture"]["num_classes"] == 3


def test_a_run_on_vectors_goes_on_exactly_and_keeps_labels_to_draw_from(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "set", VECTORS)
    options = ["--data", str(source), *TINY]
    assert main(["train", "--outdir", str(tmp_path / "whole"), *options, "--kimg", "0.016"]) == 0
    assert main(["train", "--outdir", str(tmp_path / "parts"), *options, "--kimg", "0.008"]) == 0
    assert main(["train", "--resume", str(tmp_path / "parts"), "--kimg", "0.016", "--threads", "1"]) == 0
    whole, parts = state_of(tmp_path / "whole"), state_of(tmp_path / "parts")
    assert all(torch.equal(weight, parts["G_ema"][name]) for name, weight in whole["G_ema"].items())
    assert whole["labels"].equal(torch.tensor(VECTORS)) and whole["labels"].dtype == torch.float32
    path = latest_checkpoint(tmp_path / "whole")
    assert path is not None and read_metadata(path)["dataset"] == {"name": "set", "classes": []}


def test_a_run_on_classes_tells_which_have_no_images(tmp_path: Path, capsys) -> None:
    source = folder_of(tmp_path / "set", [1, 2, 1, 2])
    assert main(["train", "--outdir", str(tmp_path / "run"), "--data", str(source), *TINY, "--kimg", "0.004"]) == 0
    assert "no image is of class 0" in " ".join(capsys.readouterr().out.split())
    path = latest_checkpoint(tmp_path / "run")
    assert path is not None
    assert read_metadata(path)["dataset"] == {"name": "set", "classes": ["0", "1", "2"], "empty": [0]}
    assert any("no image is of class 0" in note for note in json.loads((path.parent / "run.json").read_text())["notes"])
    sampler = Sampler.from_checkpoint(path)
    assert sampler.classes == [1, 2]
    drawn = sampler.latents(range(40))[1]
    assert drawn is not None and drawn.sum(dim=0)[0] == 0 and drawn.sum(dim=0)[1:].min() > 0
    with pytest.raises(ValueError, match=r"must be a class that the training had images of; 0 \(0\) had none"):
        sampler.images([0], class_index=0)
    out = tmp_path / "pictures"
    assert main(["generate", "--network", str(path), "--outdir", str(out), "--class", "all", "--seeds", "0-1"]) == 0
    assert sorted(file.name for file in out.iterdir()) == [f"class{k}-seed000{i}.png" for k in (1, 2) for i in (0, 1)]
    assert "labels" not in state_of(tmp_path / "run")
    drawn = Batches(load_dataset(source), 4, seed=0).random_labels(200)
    assert drawn.sum(dim=0)[0] == 0 and (drawn.sum(dim=0)[1:] > 50).all()


def test_labels_that_are_missing_matter_with_cond_alone(tmp_path: Path, capsys) -> None:
    source = folder_of(tmp_path / "set", [0, 1, None, 1])
    run = ["train", "--outdir", str(tmp_path / "run"), "--data", str(source), *TINY, "--kimg", "0.004"]
    assert main(run) == 2
    assert "1 of 4 images have no label: 02.png; every image must have one" in capsys.readouterr().err
    run.remove("--cond")
    assert main([*run, "-n"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "1 of 4 images have no label: 02.png" in said and "labels are not used" in said


def test_an_image_that_stands_in_brings_its_own_vector(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "set", VECTORS)
    (source / "03.png").write_bytes(b"broken")
    data = load_dataset(source, stream=True, skip_broken=True)
    batches = Batches(data, 12, seed=0)
    before = batches.random_labels(50, torch.Generator().manual_seed(0))
    images, labels = batches.next().values()
    places = ((images[:, 0, 0, 0] + 1) * 127.5 - 100).round().long()
    assert sorted(places.tolist()) == [0, 1, 2, 4, 4, 5, 6, 7, 8, 9, 10, 11]
    assert torch.equal(labels, torch.tensor(VECTORS)[places])
    assert torch.equal(batches.random_labels(50, torch.Generator().manual_seed(0)), before)
    in_folder(source, {"03.png": flat(103, size=(16, 16))})  # mended: its own label comes with it again
    images, labels = batches.next().values()
    places = ((images[:, 0, 0, 0] + 1) * 127.5 - 100).round().long()
    assert sorted(places.tolist()) == list(range(12)) and torch.equal(labels, torch.tensor(VECTORS)[places])
    data.close()
