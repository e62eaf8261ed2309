from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest
import torch

from fastgan.ops import native
from fastgan.report import Journal
from fastgan.report.environment import describe_environment
from tests.report.synthetic import make_run

CPU = torch.device("cpu")


def record(run: Path) -> dict:
    return json.loads((run / "run.json").read_text())


def test_state_warnings_and_environment_are_kept_and_the_page_made(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", kimg=60)
    journal = Journal(run, CPU)
    journal.warnings.append("3 broken images were skipped")
    journal.floors["swd"] = 12.5
    assert journal.write("running") is None
    got = record(run)
    assert (got["state"], got["warnings"], got["floors"]) == (
        "running",
        ["3 broken images were skipped"],
        {"swd": 12.5},
    )
    assert got["environment"]["torch"] == torch.__version__
    text = (run / "report.html").read_text()
    assert "3 broken images were skipped" in text and torch.__version__ in text


def test_a_resumed_run_keeps_its_beginning_and_floors(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", kimg=60)
    assert Journal(run, CPU, resumed=True).write("running") is None
    assert record(run)["begun"] == 1.7e9 and record(run)["floors"] == {"swd": 17.07}
    assert Journal(run, CPU).write("running") is None
    assert record(run)["begun"] > 1.7e9 and record(run)["floors"] == {}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"floors": null}', '{"begun": {}, "floors": []}'])
def test_a_broken_record_does_not_keep_a_run_from_going_on(tmp_path: Path, text: str) -> None:
    run = make_run(tmp_path / "run", kimg=60)
    (run / "run.json").write_text(text)
    assert Journal(run, CPU, resumed=True).write("stopped") is None
    assert record(run)["state"] == "stopped"


def test_a_failure_is_told_not_raised(tmp_path: Path) -> None:
    problem = Journal(tmp_path / "gone", CPU).write("running")
    assert problem is not None and "FileNotFoundError" in problem and "gone does not exist" in problem


def test_the_environment_names_what_decides_speed_and_not_the_machine() -> None:
    found = describe_environment(CPU)
    assert found["CPU threads"] == "1"
    assert (native.unavailable or "loaded") in found["native operators"]
    assert platform.node() not in " ".join(found.values()).split()
