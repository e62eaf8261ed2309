"""Every Triton kernel compiles for GPUs that are not here, spills nothing, and uses no more than was written down."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ops.cases import DTYPE_IDS

pytestmark = pytest.mark.thorough

SCRIPT = Path(__file__).with_name("triton_resources.py")
BOUNDS = json.loads(SCRIPT.with_suffix(".json").read_text())


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90", "sm_120"])
def test_resources(triton_installed, tmp_path, architecture):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    run = subprocess.run(
        [sys.executable, str(SCRIPT), architecture.removeprefix("sm_")],
        env=environment | {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(SCRIPT.parents[2])},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    version, table = found["triton"], found["resources"]
    bounds = BOUNDS.get(version)
    print(
        f"triton {version}: {len(table)} variants, compiled or known; bounds are {'known' if bounds else 'not known'}"
    )
    for name, used in table.items():
        print(f"{name}: {used[0]} registers, {used[1]} bytes of shared memory, {used[2]} spilled")
    assert all(name.endswith(f" {architecture}") for name in table)
    for word in DTYPE_IDS:
        assert any(word in name.split() for name in table), f"nothing was compiled for {word}"

    assert [name for name, used in table.items() if used[2] > 0] == []
    if bounds is not None:
        bounds = {name: most for name, most in bounds.items() if name.endswith(f" {architecture}")}
        assert set(bounds) == set(table), "the variants changed: python -m tests.ops.triton_resources --write"
        grown = {n: (used, bounds[n]) for n, used in table.items() if used[0] > bounds[n][0] or used[1] > bounds[n][1]}
        assert grown == {}
