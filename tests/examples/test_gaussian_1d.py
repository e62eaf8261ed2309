"""examples/gaussian_1d.py as a newcomer runs it: what it tells is what the theory says."""

from __future__ import annotations

import importlib.util
import math
import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from fastgan.train.loop import step
from fastgan.train.state import TrainState

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "gaussian_1d.py"


@pytest.fixture
def script(seeded) -> ModuleType:
    spec = importlib.util.spec_from_file_location("gaussian_1d", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gaussian_1d"] = module
    spec.loader.exec_module(module)
    return module


def test_it_comes_to_rest_where_the_theory_says(seeded, tmp_path, capsys, monkeypatch):
    picture = tmp_path / "folder" / "picture.png"
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--out", str(picture)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    head, *rows, last = capsys.readouterr().out.splitlines()
    assert head.split() == ["found", "theory"] and last == f"wrote {picture}"
    found, theory = ({row[:12].strip(): float(row[12:].split()[column]) for row in rows} for column in (0, 1))
    log_2 = pytest.approx(math.log(2), abs=5e-4)
    half = {"lowest D": 0.5, "highest D": 0.5}
    assert theory == {"mean": 4.0, "deviation": 1.25, **half, "D real": log_2, "D fake": log_2, "G": log_2}
    tolerance = {"mean": 0.08, "deviation": 0.08, "lowest D": 0.03, "highest D": 0.03}
    for name, value in found.items():
        assert value == pytest.approx(theory[name], abs=tolerance.get(name, 0.01)), name
    with Image.open(picture) as image:
        assert image.size == (3 * 440, 300)
        assert len(image.getcolors(100_000) or ()) > 5


def test_it_starts_elsewhere(script):
    """Before training the figures are far from those of the theory: they are not so by themselves."""
    G, D = script.mlp(), script.mlp()
    state = TrainState(script.play(G, D))
    ticks = []
    for _ in range(5):
        step(state)
        ticks.append(state.statistics.means())
    found = script.figures(G, D, ticks)
    assert abs(found["mean"] - 4) > 3 and found["deviation"] < 0.5
    assert abs(found["D real"] - math.log(2)) > 0.02
