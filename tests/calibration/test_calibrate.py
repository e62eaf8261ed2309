"""The course of a calibration: what it writes, when it stops, who waits for whom."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import filelock
import pytest
import torch

import fastgan
from fastgan.calibration import course, trials
from fastgan.calibration.child import Child
from fastgan.calibration.course import plan, ranking
from fastgan.ops import verdicts
from fastgan.ops.identity import identity
from fastgan.ops.operator import OPERATORS
from fastgan.ops.verdicts import Loss, Measured, Record, Verdict
from tests.native.building import ROOT

pytestmark = pytest.mark.thorough

CPU = torch.device("cpu")
SMALL = ["tests.calibration.small"]


@pytest.fixture(autouse=True)
def small(no_stand_ins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cache folder of the test's own, and trials that take no time, here and in its processes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(trials, "CHECKED", [(1, 2, 3, 5)])
    monkeypatch.setattr(trials, "TIMED", {"cpu": [(1, 8, 4, 4)], "cuda": [(1, 8, 4, 4)]})
    verdicts.forget()
    yield
    verdicts.forget()


def test_what_is_found_is_written_and_counts(native_provider) -> None:
    steps: list[tuple[int, int, str]] = []
    record = fastgan.calibrate("cpu", ops=["upfirdn2d"], modules=SMALL, progress=lambda *step: steps.append(step))
    assert record.losses == [] and record.left == 0 and record.noise >= 0
    assert {verdict.of.subject for verdict in record.verdicts} == {"upfirdn2d"}
    assert {verdict.of.layout for verdict in record.verdicts} == {"nchw", "channels_last"}
    assert all(set(verdict.ranking) == {"native", "reference"} for verdict in record.verdicts)
    assert all("torch's best" in verdict.milliseconds for verdict in record.verdicts)
    table = verdicts.table(CPU)
    assert table is not None and table.record == record
    todo = plan(CPU, ["upfirdn2d"])
    assert [step[0] for step in steps] == list(range(todo.steps)) and {step[1] for step in steps} == {todo.steps}
    assert steps[0][2] == "proving native of upfirdn2d fp32"


def test_what_is_known_of_other_operators_stays(native_provider) -> None:
    first = fastgan.calibrate("cpu", ops=["upfirdn2d"], modules=SMALL)
    second = fastgan.calibrate("cpu", ops=["bias_act"], modules=SMALL)
    assert {verdict.of.subject for verdict in second.verdicts} == {"upfirdn2d", "bias_act"}
    assert [v for v in second.verdicts if v.of.subject == "upfirdn2d"] == first.verdicts
    assert len(verdicts.read_records()) == 1


def test_convolutions_are_tried_before_their_layers(native_provider) -> None:
    todo = plan(CPU, ["conv2d_layer"])
    assert [check[:2] for check in todo.checks] == [
        ("conv2d_layer/native", "winograd 4x4"),
        ("conv2d_layer/native", "winograd 2x2"),
        ("conv2d_layer/native", "winograd 3x3"),
        ("conv2d_layer", "native"),
    ]
    record = fastgan.calibrate("cpu", ops=["conv2d_layer"], modules=SMALL)
    assert record.losses == []
    of_convolutions = [verdict for verdict in record.verdicts if verdict.of.subject == "conv2d_layer/native"]
    whats = ("3x3 convolution", "3x3 input gradient", "3x3 weight gradient")
    assert {v.of.kind for v in of_convolutions} == {what + way for what in whats for way in ("", " down 2", " up 2")}
    forms = {v.of.kind.partition(" ")[2].rpartition("gradient")[2]: set(v.ranking) for v in of_convolutions}
    assert forms[" up 2"] == {"winograd 3x3", "torch"} and forms[" down 2"] == {"winograd 4x4", "torch"}
    assert {"modulated 3x3 up 2 down 1", "1x1 up 1 down 2"} <= {verdict.of.kind for verdict in record.verdicts}
    known = [verdict.of for verdict in record.verdicts]
    assert len(set(known)) == len(known), "two verdicts on one call"


def test_when_the_time_is_over_the_rest_keeps_its_place(native_provider) -> None:
    record = fastgan.calibrate("cpu", minutes=1e-9, ops=["bias_act"], modules=SMALL)
    assert record.verdicts == [] and record.losses == [] and record.left == plan(CPU, ["bias_act"]).checks.__len__()


def test_a_short_calibration_takes_nothing_from_a_long_one(native_provider) -> None:
    long = fastgan.calibrate("cpu", ops=["upfirdn2d"], modules=SMALL)
    lost = Loss("upfirdn2d", "native", "float64", "wrong")  # of a dtype that is not tried here
    course._write(dataclasses.replace(long, losses=[lost]))
    short = fastgan.calibrate("cpu", minutes=1e-9, ops=["upfirdn2d"], modules=SMALL)
    assert short.left == 1 and short.verdicts == long.verdicts and short.losses == [lost]


def test_what_is_not_reached_on_a_gpu_keeps_its_proof() -> None:
    of = Measured("bias_act", "float32", "nchw", "smooth", (8,))
    before = Record({"type": "cuda"}, verdicts=[Verdict(of, ("native", "reference"), {})])
    verdicts.path().parent.mkdir(parents=True, exist_ok=True)
    course._write(before)
    unreached = {("bias_act", "native", "float32"), ("bias_act", "triton", "float32")}
    losses = [Loss(*key, "unproven: the time was over before it was tried") for key in sorted(unreached)]
    todo = course.Plan([("bias_act", "native", "fp32"), ("bias_act", "triton", "fp32")], [])
    merged = course._merged(Record({"type": "cuda"}, losses=losses), todo, unreached)
    assert merged.verdicts == before.verdicts and [loss.form for loss in merged.losses] == ["triton"]


def test_a_damaged_file_is_written_anew(native_provider) -> None:
    verdicts.path().parent.mkdir(parents=True, exist_ok=True)
    verdicts.path().write_text("{", encoding="utf-8")
    record = fastgan.calibrate("cpu", ops=["upfirdn2d"], modules=SMALL)
    assert verdicts.read_records() == [record]


def test_records_of_other_states_stay(native_provider) -> None:
    other = Record({**identity(CPU), "driver": "another"}, "2025", losses=[Loss("bias_act", "native", "float32", "-")])
    verdicts.path().parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"format": verdicts.FORMAT, "records": [other.as_json()]})
    verdicts.path().write_text(text, encoding="utf-8")
    record = fastgan.calibrate("cpu", ops=["upfirdn2d"], modules=SMALL)
    assert verdicts.read_records() == [other, record]


def test_another_process_is_waited_for(native_provider) -> None:
    verdicts.path().parent.mkdir(parents=True, exist_ok=True)
    with (
        filelock.FileLock(verdicts.path().with_name("calibration.lock")),
        pytest.raises(TimeoutError, match="another process calibrates and did not end in 0 s"),
    ):
        fastgan.calibrate("cpu", ops=["upfirdn2d"], modules=SMALL, wait=0.2)


_TWICE = """
import sys, torch
torch.set_num_threads(1)
import tests.calibration.small
from fastgan.calibration import calibrate
print(calibrate("cpu", ops=["bias_act"], modules=["tests.calibration.small"], only_if_new=True).date)
"""


def test_two_processes_at_once_calibrate_once(native_provider) -> None:
    command = [sys.executable, "-c", _TWICE]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    dates = {process.communicate(timeout=120)[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    (record,) = verdicts.read_records()
    assert dates == {record.date + "\n"}


def test_a_killed_process_leaves_the_file_whole_and_no_child(native_provider) -> None:
    before = fastgan.calibrate("cpu", ops=["upfirdn2d"], modules=SMALL)
    text = verdicts.path().read_bytes()
    program = _TWICE.replace(", only_if_new=True", ', progress=lambda *step: print("step", flush=True)')
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(3):
        assert process.stdout.readline() == "step\n"
    children = _children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert children
    for _ in range(100):
        if not any(map(_lives, children)):
            break
        time.sleep(0.1)
    assert not any(map(_lives, children))
    assert verdicts.path().read_bytes() == text and verdicts.read_records() == [before]
    assert {path.name for path in verdicts.path().parent.iterdir()} <= {"calibration.json", "calibration.lock"}
    fastgan.calibrate("cpu", ops=["upfirdn2d"], modules=SMALL, wait=5)  # its lock is gone with it


def _children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text(encoding="utf-8")
            except OSError:
                continue
            if int(stat.rpartition(")")[2].split()[1]) == pid:
                found.append(int(entry.name))
    return found


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_process_that_cannot_begin_is_told_of() -> None:
    settings = {"device": "cpu", "threads": 1, "modules": ["no_such_module"]}
    child = Child(settings)
    with pytest.raises(RuntimeError, match=r"ends the process \(status 1\).*No module named 'no_such_module'"):
        child.ask({"task": "check"}, 10.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"device": "mps"}, "device must be cpu or cuda, got 'mps'"),
        ({"minutes": 0}, "minutes must be above 0, got 0"),
        ({"ops": ["blur"]}, "op must be some of .*; got blur"),
        ({"ops": []}, "op must be some of .*; got none"),
    ],
)
def test_arguments_that_do_not_fit(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fastgan.calibrate(**{"device": "cpu", **arguments})


def test_what_serves_by_the_rule_is_the_one_to_beat(native_provider) -> None:
    """The tile that the rule takes for 8 images of 4x4 is not the first of the forms."""
    trial = next(t for t in trials.timed("conv2d_layer/native", "cpu", "fp32") if "8x128x4x4" in t.name)
    _, rule = trial.prepared(CPU).measured()
    assert rule == "winograd 2x2" != trials.forms("conv2d_layer/native", "cpu")[0]


def test_only_what_is_clearly_faster_takes_the_first_place() -> None:
    own = (10.0, 9.8, 10.2)
    assert ranking({"own": own, "other": (8.0, 7.9, 8.1)}, 0.01) == ("other", "own")
    assert ranking({"own": own, "other": (8.0, 7.9, 8.1)}, 0.15) == ("own", "other")  # the noise is as large
    assert ranking({"own": own, "other": (9.6, 9.5, 9.7)}, 0.0) == ("own", "other")  # 4 %
    assert ranking({"own": own, "other": (8.0, 7.9, 9.9)}, 0.0) == ("own", "other")  # they overlap
    assert ranking({"own": own, "slow": (30.0, 29, 31), "slower": (40.0, 39, 41)}, 0.0) == ("own", "slow", "slower")
    assert ranking({}, 0.0) == ()


def test_every_operator_is_tried(native_provider) -> None:
    assert {subject.partition("/")[0] for subject, *_ in plan(CPU).checks} == set(OPERATORS)


def test_a_gpu_proves_one_provider_after_another_and_times_what_tells_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(course, "_refusal", lambda *arguments: None)
    todo = plan(torch.device("cuda"))
    names = [subject.partition("/")[2] or form for subject, form, _ in todo.checks]
    assert names == ["native"] * 21 + ["triton"] * 21
    subjects = [subject for subject, *_ in todo.checks]
    assert subjects.index("conv2d_layer/native") < subjects.index("conv2d_layer")
    of = {(subject, dtype) for subject, _, dtype in todo.checks}
    assert {timing[:2] for timing in todo.timings[: len(of)]} == of  # the first call of each
    assert len(set(todo.timings)) == len(todo.timings)
