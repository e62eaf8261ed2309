"""Moving average: the formula, the ramp-up, buffers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fastgan.train.ema import Ema


def test_half_life():
    source = nn.BatchNorm1d(2)
    nn.init.constant_(source.weight, 0.0)
    ema: Any = Ema(source, half_life=100.0, rampup=0)
    nn.init.constant_(source.weight, 1.0)
    source.running_mean.fill_(7.0)
    schedule = ema.schedule(10)
    for images in range(0, 100, 10):
        schedule.set(images)
        ema.update()
    torch.testing.assert_close(ema.module.weight, torch.full((2,), 0.5))
    assert torch.equal(ema.module.running_mean, torch.full((2,), 7.0))  # buffers are copied
    assert not ema.module.training and not any(p.requires_grad for p in ema.module.parameters())


def test_rampup_forgets_the_beginning():
    source = nn.Linear(1, 1)
    nn.init.constant_(source.weight, 0.0)
    ema: Any = Ema(source, half_life=1e6, rampup=0.05)
    nn.init.constant_(source.weight, 1.0)
    ema.schedule(10).set(190)
    ema.update()  # after 200 images: half-life 200 · 0.05 = 10 images
    assert ema.module.weight.item() == pytest.approx(0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_weight_is_a_tensor_that_gives_what_a_number_gives(dtype):
    torch.manual_seed(0)
    source = nn.Conv2d(5, 7, 3).to(dtype)
    ema: Any = Ema(source, half_life=300.0, rampup=0.05)
    expected = [p.detach().clone() for p in ema.module.parameters()]
    weight, schedule = ema.weight, ema.schedule(16)
    for images in range(0, 16 * 5, 16):
        for parameter in source.parameters():
            nn.init.normal_(parameter)
        schedule.set(images)
        ema.update()
        beta = 0.5 ** (16 / ((images + 16) * 0.05))
        for mine, theirs in zip(expected, source.parameters(), strict=True):
            mine.lerp_(theirs.detach(), 1 - beta)
    assert all(torch.equal(a, b) for a, b in zip(expected, ema.module.parameters(), strict=True))
    assert ema.weight is weight  # written in place


def test_all_together_as_a_gpu_does_it_is_one_by_one(monkeypatch):
    from fastgan.train import ema

    torch.manual_seed(0)
    source = nn.Sequential(nn.Conv2d(5, 7, 3), nn.BatchNorm2d(7), nn.Linear(3, 4).double())
    averages: list[Any] = [Ema(source, half_life=300.0) for _ in range(2)]
    for parameter in source.parameters():
        nn.init.normal_(parameter)
    source.get_buffer("1.running_mean").fill_(2.0)
    for average in averages:
        average.weight.fill_(0.3)
        average.update()
        monkeypatch.setattr(ema, "_lerp_each", ema._lerp_together)
    for one, other in zip(*(average.module.state_dict().values() for average in averages), strict=True):
        torch.testing.assert_close(one, other)
    assert averages[1].module.get_buffer("1.running_mean").eq(2).all()


def test_half_life_must_be_positive():
    with pytest.raises(ValueError, match="half_life must be above 0 images, got 0"):
        Ema(nn.Linear(1, 1), 0)
