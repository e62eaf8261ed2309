"""`fastgan calibrate`, `fastgan train --calibrate`, and what `fastgan doctor` says of it."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from fastgan.calibration import calibrate, trials
from fastgan.cli import calibrate as verb
from fastgan.cli.main import main
from fastgan.ops import verdicts
from fastgan.ops.identity import identity
from fastgan.ops.verdicts import FORMAT, Loss, Measured, Record, Verdict
from tests.native.building import ROOT

CPU = torch.device("cpu")
_OF = Measured("bias_act", "float32", "nchw", "smooth", (64,))
_VERDICT = Verdict(
    _OF, ("native", "reference"), {"native": (1.0, 0.9, 1.1), "reference": (2.5, 2, 3)}, "swish 1x2 fp32"
)


@pytest.fixture(autouse=True)
def cache(no_stand_ins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    verdicts.forget()
    yield tmp_path
    verdicts.forget()


def known(left: int = 0) -> Record:
    """A record of this machine's CPU, written to the file."""
    loss = Loss("upfirdn2d", "native", "float32", "wrong: forward of up 2 is 0.1 from float64")
    record = Record(identity(CPU), "2026-02-03T04:05:06+00:00", 0.02, left, [_VERDICT], [loss])
    verdicts.path().parent.mkdir(parents=True)
    verdicts.path().write_text(json.dumps({"format": FORMAT, "records": [record.as_json()]}), encoding="utf-8")
    return record


def test_the_plan_is_printed_and_nothing_run(native_provider, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "--dry-run", "--device", "cpu", "--op", "bias_act"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "prove native of bias_act in fp32"
    assert "time bias_act: lrelu bias clamp 8x64x32x32 fp32 channels_last" in lines
    assert lines[-1] == f"1 to prove, {len(lines) - 2} to time on cpu"
    assert not verdicts.path().exists()


def test_what_is_not_known_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "--show", "--device", "cpu"]) == 1
    assert capsys.readouterr().out.startswith("not calibrated: `fastgan calibrate` proves and times its kernels")


def test_what_is_known_is_shown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    record = known(left=2)
    assert main(["calibrate", "--show", "--device", "cpu", "--json", str(tmp_path / "mine.json")]) == 0
    out = capsys.readouterr().out
    assert identity(CPU)["device"] in out and "1 threads; 2026-02-03" in out
    assert "native of upfirdn2d serves no float32: wrong: forward of up 2 is 0.1 from float64" in out
    assert "the time was over: 2 steps were left out" in out and f"known from {verdicts.path()}" in out
    (row,) = (line for line in out.splitlines() if "swish 1x2 fp32" in line)
    assert row.split() == ["bias_act", "swish", "1x2", "fp32", "native", "1.000", "reference", "2.500"]
    assert Record.of_json(json.loads((tmp_path / "mine.json").read_text(encoding="utf-8"))) == record


def test_a_calibration_is_made_and_shown(
    native_provider, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "TIMED", {"cpu": [(1, 8, 4, 4)]})
    monkeypatch.setattr(verb, "calibrate", functools.partial(calibrate, modules=["tests.calibration.small"]))
    assert main(["calibrate", "--device", "cpu", "--op", "upfirdn2d", "--threads", "1"]) == 0
    out = capsys.readouterr().out
    assert f"wrote {verdicts.path()}" in out and "two timings of one call were" in out
    assert main(["calibrate", "--show", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == out.replace("wrote", "known from")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--op", "blur"], "op must be some of"),
        (["--minutes", "0"], "minutes must be above 0, got 0"),
        (["--threads", "0"], "--threads must be at least 1, got 0"),
        (["--json", "/no/such/file.json"], "the folder /no/such does not exist"),
    ],
)
def test_slips_are_named(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "--device", "cpu", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_gpu_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    assert main(["calibrate", "--device", "cuda"]) == 2
    assert "--device cuda: this torch sees no GPU" in capsys.readouterr().err


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `before_training` asks of `calibrate`, which does nothing."""
    asked: list[dict[str, Any]] = []

    def nothing(device: torch.device, **arguments: Any) -> Record:
        asked.append({"device": device.type, **arguments})
        return Record({}, verdicts=[_VERDICT])

    monkeypatch.setattr(verb, "calibrate", nothing)
    return asked


def before(how: str, device: str) -> str:
    console = Console(record=True, width=200)
    verb.before_training(how, torch.device(device), console)
    return console.export_text()


def test_a_training_calibrates_a_gpu_once(calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "table", lambda device: None)
    monkeypatch.setattr(verdicts, "why_none", lambda device: "not calibrated")
    assert before("auto", "cpu") == before("never", "cuda") == before("never", "cpu") == ""
    assert calls == []
    said = before("auto", "cuda")
    assert "not calibrated; this is done now (--calibrate never leaves it out)" in said
    assert "calibrated: of 1 calls serves native 1" in said
    before("full", "cpu")
    assert [(c["device"], c["minutes"], c["only_if_new"]) for c in calls] == [("cuda", 1.0, True), ("cpu", None, True)]
    monkeypatch.setattr(verdicts, "table", lambda device: verdicts.Table(Record({}, left=3)))
    assert before("auto", "cuda") == ""
    before("full", "cuda")
    assert calls[-1]["device"] == "cuda" and not calls[-1]["only_if_new"]
    monkeypatch.setattr(verdicts, "table", lambda device: verdicts.Table(Record({})))
    assert before("full", "cuda") == ""
    assert len(calls) == 3


@pytest.mark.parametrize("error", [TimeoutError("another process calibrates"), PermissionError(13, "no", "/cache")])
def test_a_training_does_not_fail_for_it(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: Any, **more: Any) -> Record:
        raise error

    monkeypatch.setattr(verb, "calibrate", fails)
    assert f"note: not calibrated, what serves without it serves: {error}" in before("full", "cpu")


def test_doctor_tells_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)["calibration"]
    assert found["file"] == str(verdicts.path()) and found["state"].startswith("not calibrated")
    known(left=1)
    verdicts.forget()
    main(["doctor"])
    out = " ".join(capsys.readouterr().out.split())
    assert "1 calls compared on 2026-02-03T04:05:06+00:00, 1 steps left out" in out
    assert "native of upfirdn2d serves no float32: wrong" in out
