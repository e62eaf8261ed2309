"""What D sees images through, and how one's own augmentation comes into a game."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fastgan.augment import Critic
from fastgan.augment.instance_noise import InstanceNoise
from fastgan.choices import AUGMENTS
from fastgan.cli.main import main
from fastgan.config.options import AdversarialOptions
from fastgan.losses import r1
from fastgan.train.schedule import Schedule


class Halve:
    """Images at a strength that D's logits of reals adapt."""

    calls: list[tuple[int, ...]] = []

    def __init__(self, images: int, batch: int, device: torch.device) -> None:
        self.images = images
        self.seen = torch.zeros([], device=device)

    @classmethod
    def of(cls, options: AdversarialOptions, channels: Sequence[int], device: torch.device) -> Halve:
        return cls(round(options.kimg * 1000), options.batch, device)

    def __call__(self, images: Tensor) -> Tensor:
        if type(images) is Tensor:  # not of the planner's step, whose tensors have no values
            self.calls.append(tuple(images.shape))
        return images / 2

    def adapt(self, real_logits: Tensor) -> None:
        assert not real_logits.requires_grad
        self.seen += len(real_logits)

    def figures(self) -> dict[str, Tensor]:
        return {"seen": self.seen}

    def schedules(self) -> tuple:
        return ()

    def state_dict(self) -> dict[str, Tensor]:
        return {"seen": self.seen.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.seen.copy_(state["seen"])


HALVE = Halve.of


def test_a_critic_sees_images_through_its_augmentation():
    x, c = torch.randn(2, 3, 4, 4), torch.randn(2, 5)
    seen: list[tuple[Tensor, Tensor | None]] = []

    def D(x: Tensor, c: Tensor | None) -> Tensor:
        seen.append((x, c))
        return x

    Critic(D)(x, c)
    Critic(D, Halve(1, 1, x.device))(x, c)
    assert seen[0][0] is x and seen[0][1] is c and torch.equal(seen[1][0], x / 2)


def test_a_penalty_through_an_augmentation_is_of_the_image_before_it():
    x = torch.randn(3, 1, 2, 2, dtype=torch.float64)

    def D(x: Tensor, c: Tensor | None) -> Tensor:
        return x.square().sum(dim=(1, 2, 3))[:, None]

    values = r1(Critic(D, Halve(1, 1, x.device)), x)  # D(x / 2) = ¼ Σx², its gradient x / 2
    torch.testing.assert_close(values, (x / 2).square().sum(dim=(1, 2, 3)))


def test_instance_noise_fades_in_place():
    torch.manual_seed(0)
    noise = InstanceNoise(1000, 4, "cpu")
    (scheduled,) = noise.schedules()
    assert scheduled[0] is noise.sigma
    schedule, x = Schedule(*scheduled), torch.zeros(4, 3, 64, 64)
    for seen, sigma in ((0, 0.1), (500, 0.05), (1000, 0.0), (2000, 0.0)):
        schedule.set(seen)
        assert noise(x).std().item() == pytest.approx(sigma, rel=0.02)


def test_ones_own_augmentation_is_one_file_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(AUGMENTS, "halve", "tests.augment.test_critic:HALVE")
    monkeypatch.setattr(Halve, "calls", [])
    command = [
        "train", "--cfg", "stylegan2", "--resolution", "16", "--max-images", "12", "--batch", "4", "--cbase", "64",
        "--cmax", "8", "--map-depth", "1", "--set", "z_dim=8", "w_dim=8", "augment=halve", "--kimg", "0.008",
        "--tick", "0.004", "--snap", "1", "--device", "cpu", "--outdir", str(tmp_path / "run"),
    ]  # fmt: skip
    assert main(command) == 0
    # Two steps: G's fakes once, D's fakes and reals once, and R1's reals in the first.
    assert Halve.calls == [(4, 3, 16, 16)] * 7
    assert json.loads((tmp_path / "run/config.json").read_text())["training"]["augment"] == "halve"
    Halve.calls.clear()
    assert main(["train", "--resume", str(tmp_path / "run"), "--kimg", "0.012"]) == 0
    assert Halve.calls == [(4, 3, 16, 16)] * 3
    capsys.readouterr()
    assert main([*command, "--set", "augment=quarter", "-n", "--outdir", str(tmp_path / "other")]) == 2
    assert (
        "augment must be one of none, ada, fixed, diffaug, blur, instance-noise, halve, got 'quarter'"
        in capsys.readouterr().err
    )
