"""Adversarial losses and penalties on callables and tensors; they know no model class."""

from fastgan.losses.adversarial import ADVERSARIAL, Adversarial
from fastgan.losses.penalties import PathLength, gradient_penalty, r1

__all__ = ["ADVERSARIAL", "Adversarial", "PathLength", "gradient_penalty", "r1"]
