from __future__ import annotations

import pytest
import torch

from fastgan.bench.operators import Case, calls, cases, refusals
from fastgan.ops import provider

CASES = list(cases(shapes=[(2, 3, 8, 8), (1, 2, 12, 6)]))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.op} {case.name}".replace(" ", "-"))
def test_the_baselines_compute_the_same(case: Case) -> None:
    with provider("reference"), torch.no_grad():
        torch.testing.assert_close(case.torch(case.x, case.parameter), case.ours(case.x, case.parameter))


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "both"])
def test_every_call_of_a_case_runs_and_agrees(backward: bool) -> None:
    for case in (CASES[0], CASES[1]):
        timed = calls(case, backward=backward)
        assert set(timed) == {"copy", "torch", "native", "reference"} - set(refusals(case))
        expected = timed["torch"]()
        for name in set(timed) - {"copy", "torch"}:
            torch.testing.assert_close(timed[name](), expected, rtol=1e-4, atol=1e-4)
