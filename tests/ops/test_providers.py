"""Who serves a call: the table of defaults, names, refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import fastgan
from fastgan.ops import native, providers
from fastgan.ops.defaults import DEFAULTS

ROOT = Path(__file__).resolve().parents[2]


def test_every_default_names_results_that_exist():
    for row in DEFAULTS:
        assert set(row.order) <= set(providers.NAMES) - {"reference"}
        file, device = row.provenance.split(": ")
        assert (ROOT / file).is_file() and device


def test_each_call_has_one_row():
    calls = [(row.op, row.device, dtype) for row in DEFAULTS for dtype in row.dtypes]
    assert len(calls) == len(set(calls))


@pytest.mark.parametrize("op", ["bias_act", "upfirdn2d"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_unproven_is_never_the_default(op, dtype):
    assert providers.choose(op, "cuda", dtype) == "reference"
    rows = {row.provider: row for row in providers.report(("cuda",)) if (row.op, row.dtype) == (op, str(dtype)[6:])}
    assert rows["reference"].default
    for name in ("native", "triton"):
        assert not rows[name].default
        assert rows[name].reason.startswith("unproven on cuda") or not rows[name].serves


def test_a_name_decides(monkeypatch):
    with providers.provider("reference"):
        assert providers.choose("bias_act", "cpu", torch.float32) == "reference"
        reasons = {row.reason for row in providers.report(("cpu",)) if row.serves and not row.default}
        assert reasons <= {"reference is named by provider() or FASTGAN_PROVIDER"}
    monkeypatch.setattr(providers, "_override", "fast")
    with pytest.raises(ValueError, match="FASTGAN_PROVIDER must be one of native, triton, reference; got 'fast'"):
        providers.choose("bias_act", "cpu", torch.float32)


def test_a_device_that_nobody_knows_is_served_by_the_reference():
    assert providers.choose("bias_act", "mps", torch.float32) == "reference"
    with (
        providers.provider("native"),
        pytest.raises(ValueError, match="provider 'native' cannot serve bias_act on mps"),
    ):
        providers.choose("bias_act", "mps", torch.float32)


def test_a_library_without_cuda_says_so(monkeypatch):
    monkeypatch.setattr(native, "unavailable", None)
    monkeypatch.setattr(native, "info", {"cuda": False})
    monkeypatch.setattr(native, "build_record", lambda: {"cuda_reason": "no CUDA compiler (nvcc) was found"})
    expected = "the native library was built without CUDA: no CUDA compiler"
    assert native.refusal("cuda", torch.float32).startswith(expected)
    with fastgan.provider("native"), pytest.raises(ValueError, match=expected):
        providers.choose("upfirdn2d", "cuda", torch.float32)


def test_resources_are_told_or_the_reason_is(native_provider):
    if torch.cuda.is_available() and native.info["cuda"]:
        kernels = native.kernel_resources()
        assert all(kernel["registers"] > 0 and kernel["max_threads"] >= 256 for kernel in kernels)
        assert {kernel["name"].split()[0] for kernel in kernels} == {"bias_act", "upfirdn2d"}
    else:
        with pytest.raises(RuntimeError, match="without CUDA|driver|device"):
            native.kernel_resources()
