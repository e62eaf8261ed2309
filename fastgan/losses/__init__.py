"""Adversarial losses and penalties on callables and tensors; they know no model class."""

from fastgan.losses.adversarial import HINGE, LSGAN, NONSATURATING, RELATIVISTIC, WASSERSTEIN, Pairwise, separate
from fastgan.losses.objective import Move, Term
from fastgan.losses.penalties import (
    Evaluated,
    Labelled,
    PathLength,
    Penalty,
    Place,
    at_fake,
    at_real,
    dragan,
    evaluate,
    gradient_penalty,
    r1,
)

__all__ = [
    "Evaluated",
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
    "Place",
    "Term",
    "at_fake",
    "at_real",
    "dragan",
    "evaluate",
    "gradient_penalty",
    "r1",
    "separate",
]
