"""`fastgan bench ops` and `fastgan bench roofline`: the run over all cases."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Literal

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fastgan.bench.case import DIRECTIONS, DTYPES, LAYOUTS, Case
from fastgan.bench.cases import cases
from fastgan.bench.machine import describe_machine
from fastgan.bench.measure import Bench, Row, first_line, lost, out_of_memory
from fastgan.bench.options import OpsOptions
from fastgan.bench.roofline import measure_roofs
from fastgan.bench.table import Results, roofs_table, rows_table, wide
from fastgan.bench.timing import CudaStopwatch
from fastgan.ops.allocation import tune_cpu_allocator
from fastgan.ops.operator import OPERATORS

Plan = list[tuple[Case, str, str]]  # with dtype and layout


def run(
    options: OpsOptions,
    what: Literal["ops", "roofline"] = "ops",
    *,
    console: Console | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Measures, prints tables and writes the JSON file.

    Args:
        options: the command line.
        what: "roofline" measures the device's roofs and no operator.
        console: where tables go; None is standard output.
        clock: seconds that only grow; for tests.

    Returns:
        1 if an implementation is wrong or failed, else 0.

    Raises:
        ValueError: an option that does not fit, a device that is not there.
        OSError: the file cannot be written.
    """
    console = wide(console or Console(highlight=False))
    device, seconds = _checked(options), options.seconds / (10 if options.quick else 1)
    dtypes = options.dtype or (("bf16", "fp16", "fp32") if device.type == "cuda" else ("fp32",))
    plan: Plan = [
        (case, dtype, layout)
        for case, dtype, layout in itertools.product(
            cases(device.type, options.op, options.quick), dict.fromkeys(dtypes), dict.fromkeys(options.layout)
        )
        if what == "ops"
    ]
    begin = clock()
    tune_cpu_allocator()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    machine = describe_machine(device)
    properties = machine.get("properties")
    sheet = properties["memory_bytes_per_second"] if isinstance(properties, dict) else None
    stopwatch = CudaStopwatch(device) if device.type == "cuda" else None
    kinds = {case.product_dtype(DTYPES[dtype]) for case, dtype, _ in plan} | {DTYPES[dtype] for dtype in dtypes}
    roofs = measure_roofs(
        device, sorted(kinds, key=str), seconds=seconds, stopwatch=stopwatch, datasheet_copy_rate=sheet
    )
    results = Results(machine, roofs, planned=len(plan) * len(DIRECTIONS), file=options.json)
    results.save()
    console.print(roofs_table(machine, roofs))
    bench = Bench(device, roofs, seconds, stopwatch, compiled=not options.no_compile)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    end = ""  # why the run stops before its plan is done
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("measuring", total=results.planned)
        for case, dtype, layout in plan:
            progress.update(task, description=f"{case.name} {dtype} {layout}")
            rows: list[Row] = []
            for direction in DIRECTIONS:
                if options.minutes is not None and clock() - begin > 60 * options.minutes:
                    end = "the time was over"
                if end:
                    break
                found = _measured(bench, case, dtype, layout, direction)
                results.add(found)
                rows += found
                progress.advance(task)
                if any(row.status == "failed" for row in found) and lost(device):
                    end = "the device serves this process no more after the failure"
            if rows:
                console.print()
                console.print(rows_table(rows))
            if end:
                break
    _conclude(results, console, what, end)
    return 1 if results.wrong or results.failed else 0


def _checked(options: OpsOptions) -> torch.device:
    """The device, if the options fit.

    Raises:
        ValueError: they do not.
    """
    if options.device == "cuda" and not torch.cuda.is_available():
        why = "torch sees no CUDA device or driver" if torch.version.cuda else "this torch is built without CUDA"
        raise ValueError(f"--device cuda: {why}; --device cpu measures the processor")
    for name, value in (("seconds", options.seconds), ("minutes", options.minutes), ("threads", options.threads)):
        if value is not None and not value > 0:
            raise ValueError(f"--{name} must be above 0, got {value}")
    for name, values, known in (
        ("op", options.op, tuple(OPERATORS)),
        ("dtype", options.dtype or tuple(DTYPES), tuple(DTYPES)),
        ("layout", options.layout, tuple(LAYOUTS)),
    ):
        if not values or not set(values) <= set(known):
            raise ValueError(f"--{name} must be some of {', '.join(known)}; got {' '.join(values) or 'none'}")
    if options.json is not None and options.json.is_dir():
        raise ValueError(f"--json must name a file, and {options.json} is a folder")
    if options.json is not None and not options.json.parent.is_dir():
        raise ValueError(f"--json {options.json}: the folder {options.json.parent} does not exist")
    return torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))


def _measured(bench: Bench, case: Case, dtype: str, layout: str, direction: str) -> list[Row]:
    """The rows of one measurement; one that says why, where the reference itself cannot run."""
    try:
        rows = bench.measure(case, dtype, layout, direction)
    except Exception as error:  # mostly for want of memory: the next case may be smaller
        status = "left out" if out_of_memory(error) else "failed"
        rows = [bench.row(case, dtype, layout, direction, "reference", status)]
        rows[0].detail = first_line(error)
    if bench.device.type == "cuda" and not lost(bench.device):
        torch.cuda.empty_cache()
    return rows


def _conclude(results: Results, console: Console, what: str, end: str) -> None:
    console.print()
    for row in [*results.wrong, *results.failed]:
        which = f"{row.implementation}: {row.op} {row.kind} {row.dtype} {row.layout} {row.direction}: {row.detail}"
        console.print(f"{row.status.upper()}: {which}", style="bold red", soft_wrap=True, markup=False)
    if results.done < results.planned:
        left = results.planned - results.done
        console.print(f"{end}: {left} of {results.planned} measurements were left out", style="yellow", soft_wrap=True)
    if what == "ops":
        timed = sum(row.status == "timed" for row in results.rows)
        console.print(f"{timed} timed, {len(results.wrong)} wrong, {len(results.failed)} failed", markup=False)
    if results.file is not None:
        console.print(f"wrote {results.file}", soft_wrap=True, markup=False)
