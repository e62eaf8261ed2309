"""What is told of images that D is not trained on: means by hand, nothing else changed, files and errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastgan.checkpoint import latest_checkpoint, load_checkpoint
from fastgan.cli.main import main
from fastgan.config.data import DataOptions
from fastgan.config.options import AdversarialOptions
from fastgan.data import ImageDataset
from fastgan.report import read_stats
from fastgan.train.config import RunConfig
from fastgan.train.games.held_out import HeldOut
from fastgan.train.hazards import warnings_of

CPU = torch.device("cpu")
TINY = [
    "--cfg", "stylegan2", "--resolution", "16", "--batch", "4", "--cbase", "64", "--cmax", "8", "--map-depth", "1",
    "--set", "z_dim=8", "w_dim=8", "--kimg", "0.008", "--tick", "0.004", "--snap", "1", "--device", "cpu",
]  # fmt: skip


class Brightness(nn.Module):
    """The mean of an image, plus what it drew, and a memory of how often it was called in training."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        self.norm(x)
        return x.mean((1, 2, 3))[:, None] + torch.randn(()) * 10


def images(*values: int) -> ImageDataset:
    return ImageDataset(torch.tensor(values, dtype=torch.uint8)[:, None, None, None].expand(-1, 2, 2, 1).contiguous())


def held_out(trained: ImageDataset, held: ImageDataset, fake: float) -> HeldOut:
    D = Brightness()
    make = lambda count: (torch.full((count, 1, 2, 2), fake), torch.zeros(count, 0))  # noqa: E731
    return HeldOut(D, None, trained, held, make, AdversarialOptions(batch=2), CPU)


def test_means_and_r_v_by_hand() -> None:
    """Of 6 trained-on images as many as there are held out are looked at, all over the set; draws are the same."""
    watched = held_out(images(255, 0, 255, 0, 255, 0), images(255, 255, 0), -1.0)
    figures = watched.figures()
    assert set(figures) == {"score/trained_on", "score/held_out", "overfit/r_v"}
    difference = figures["score/trained_on"] - figures["score/held_out"]
    assert difference == pytest.approx(1.0 - 1 / 3, abs=1e-5)  # 1, 1, 1 and 1, 1, -1
    assert figures["overfit/r_v"] == pytest.approx(difference / 2, abs=1e-5)


def test_a_D_that_tells_nothing_apart_has_no_r_v() -> None:
    assert "overfit/r_v" not in held_out(images(0, 0), images(0, 0), -1.0).figures()


def test_nothing_is_changed_by_looking() -> None:
    watched = held_out(images(255, 0), images(0, 255), 0.0)
    before, state = watched.critic.D.norm.running_mean.clone(), torch.get_rng_state()
    assert watched.figures() == watched.figures()
    assert torch.equal(before, watched.critic.D.norm.running_mean) and torch.equal(state, torch.get_rng_state())


def tensors(run: Path) -> dict[str, Any]:
    checkpoint = latest_checkpoint(run)
    assert checkpoint is not None
    return load_checkpoint(checkpoint)[0]["state"]["players"]


def test_a_run_tells_them_and_trains_as_without(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(tmp_path / "set.zip")
    options = ["--source", "emoji64", "--resolution", "16", "--max-images", "40", "--hold-out", "0.2", "--dest", data]
    assert main(["dataset", *options]) == 0
    command = ["train", *TINY, "--data", data, "--aug", "ada"]
    held = ["--held-out", str(tmp_path / "set-held-out.zip")]
    assert main([*command, *held, "--outdir", str(tmp_path / "a")]) == 0
    assert main([*command, "--outdir", str(tmp_path / "b")]) == 0
    last = read_stats(tmp_path / "a/stats.jsonl")[-1]
    assert {"score/held_out", "score/trained_on", "overfit/r_v", "overfit/r_t", "augment/p"} <= last.keys()
    assert "overfit/r_v" not in read_stats(tmp_path / "b/stats.jsonl")[-1]
    one, other = (tensors(tmp_path / name)["D"]["modules"]["D"] for name in "ab")
    assert all(torch.equal(one[name], other[name]) for name in one)
    config = json.loads((tmp_path / "a/config.json").read_text())
    assert set(config["fingerprint"]) == {"image", "held_image"}
    capsys.readouterr()
    assert main([*command, "--held-out", str(tmp_path), "-n"]) == 2
    assert main(["train", *TINY, "--cond", "--classes", "animals", "food", *held, "-n"]) == 2
    assert "--held-out: its classes are " in " ".join(capsys.readouterr().err.split())


def test_flips_by_augmentation_are_warned_of_where_they_are_wrong() -> None:
    flags = ImageDataset(torch.zeros(2, 4, 4, 3, dtype=torch.uint8), torch.tensor([0, 1]), ("flags", "animals"))

    def said(**training: Any) -> list[str]:
        return warnings_of(RunConfig("stylegan2", {}, DataOptions(), AdversarialOptions(**training)), [flags, flags])

    assert said() == said(augment="diffaug") == said(augment="ada", augpipe="color") == []
    (warning,) = said(augment="ada")
    assert warning.startswith("--aug shows D images of flags mirrored and turned: where p comes near 1, G makes such")
    assert len(said(augment="fixed", augpipe="bg", mirror=True)) == 2
