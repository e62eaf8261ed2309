from __future__ import annotations

import math

import pytest
import torch

from fastgan.choices import ADVERSARIAL, chosen
from fastgan.losses import NONSATURATING

LOGITS = torch.tensor([[0.0], [2.0], [-3.0]], dtype=torch.float64)


def softplus(v: float) -> float:
    return math.log(1 + math.exp(v))


@pytest.mark.parametrize(
    ("name", "g", "d_real", "d_fake"),
    [
        (
            "nonsaturating",
            [math.log(2), softplus(-2), softplus(3)],
            [math.log(2), softplus(-2), softplus(3)],
            [math.log(2), softplus(2), softplus(-3)],
        ),
        ("wasserstein", [0, -2, 3], [0, -2, 3], [0, 2, -3]),
        ("hinge", [0, -2, 3], [1, 0, 4], [1, 3, 0]),
        ("lsgan", [0.5, 0.5, 8], [0.5, 0.5, 8], [0, 2, 4.5]),
    ],
)
def test_known_answers(name, g, d_real, d_fake):
    loss = chosen(ADVERSARIAL, name)
    for function, expected in ((loss.g, g), (loss.d_real, d_real), (loss.d_fake, d_fake)):
        y = function(LOGITS)
        assert y.shape == (3,)
        torch.testing.assert_close(y, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_patches_are_averaged_after_the_loss(name):
    patches = torch.tensor([[[[1.0, -2.0], [0.5, 3.0]]]])
    for function in chosen(ADVERSARIAL, name):
        assert function(patches).item() == pytest.approx(function(patches.flatten()).mean().item())


def test_large_logits_do_not_overflow():
    y = NONSATURATING.d_fake(torch.tensor([[1e4], [-1e4]]))
    torch.testing.assert_close(y, torch.tensor([1e4, 0.0]))
