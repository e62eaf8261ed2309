"""No kernel of a GPU is left untested: each runs on the CPU in every dtype."""

from __future__ import annotations

import pytest

from fastgan.ops.operator import OPERATORS
from tests.ops import coverage


@pytest.mark.parametrize("name", ["shim", "interpreter"])
def test_every_kernel_runs_in_every_dtype(request, name):
    stand_in = request.getfixturevalue(name)
    table = coverage.covered(stand_in)
    print(coverage.text(name, table))
    assert coverage.missing(table) == []
    for operator in OPERATORS:
        names = (operator, *OPERATORS[operator].schemas)
        assert any(kernel.split()[0].removesuffix("_forward") in names for kernel in table), operator
    layouts = {letter for row in table.values() for cell in row.values() for letter in cell or ""}
    assert layouts == set(coverage.LAYOUTS)


def test_a_kernel_that_never_ran_is_told():
    table: coverage.Coverage = {"bias_act flat": {"fp32": "nc", "fp16": ""}}
    assert coverage.missing(table) == ["bias_act flat fp16"]
