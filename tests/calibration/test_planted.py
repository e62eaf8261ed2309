"""Who keeps a place: providers with one fault each, the CUDA kernels by the shim, Triton's by the interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastgan.ops.verdicts import Record
from tests.native.building import ROOT

pytestmark = pytest.mark.thorough

_PROGRAM = """
import json, sys, torch
torch.set_num_threads(1)
from fastgan.calibration import calibrate
record = calibrate("cpu", ops=["bias_act"], modules=["tests.calibration.planted"], step_seconds=20)
from fastgan.ops import bias_act, verdicts
json.dump(record.as_json(), sys.stdout)
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """What a calibration finds of them all."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")), "TRITON_INTERPRET": "1"}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    file = Path(environment["XDG_CACHE_HOME"]) / "fastgan" / "calibration.json"
    record = Record.of_json(json.loads(done.stdout))
    assert Record.of_json(json.loads(file.read_text(encoding="utf-8"))["records"][0]) == record
    return record


_REASONS = {
    "second": "wrong: double backward of tanh bias 3x5x7x9",
    "odd": "wrong: forward of lrelu bias clamp 3x5x7x9",
    "large": "wrong: forward of lrelu bias clamp 2x8x8x8",
    "aborting": "crashes (SIGABRT) at forward+backward of lrelu bias clamp",
    "hanging": "hangs: 20 s were not enough for forward of lrelu bias clamp",
    "leaking": "leaks memory: ",
    "unavailable": "unavailable: its licence has expired",
    "greedy": "out of memory at lrelu bias clamp",
}


@pytest.mark.parametrize("fault", _REASONS)
def test_a_fault_costs_the_place(native_provider, shim, interpreter, found: Record, fault: str) -> None:
    reasons = [loss.reason for loss in found.losses if loss.form == fault]
    assert len(reasons) == 1 and reasons[0].startswith(_REASONS[fault])
    assert not any(fault in verdict.ranking for verdict in found.verdicts)


def test_the_others_serve(native_provider, shim, interpreter, found: Record) -> None:
    assert {loss.form for loss in found.losses} == set(_REASONS)
    assert found.verdicts and found.left == 0
    for verdict in found.verdicts:
        assert set(verdict.ranking) == {"native", "reference", "slow", "shim", "interpreter"}
        assert verdict.ranking[0] in ("native", "reference")


def test_what_is_slow_comes_last_but_for_what_is_slower(native_provider, shim, interpreter, found: Record) -> None:
    for verdict in found.verdicts:
        assert verdict.milliseconds["slow"][0] > 50
        assert verdict.ranking.index("slow") > verdict.ranking.index("native")
