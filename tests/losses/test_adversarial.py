from __future__ import annotations

import math

import pytest
import torch

from fastgan.choices import ADVERSARIAL, chosen
from fastgan.losses.adversarial import Pairwise, logistic_d_fake, relativistic_g

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
    assert not loss.paired
    real, fake = LOGITS, LOGITS.flip(0)
    both = [r + f for r, f in zip(d_real, reversed(d_fake), strict=True)]
    for y, expected in ((loss.g(LOGITS, None), g), (loss.d(real, fake), both)):
        assert y.shape == (3,)
        torch.testing.assert_close(y, torch.tensor(expected, dtype=torch.float64))


def test_known_answers_of_a_loss_that_compares():
    loss: Pairwise = chosen(ADVERSARIAL, "relativistic")
    real, fake = LOGITS, torch.tensor([[1.0], [2.0], [0.0]], dtype=torch.float64)
    assert loss.paired
    expected = torch.tensor([softplus(1), softplus(0), softplus(3)], dtype=torch.float64)
    torch.testing.assert_close(loss.d(real, fake), expected)
    expected = torch.tensor([softplus(-1), softplus(0), softplus(-3)], dtype=torch.float64)
    torch.testing.assert_close(loss.g(fake, real), expected)
    with pytest.raises(ValueError, match="real_logits must be given"):
        relativistic_g(fake, None)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_patches_are_averaged_after_the_loss(name):
    patches = torch.tensor([[[[1.0, -2.0], [0.5, 3.0]]]])
    others = patches.flip(-1) * 2
    loss: Pairwise = chosen(ADVERSARIAL, name)
    for function in (loss.d, loss.g):
        pixels = function(patches.flatten(), others.flatten())
        assert function(patches, others).item() == pytest.approx(pixels.mean().item())


def test_large_logits_do_not_overflow():
    y = logistic_d_fake(torch.tensor([[1e4], [-1e4]]))
    torch.testing.assert_close(y, torch.tensor([1e4, 0.0]))
