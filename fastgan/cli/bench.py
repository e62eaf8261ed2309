"""`fastgan bench`: the operators beside their baselines."""

from __future__ import annotations

import dataclasses
import json
import platform
from dataclasses import dataclass
from typing import Any, Literal

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from fastgan.bench.operators import calls, cases, refusals
from fastgan.bench.timing import interleaved
from fastgan.ops.allocation import tune_cpu_allocator


@dataclass
class BenchOptions:
    """Time the operators beside a copy of their output, plain torch and the references.

    The calls of a case take turns. Shown are medians with 20 and 80 percentiles, and the ratio to the copy, below which
    an operator that is bound by memory cannot come by much.
    """

    seconds: float = 1.0
    """time for each case and pass, seconds"""
    device: Literal["cpu", "cuda"] = "cpu"
    """where to run"""
    threads: int | None = None
    """CPU threads; default: torch's own"""
    json: bool = False
    """print one JSON object instead of a table"""


def run(options: BenchOptions) -> int:
    """Times every case and prints what was found.

    Args:
        options: the command line.

    Returns:
        0, the exit status.

    Raises:
        ValueError: a device that is not there, or an option out of range.
    """
    if options.seconds <= 0:
        raise ValueError(f"--seconds must be above 0, got {options.seconds:g}")
    if options.threads is not None and options.threads < 1:
        raise ValueError(f"--threads must be at least 1, got {options.threads}")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: this torch sees no GPU (fastgan doctor says more)")
    tuned = tune_cpu_allocator()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    rows, reasons = _measure(options)
    where = torch.cuda.get_device_name() if options.device == "cuda" else f"{platform.machine()} CPU"
    machine = {
        "device": where,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "allocator_tuned": bool(tuned),
    }
    if options.json:
        print(json.dumps({"machine": machine, "timings": rows, "left_out": reasons}, indent=2))
    else:
        _show(machine, rows, reasons)
    return 0


def _measure(options: BenchOptions) -> tuple[list[dict[str, Any]], list[str]]:
    rows: list[dict[str, Any]] = []
    reasons: dict[str, None] = {}
    synchronize = torch.cuda.synchronize if options.device == "cuda" else lambda: None
    for case in cases(options.device):
        reasons.update({f"{case.op}, {name}: {why}": None for name, why in refusals(case).items()})
        for backward in (False, True):
            timings = interleaved(calls(case, backward=backward), seconds=options.seconds, synchronize=synchronize)
            copy = timings["copy"].median
            for name, timing in timings.items():
                row = {
                    "op": case.op,
                    "case": case.name,
                    "pass": "fwd+bwd" if backward else "fwd",
                    "what": name,
                }
                rows.append({**row, **dataclasses.asdict(timing), "of_copy": timing.median / copy})
    return rows, list(reasons)


def _show(machine: dict[str, Any], rows: list[dict[str, Any]], reasons: list[str]) -> None:
    console = Console(highlight=False)
    console.print(", ".join(f"{key} {value}" for key, value in machine.items()), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    for name in ("ms", "20 % - 80 %", "x copy"):
        table.add_column(name, justify="right", no_wrap=True)
    before = None
    for row in rows:
        title = f"{row['op']} {row['case']}, {row['pass']}"
        if title != before:
            table.add_row(f"[bold]{title}[/bold]")
            before = title
        spread = f"{row['low']:.2f} - {row['high']:.2f}"
        table.add_row(f"  {row['what']}", f"{row['median']:.2f}", spread, f"{row['of_copy']:.2f}")
    console.print(table)
    for reason in reasons:
        console.print(f"left out: {reason}", soft_wrap=True)
