"""bench/training_step.py at tiny sizes."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from fastgan.ops import conv2d_resample, provider, setup_filter, upfirdn2d

SCRIPT = Path(__file__).resolve().parents[2] / "bench" / "training_step.py"


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("training_step", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_phase_is_timed_and_weighted(script, native_provider, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(script, "tune_cpu_allocator", lambda: False)
    monkeypatch.setattr(script, "LAYOUTS", {"nchw": torch.contiguous_format})
    file = tmp_path / "step.json"
    sizes = ["--resolution", "8", "--batch", "2", "--channel-base", "64", "--channel-max", "8"]
    monkeypatch.setattr(
        sys, "argv", ["training_step.py", *sizes, "--seconds", "0", "--threads", "1", "--json", str(file)]
    )
    status = script.main()
    record = json.loads(file.read_text())
    intervals = {"G": 1, "path_length": 4, "D": 1, "r1": 16, "average": 1}
    assert list(record["phases"]) == ["G forward", *intervals]
    for name in ("native nchw", "reference nchw"):
        step = sum(record["phases"][phase][name]["median"] / interval for phase, interval in intervals.items())
        assert record["steps"][name] == pytest.approx(step)
        assert sum(record["kinds"][name].values()) == pytest.approx(step)
        assert record["kinds"][name]["FIR"] > 0 and record["kinds"][name]["convolutions"] > 0
    ratio = record["steps"]["reference nchw"] / record["steps"]["native nchw"]
    forward = record["phases"]["G forward"]
    forward_ratio = forward["reference nchw"]["median"] / forward["native nchw"]["median"]
    assert record["ratios"] == pytest.approx({"step": ratio, "forward": forward_ratio}) and record["skipped"] == 0
    assert status == (0 if ratio >= 1.25 else 1) and record["passed"] == (status == 0)
    assert "path_length, 1 step of 4" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["native", "reference"])
def test_a_filter_is_no_convolution(script, native_provider, name):
    x, w, f = torch.randn(2, 32, 32, 32).requires_grad_(), torch.randn(32, 32, 3, 3), setup_filter([1, 3, 3, 1])

    def filtered() -> None:
        with provider(name):
            torch.autograd.grad(upfirdn2d(x, f, up=2).square().sum(), x)

    def convolved() -> None:
        with provider(name):
            torch.autograd.grad(conv2d_resample(x, w, padding=1).square().sum(), x)

    of_filter, of_convolution = script.shares(filtered), script.shares(convolved)
    assert of_filter["FIR"] > 0 and of_filter["convolutions"] == 0
    assert of_convolution["convolutions"] > 0 and of_convolution["FIR"] == 0
    assert sum(of_filter.values()) == pytest.approx(1)
