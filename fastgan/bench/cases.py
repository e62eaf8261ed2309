"""What is measured: calls of the operators as StyleGAN2's layers make them, the most telling first.

The module of an operator, fastgan.bench.<operator> unless its description names another, has

- SHAPES: {"cpu": [...], "cuda": [...]}, shapes [N, C, H, W] of images, the most telling first;
- cases(shape): the cases at one of them.
"""

from __future__ import annotations

import importlib
from itertools import islice, zip_longest

import fastgan.ops  # noqa: F401  describes the operators
from fastgan.bench.case import Case
from fastgan.ops.operator import OPERATORS


def cases(device: str, ops: tuple[str, ...] | None = None, quick: bool = False) -> list[Case]:
    """What is measured on a device: of all operators at their first shape, then at their second, ...

    Args:
        device: "cpu" or "cuda".
        ops: names of operators; None for all.
        quick: the first shape alone, and of its cases those that are `quick`.
    """
    by_shape = []
    for name in OPERATORS if ops is None else [name for name in OPERATORS if name in ops]:
        module = importlib.import_module(OPERATORS[name].bench or f"fastgan.bench.{name}")
        by_shape.append([list(module.cases(shape)) for shape in module.SHAPES[device]])
    at_each = islice(zip_longest(*by_shape, fillvalue=[]), 1 if quick else None)
    return [case for of_ops in at_each for some in of_ops for case in some if case.quick or not quick]
