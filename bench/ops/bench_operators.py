"""The operators at StyleGAN2's layers, by provider: python -m pytest bench/ops/bench_operators.py [-k OPERATOR]."""

from __future__ import annotations

import pytest
import torch

from fastgan.bench.case import DIRECTIONS, LAYOUTS
from fastgan.bench.cases import cases

CUDA = torch.cuda.is_available()
CASES = cases("cuda" if CUDA else "cpu", quick=True)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"] if CUDA else ["fp32"])
@pytest.mark.parametrize("case", CASES, ids=[f"{case.op}-{case.kind}" for case in CASES])
def test_operator(timed, case, dtype, layout, direction):
    timed(case, dtype, layout, direction)
