"""Moving average: the formula, the ramp-up, buffers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fastgan.train.ema import Ema


def test_half_life():
    source = nn.BatchNorm1d(2)
    nn.init.constant_(source.weight, 0.0)
    ema = Ema(source, half_life=100.0, rampup=0)
    nn.init.constant_(source.weight, 1.0)
    source.running_mean.fill_(7.0)
    for images in range(10, 101, 10):
        ema.update(images, 10)
    torch.testing.assert_close(ema.module.weight, torch.full((2,), 0.5))
    assert torch.equal(ema.module.running_mean, torch.full((2,), 7.0))  # buffers are copied
    assert not ema.module.training and not any(p.requires_grad for p in ema.module.parameters())


def test_rampup_forgets_the_beginning():
    source = nn.Linear(1, 1)
    nn.init.constant_(source.weight, 0.0)
    ema = Ema(source, half_life=1e6, rampup=0.05)
    nn.init.constant_(source.weight, 1.0)
    ema.update(200, 10)  # half-life 200 · 0.05 = 10 images
    assert ema.module.weight.item() == pytest.approx(0.5)


def test_half_life_must_be_positive():
    with pytest.raises(ValueError, match="half_life must be above 0 images, got 0"):
        Ema(nn.Linear(1, 1), 0)
