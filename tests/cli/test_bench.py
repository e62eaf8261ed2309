from __future__ import annotations

import itertools
import json

import pytest

from fastgan.bench.operators import cases
from fastgan.cli import bench
from fastgan.cli.main import main


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "cases", lambda device: itertools.islice(cases(device, shapes=[(2, 3, 8, 8)]), 2))


def test_the_figures_come_as_json(few: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--seconds", "0.01", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = found["timings"]
    assert {(row["op"], row["pass"]) for row in rows} == {
        (op, passes) for op in ("bias_act", "upfirdn2d") for passes in ("fwd", "fwd+bwd")
    }
    for row in rows:
        assert 0 < row["low"] <= row["median"] <= row["high"] and row["rounds"] >= 5
        assert (row["of_copy"] == 1) or row["what"] != "copy"
    assert found["machine"]["threads"] >= 1


def test_the_table_names_what_it_shows(few: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--seconds", "0.01"]) == 0
    text = capsys.readouterr().out
    for part in ("bias_act", "lrelu 2x3x8x8, fwd", "reference", "x copy"):
        assert part in text


def test_bad_options_are_worded(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--seconds", "0"]) == 2
    assert capsys.readouterr().err == "fastgan: error: --seconds must be above 0, got 0\n"
