"""`fastgan calibrate`: proves and times kernels, and shows what is known of a device."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from rich import box
from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from fastgan.calibration import calibrate
from fastgan.calibration.course import Progress as Told
from fastgan.calibration.course import plan
from fastgan.calibration.trials import timed
from fastgan.checkpoint import replacing
from fastgan.cli.options.calibrate import CalibrateOptions
from fastgan.ops import verdicts
from fastgan.ops.verdicts import Record


def run(options: CalibrateOptions) -> int:
    """The verb; returns the exit status: 0; with --show 1 if nothing is known of the device."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 160)
    if options.threads is not None:
        if options.threads < 1:
            raise ValueError(f"--threads must be at least 1, got {options.threads}")
        torch.set_num_threads(options.threads)
    device = _device(options.device)
    if options.json is not None and not options.json.absolute().parent.is_dir():
        raise ValueError(f"--json {options.json}: the folder {options.json.absolute().parent} does not exist")
    if options.dry_run:
        _print_plan(options, device, console)
        return 0
    if options.show:
        found = verdicts.table(device)
        if found is None:
            console.print(Text(verdicts.why_none(device)), soft_wrap=True)
            return 1
        record = found.record
    else:
        with progress(console) as told:
            record = calibrate(device, minutes=options.minutes, ops=options.op, progress=told)
    console.print(tables(record))
    console.print(Text(f"{'known from' if options.show else 'wrote'} {verdicts.path()}"), soft_wrap=True)
    if options.json is not None:
        with replacing(options.json) as partial:
            partial.write_text(json.dumps(record.as_json(), indent=1) + "\n", encoding="utf-8")
        console.print(Text(f"wrote {options.json}"), soft_wrap=True)
    return 0


def _device(name: str | None) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "--device cuda: this torch sees no GPU (fastgan doctor says more); cpu calibrates the processor"
        )
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def _print_plan(options: CalibrateOptions, device: torch.device, console: Console) -> None:
    todo = plan(device, options.op)
    for subject, form, dtype in todo.checks:
        console.print(Text(f"prove {form} of {subject} in {dtype}"))
    for subject, dtype, number in todo.timings:
        trial = timed(subject, device.type, dtype)[number]
        console.print(Text(f"time {subject}: {trial.name} {dtype} {trial.layout}"))
    console.print(Text(f"{len(todo.checks)} to prove, {len(todo.timings)} to time on {device}"))


def before_training(how: str, device: torch.device, console: Console) -> None:
    """What `fastgan train --calibrate` does: a training never fails for it.

    Args:
        how: "never"; "auto", on a GPU of which nothing is known, for a minute; "full", wherever something is left.
        device: of the training.
        console: where the progress is shown.
    """
    known = verdicts.table(device)
    if how == "never" or (how == "auto" and (known is not None or device.type != "cuda")):
        return
    if known is not None and not known.record.left:
        return
    console.print(
        Text(f"{verdicts.why_none(device)}; this is done now (--calibrate never leaves it out)"), soft_wrap=True
    )
    minutes = 1.0 if how == "auto" else None
    try:
        with progress(console) as told:
            record = calibrate(device, minutes=minutes, progress=told, only_if_new=known is None)
    except (OSError, RuntimeError) as error:  # TimeoutError is an OSError
        console.print(Text(f"note: not calibrated, what serves without it serves: {error}"), soft_wrap=True)
        return
    console.print(Text(summary(record)), soft_wrap=True)


def summary(record: Record) -> str:
    """A line: how many calls each form serves, and how many forms lost a place."""
    served: dict[str, int] = {}
    for verdict in record.verdicts:
        form = verdict.ranking[0]
        served[form] = served.get(form, 0) + 1
    counts = ", ".join(f"{form} {count}" for form, count in sorted(served.items(), key=lambda each: -each[1]))
    lost = f"; {len(record.losses)} places lost" if record.losses else ""
    return (
        f"calibrated: of {len(record.verdicts)} calls serves {counts or 'nothing new'}{lost} (fastgan calibrate --show)"
    )


@contextmanager
def progress(console: Console) -> Iterator[Told]:
    """Shows how far a calibration is: what it yields is `calibrate`'s `progress`."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task("calibrating", total=None)
        yield lambda done, total, text: shown.update(task, completed=done, total=total, description=text)


def tables(record: Record) -> Group:
    """What is known of a device, for people: a line a call that was timed, then who lost a place, and why."""
    about = record.identity
    threads = f", {about['threads']} threads" if about["threads"] else ""
    driver = f", driver {about['driver']}" if about["driver"] else ""
    capability = f" ({about['capability']})" if about["capability"] else ""
    head = f"{about['device']}{capability}{threads}{driver}; {record.date}"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("of", "call", "serves", "ms", "others"):
        table.add_column(name, justify="right" if name == "ms" else "left", no_wrap=name != "call")
    for verdict in sorted(record.verdicts, key=lambda verdict: verdict.of.subject):
        times, first = verdict.milliseconds, verdict.ranking[0]
        others = sorted((times[form][0], form) for form in times if form != first)
        table.add_row(
            verdict.of.subject,
            Text(verdict.case),
            Text(first),
            f"{times[first][0]:.3f}",
            Text(", ".join(f"{form} {took:.3f}" for took, form in others)),
        )
    lines = [Text(f"{loss.form} of {loss.subject} serves no {loss.dtype}: {loss.reason}") for loss in record.losses]
    left = [Text(f"the time was over: {record.left} steps were left out")] if record.left else []
    noise = [Text(f"two timings of one call were {100 * record.noise:.0f} % apart (median)")] if record.verdicts else []
    return Group(Text(head), table, *lines, *left, *noise)
