"""bench/gpu_training.py and bench/penalties.py at tiny sizes, on the CPU."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "bench"
TINY = ["--resolution", "16", "--batch", "4", "--channel-base", "64"]


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_update_of_a_step_is_timed(tmp_path, monkeypatch, native_provider):
    file = tmp_path / "training.json"
    arguments = ["stylegan2-256", "--device", "cpu", "--minutes", "0", "--rows", "native, graphs", "reference"]
    monkeypatch.setattr(sys, "argv", ["gpu_training.py", *arguments, *TINY, "--json", str(file)])
    assert script("gpu_training").main() == 0
    record = json.loads(file.read_text())
    assert record["complete"] and record["sizes"]["stylegan2-256"]["size"]["batch"] == 4
    for told in record["sizes"]["stylegan2-256"]["rows"].values():
        updates = told["updates"]
        assert list(updates) == ["G", "path_length", "D", "r1", "average"]
        step = updates["G"] + updates["path_length"] / 4 + updates["D"] + updates["r1"] / 16 + updates["average"]
        assert told["s_per_kimg"] == pytest.approx(step / 4)


def test_penalties_are_timed_beside_the_reference(tmp_path, monkeypatch, native_provider):
    file = tmp_path / "penalties.json"
    arguments = [*TINY, "--threads", "1", "--seconds", "0", "--penalties", "r1", "--no-explicit", "--json", str(file)]
    monkeypatch.setattr(sys, "argv", ["penalties.py", *arguments])
    assert script("penalties").main() in (0, 1)
    told = json.loads(file.read_text())["penalties"]["r1"]
    assert set(told["timings"]) == {f"{by} {at}" for by in ("native", "reference") for at in ("nchw", "channels_last")}
    best = {
        by: min(told["timings"][f"{by} {at}"]["median"] for at in ("nchw", "channels_last"))
        for by in ("native", "reference")
    }
    assert told["ratio"] == pytest.approx(best["reference"] / best["native"])
