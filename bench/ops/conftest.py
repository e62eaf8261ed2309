"""pytest-benchmark over the cases of fastgan.bench: python -m pytest bench/ops/bench_operators.py (extra: bench)."""

from __future__ import annotations

import pytest
import torch

from fastgan.bench.case import DTYPES, Case, run
from fastgan.ops import provider, providers

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(params=providers.NAMES)
def timed(request, benchmark):
    """Times (case, dtype, layout, direction) with each provider that serves; correctness is the tests' matter."""

    def measure(case: Case, dtype: str, layout: str, direction: str) -> None:
        inputs = case.inputs(DTYPES[dtype], layout, DEVICE)

        def call() -> None:
            run(case.function, inputs, direction)
            if DEVICE.type == "cuda":
                torch.cuda.synchronize()

        with provider(request.param):
            try:
                call()
            except ValueError as error:  # this provider cannot serve
                pytest.skip(str(error))
            benchmark.extra_info["bytes"] = case.moved(direction, DTYPES[dtype])
            benchmark(call)

    return measure
