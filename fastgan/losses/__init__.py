"""Adversarial losses and penalties on callables and tensors; they know no model class."""

from fastgan.losses.adversarial import HINGE, LSGAN, NONSATURATING, WASSERSTEIN, Adversarial
from fastgan.losses.penalties import PathLength, gradient_penalty, r1

__all__ = [
    "HINGE",
    "LSGAN",
    "NONSATURATING",
    "WASSERSTEIN",
    "Adversarial",
    "PathLength",
    "gradient_penalty",
    "r1",
]
