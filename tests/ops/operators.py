"""What the tests run of every operator that OPERATORS describes."""

from __future__ import annotations

import importlib
from types import ModuleType

import torch

import fastgan.ops  # noqa: F401  describes the operators
from fastgan.ops.operator import OPERATORS


def cases_of(operator: str) -> ModuleType:
    """The module tests.ops.cases_<operator>; tests.ops.cases says what is in it."""
    return importlib.import_module(f"tests.ops.cases_{operator}")


# Calls as functions of images [2, 3, H, W], a vector [3] and weights [4, 3, 3, 3], by name.
CALLS = {name: call for operator in OPERATORS for name, call in cases_of(operator).CALLS.items()}


def examples(memory_format="contiguous"):
    return in_memory(torch.randn(2, 3, 6, 4), memory_format), torch.randn(3).double(), torch.randn(4, 3, 3, 3).double()


def in_memory(x, memory_format):
    """x [..., C, H, W] in float64 with the same values in another memory format."""
    x = x.double()
    if memory_format == "channels_last":
        return x.movedim(-3, -1).contiguous().movedim(-1, -3)
    return x.transpose(-3, -1).contiguous().transpose(-3, -1) if memory_format == "strided" else x.contiguous()
