"""Adversarial losses and penalties on callables and tensors; they know no model class."""

from fastgan.losses.adversarial import HINGE, LSGAN, NONSATURATING, RELATIVISTIC, WASSERSTEIN, Pairwise, separate
from fastgan.losses.objective import Move, Term
from fastgan.losses.penalties import Labelled, PathLength, Penalty, gradient_penalty, r1

__all__ = [
    "HINGE",
    "LSGAN",
    "NONSATURATING",
    "RELATIVISTIC",
    "WASSERSTEIN",
    "Labelled",
    "Move",
    "Pairwise",
    "PathLength",
    "Penalty",
    "Term",
    "gradient_penalty",
    "r1",
    "separate",
]
