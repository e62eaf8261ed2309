"""Whole runs over small cases."""

from __future__ import annotations

import io
import json

import pytest
import torch
from rich.console import Console

from fastgan.bench import __main__ as entry
from fastgan.bench import ops
from fastgan.bench.ops import OpsOptions
from fastgan.bench.roofline import Roofs, measure_roofs
from tests.bench.test_measure import small

ROOFS = Roofs(1e9, 1 << 20, {"float32": 1e12, "bfloat16": 2e12}, 64)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list:
    """Runs take two small cases and no time for the roofs; the list holds the cases."""
    chosen = [small("bias_act"), small("upfirdn2d")]
    monkeypatch.setattr(ops, "cases", lambda device, names, quick: [c for c in chosen if c.op in names])
    monkeypatch.setattr(ops, "measure_roofs", lambda *a, **k: ROOFS)
    monkeypatch.setattr(ops, "tune_cpu_allocator", lambda: False)
    return chosen


def run(options: OpsOptions, **more) -> tuple[int, str]:
    text = io.StringIO()
    status = ops.run(options, console=Console(file=text, width=120, highlight=False), **more)
    return status, text.getvalue()


def options(**more) -> OpsOptions:
    return OpsOptions(device="cpu", layout=("nchw",), seconds=1e-3, no_compile=True, **more)


def test_a_run_is_complete(quick, tmp_path):
    status, text = run(options(json=tmp_path / "ops.json"))
    record = json.loads((tmp_path / "ops.json").read_text())
    assert status == 0 and (record["complete"], record["done"], record["planned"]) == (True, 6, 6)
    assert record["machine"]["torch"] == torch.__version__ and record["roofs"]["copy_rate"] == 1e9
    assert {row["direction"] for row in record["rows"]} == {"forward", "forward+backward", "double backward"}
    assert all(row["time"]["median"] > 0 for row in record["rows"] if row["status"] == "timed")
    assert "bias_act lrelu bias clamp, fp32 nchw [2, 3, 6, 4]" in text and "0 wrong" in text and "copy 1.0 GB/s" in text


def test_the_roofs_alone(quick, tmp_path):
    status, text = run(options(json=tmp_path / "roofs.json"), what="roofline")
    record = json.loads((tmp_path / "roofs.json").read_text())
    assert (
        status == 0
        and record["complete"]
        and record["rows"] == []
        and record["roofs"]["matmul_rates"] == {"float32": 1e12, "bfloat16": 2e12}
    )
    assert "copy 1.0 GB/s" in text and "timed" not in text


def test_a_killed_run_keeps_what_it_has(quick, tmp_path, monkeypatch):
    measured, calls = ops._measured, []

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return measured(*arguments)

    monkeypatch.setattr(ops, "_measured", killed)
    with pytest.raises(KeyboardInterrupt):
        run(options(json=tmp_path / "ops.json"))
    record = json.loads((tmp_path / "ops.json").read_text())
    assert (record["complete"], record["done"], record["planned"]) == (False, 2, 6)
    assert {row["direction"] for row in record["rows"]} == {"forward", "forward+backward"}
    assert [path.name for path in tmp_path.iterdir()] == ["ops.json"]


def test_the_time_is_kept(quick, tmp_path):
    now = iter([0.0, 1.0, 59.0, 61.0])  # the begin, and before each direction
    status, text = run(options(json=tmp_path / "ops.json", minutes=1), clock=lambda: next(now))
    assert status == 0 and "the time was over: 4 of 6 measurements were left out" in text
    assert not json.loads((tmp_path / "ops.json").read_text())["complete"]


def test_a_wrong_result_is_shown_and_gives_status_1(quick, tmp_path):
    right = quick[0].function
    object.__setattr__(quick[0], "compositions", {"flipped": lambda inputs: right(inputs).neg()})
    status, text = run(options(json=tmp_path / "ops.json", op=("bias_act",)))
    assert status == 1 and "WRONG: torch: bias_act lrelu bias clamp fp32 nchw forward: 2 from float64" in text
    wrong = [row for row in json.loads((tmp_path / "ops.json").read_text())["rows"] if row["status"] == "wrong"]
    assert len(wrong) == 3 and all(row["time"] is None for row in wrong)


