"""The layers of StyleGAN2 in one call each, by provider: python -m pytest bench/ops/bench_conv2d_layer.py."""

from __future__ import annotations

import pytest
import torch

from fastgan.bench.case import DIRECTIONS, LAYOUTS
from fastgan.bench.cases import cases

CUDA = torch.cuda.is_available()
CASES = cases("cuda" if CUDA else "cpu", ("conv2d_layer",), quick=True)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"] if CUDA else ["fp32"])
@pytest.mark.parametrize("case", CASES, ids=[case.kind for case in CASES])
def test_conv2d_layer(timed, case, dtype, layout, direction):
    timed(case, dtype, layout, direction)
