"""No kernel of a GPU is left untested: each runs on the CPU in every dtype."""

from __future__ import annotations

import pytest
import torch

from fastgan.ops.operator import OPERATORS
from tests.ops import cases_conv2d_layer, coverage, test_gpu
from tests.ops.cases import DTYPES


@pytest.mark.parametrize("name", ["shim", pytest.param("interpreter", marks=pytest.mark.thorough)])
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


def test_without_warpgroups_all_other_kernels_run(shim):
    table = coverage.covered(shim, "8.0")
    left_out = coverage.missing(table)
    assert left_out == [f"{kernel} {dtype}" for kernel in table if "warpgroup" in kernel for dtype in ("fp16", "bf16")]
    assert left_out


def test_a_form_that_is_not_asked_for_is_told(shim, monkeypatch):
    monkeypatch.setattr(coverage, "LAYOUTS", {"c": "channels_last"})
    monkeypatch.setattr(cases_conv2d_layer, "PLANS", [{"form": "warpgroup"}, {"form": "warpgroup64"}, {"splits": 2}])
    left_out = coverage.missing(coverage.covered(shim))
    assert {"conv2d tensor wide streamed fp16", "conv2d_up plain wide fp32"} < set(left_out)
    assert all("wide" in kernel for kernel in left_out if kernel.startswith(("conv2d ", "conv2d_up ")))


def test_a_gpu_is_tested_in_every_form(shim, monkeypatch):
    """Tests of values on a GPU, run on the CPU: they launch all kernels of convolutions."""
    monkeypatch.setattr(test_gpu, "CUDA", torch.device("cpu"))
    monkeypatch.setenv("FASTGAN_SHIM_WARPGROUPS", "1")
    before = shim.launches()
    with shim.selected():
        for plan in test_gpu.PLANS:
            test_gpu.test_plans_in_tf32(shim.NAME, plan)
            for dtype in DTYPES:
                test_gpu.test_plans_of_convolutions(shim.NAME, plan, dtype)
    kernels = [name for name in before if name.startswith(("conv2d ", "conv2d_up ", "conv2d_weight_gradient "))]
    assert kernels and [name for name in kernels if shim.launches()[name] == before[name]] == []


def test_a_kernel_that_never_ran_is_told():
    table: coverage.Coverage = {"bias_act flat": {"fp32": "nc", "fp16": ""}}
    assert coverage.missing(table) == ["bias_act flat fp16"]