def test_a_failure_is_shown_and_gives_status_1(quick, tmp_path):
    def broken(inputs):
        raise RuntimeError("no such\nkernel")

    object.__setattr__(quick[0], "function", broken)
    status, text = run(options(json=tmp_path / "ops.json"))
    assert (
        status == 1 and "FAILED: reference: bias_act lrelu bias clamp fp32 nchw forward: RuntimeError: no such" in text
    )
    assert "0 wrong, 3 failed" in text
    record = json.loads((tmp_path / "ops.json").read_text())
    assert record["complete"] and [row["status"] for row in record["rows"][:3]] == ["failed"] * 3


def test_a_run_ends_where_the_device_is_lost(quick, tmp_path, monkeypatch):
    def broken(inputs):
        raise RuntimeError("an illegal access")

    object.__setattr__(quick[1], "function", broken)
    monkeypatch.setattr(ops, "lost", lambda device: True)
    status, text = run(options(json=tmp_path / "ops.json"))
    assert status == 1 and "serves this process no more after the failure: 2 of 6 measurements were left out" in text
    record = json.loads((tmp_path / "ops.json").read_text())
    assert (record["complete"], record["done"]) == (False, 4)
    assert {row["status"] for row in record["rows"] if row["op"] == "bias_act"} >= {"timed"}


def test_a_reference_that_cannot_run_leaves_the_others(quick, tmp_path):
    def broken(inputs):
        raise RuntimeError("out of memory\nhere")

    object.__setattr__(quick[0], "function", broken)
    status, text = run(options(json=tmp_path / "ops.json"))
    rows = json.loads((tmp_path / "ops.json").read_text())["rows"]
    assert status == 0 and "out of memory" in text
    assert sum(row["status"] == "timed" for row in rows if row["op"] == "upfirdn2d") >= 6


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"seconds": 0.0}, "--seconds must be above 0, got 0.0"),
        ({"minutes": -1.0}, "--minutes must be above 0, got -1.0"),
        ({"threads": 0}, "--threads must be above 0, got 0"),
        (
            {"op": ()},
            "--op must be some of affine_warp, bias_act, upfirdn2d, conv2d_layer, filtered_lrelu, gradient_penalty; "
            "got none",
        ),
        ({"dtype": ("fp8",)}, "--dtype must be some of bf16, fp16, fp32, fp64; got fp8"),
    ],
)
def test_options_that_do_not_fit(more, message):
    with pytest.raises(ValueError, match="^" + message):
        ops.run(OpsOptions(**{"device": "cpu", **more}))


def test_the_file_cannot_be_written(quick, tmp_path):
    with pytest.raises(ValueError, match="--json .*gone.* does not exist"):
        run(options(json=tmp_path / "gone" / "ops.json"))
    with pytest.raises(ValueError, match="--json must name a file"):
        run(options(json=tmp_path))


def test_the_plain_entry_takes_the_same_options(capsys):
    given = "ops --op bias_act --device cpu --dtype fp32 fp16 --layout nchw --seconds 0.5 --json a.json --quick"
    read, what = entry.options([*given.split(), "--minutes", "2", "--threads", "1", "--no-compile"])
    assert (read.op, read.dtype, read.layout, read.seconds) == (("bias_act",), ("fp32", "fp16"), ("nchw",), 0.5)
    assert (str(read.json), read.quick, read.minutes, read.threads, read.no_compile) == ("a.json", True, 2, 1, True)
    assert what == "ops" and entry.options(["roofline"]) == (OpsOptions(), "roofline")
    assert entry.main(["ops", "--seconds", "0"]) == 2
    assert capsys.readouterr().err == "fastgan.bench: error: --seconds must be above 0, got 0.0\n"


def test_roofs_count_bytes_and_operations():
    kinds = (torch.float16, torch.bfloat16, torch.float32)
    sizes = {"copy_bytes": 1000, "matmul_size": 10}
    roofs = measure_roofs(torch.device("cpu"), kinds, seconds=0.0, stopwatch=lambda call: 2.0, **sizes)
    assert roofs.copy_rate == 2 * 1000 / 2e-3 and (roofs.copy_bytes, roofs.matmul_size) == (1000, 10)
    assert roofs.matmul_rates == {"bfloat16": 2 * 10**3 / 2e-3, "float32": 2 * 10**3 / 2e-3}


def test_the_floor_is_the_longer_of_bytes_and_products():
    assert ROOFS.floor(2_000_000, 0, torch.float64) == pytest.approx(2.0)  # ms; no products, no rate needed
    assert ROOFS.floor(2_000_000, 10**10, torch.float32) == pytest.approx(10.0)
    assert ROOFS.floor(2_000_000, 10**10, torch.float16) == pytest.approx(5.0)
    assert ROOFS.floor(2_000_000, 10**9, torch.bfloat16) == pytest.approx(2.0)
