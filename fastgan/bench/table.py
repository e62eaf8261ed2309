"""The results of a run: a JSON file that is whole after every measurement, and tables for people."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from fastgan.bench.measure import Row
from fastgan.bench.roofline import Roofs
from fastgan.checkpoint import replacing

FORMAT = 2


@dataclass
class Results:
    """All that a run of `fastgan bench ops` found.

    Attributes:
        machine: what `describe_machine` tells.
        roofs: of the device, measured in this run.
        rows: in the order of measurement.
        planned: measurements (case, dtype, layout, direction) that were asked for.
        done: of these.
        file: JSON file that `add` writes; None for none.
    """

    machine: dict[str, Any]
    roofs: Roofs
    planned: int
    file: Path | None = None
    rows: list[Row] = field(default_factory=list)
    done: int = 0

    def add(self, rows: Sequence[Row]) -> None:
        """Takes the rows of one measurement and writes the file anew, whole at every instant.

        Raises:
            OSError: the file could not be written.
        """
        self.rows += rows
        self.done += 1
        self.save()

    def save(self) -> None:
        """Writes the file, if there is one; see `add`."""
        if self.file is None:
            return
        with replacing(self.file) as partial:
            partial.write_text(json.dumps(self.as_json(), indent=1, allow_nan=False) + "\n", encoding="utf-8")

    def as_json(self) -> dict[str, Any]:
        rows = [asdict(row) for row in self.rows]
        for row in rows:
            if row["error"] is not None and not math.isfinite(row["error"]):
                row["error"] = None  # JSON has no infinity; the detail tells
        record = {"format": FORMAT, "planned": self.planned, "done": self.done, "complete": self.done == self.planned}
        return {**record, "machine": self.machine, "roofs": asdict(self.roofs), "rows": rows}

    @property
    def wrong(self) -> list[Row]:
        """Implementations whose results are wrong."""
        return [row for row in self.rows if row.status == "wrong"]

    @property
    def failed(self) -> list[Row]:
        """Implementations that raised, and must not."""
        return [row for row in self.rows if row.status == "failed"]


def roofs_table(machine: dict[str, Any], roofs: Roofs) -> Group:
    """Device, versions and roofs in two lines."""
    capability = f", sm_{machine['capability'].replace('.', '')}" if "capability" in machine else ""
    threads = f", {machine['threads']} threads" if machine["device_type"] == "cpu" else ""
    native = machine["native"] if isinstance(machine["native"], str) else "native library loaded"
    versions = [f"fastgan {machine['fastgan']}", f"torch {machine['torch']}", native]
    versions += [f"triton {machine['triton']}"] if machine["triton"] else []
    sheet = f" of {roofs.datasheet_copy_rate / 1e9:.0f} by clock and bus width" if roofs.datasheet_copy_rate else ""
    reached = f"copy {roofs.copy_rate / 1e9:.1f} GB/s{sheet} ({roofs.copy_bytes >> 20} MiB, read + written)"
    rates = ", ".join(f"{name} {rate / 1e12:.3g} TFLOP/s" for name, rate in roofs.matmul_rates.items())
    return Group(
        Text(f"{machine['device']}{capability}{threads}; {', '.join(versions)}"),
        Text(f"{reached}; products of {roofs.matmul_size} squared: {rates}"),
    )


def rows_table(rows: Sequence[Row]) -> Group:
    """The rows of one case, dtype and layout; reasons and compositions are numbered below."""
    first = rows[0]
    title = f"{first.op} {first.kind}, {first.dtype} {first.layout} [{', '.join(map(str, first.shape))}]"
    table = Table(title=Text(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("direction", no_wrap=True)
    table.add_column("by", no_wrap=True)
    rates = ("GB/s", "TFLOP/s") if first.flops else ("GB/s",)
    for name in ("ms", "20-80 %", *rates, "of floor", "speed-up", "MiB"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("note")
    notes: list[str] = []
    shown = None
    for row in rows:
        if row.direction != shown:
            table.add_row(row.direction, *(Text(text, "dim") for text in _floor(row)))
            shown = row.direction
        if row.detail and row.detail not in notes:
            notes.append(row.detail)
        mark = f"[{notes.index(row.detail) + 1}]" if row.detail else ""
        style = {"wrong": "bold red", "failed": "bold red", "left out": "dim"}.get(row.status, "")
        table.add_row(
            "",
            Text(row.implementation, style),
            *_figures(row),
            Text(f"{row.status.upper() + ' ' if row.status in ('wrong', 'failed') else ''}{mark}", style),
        )
    return Group(table, *(Text(f"[{number}] {note}", "dim") for number, note in enumerate(notes, start=1)))


def _floor(row: Row) -> list[str]:
    seconds = 1e-3 * row.floor
    flops = [f"{row.flops / seconds / 1e12:.3g}"] if row.flops else []
    return ["floor", f"{row.floor:.3f}", "", f"{row.bytes / seconds / 1e9:.1f}", *flops, "100 %"]


def _figures(row: Row) -> list[str]:
    if row.time is None or row.bytes_per_second is None or row.share is None or row.peak_bytes is None:
        return ["-"] * (7 if row.flops else 6)
    time = row.time
    return [
        f"{time.median:.3f}",
        f"{time.low:.3f}-{time.high:.3f}",
        f"{row.bytes_per_second / 1e9:.1f}",
        *([f"{row.flops_per_second / 1e12:.3g}"] if row.flops_per_second else []),
        f"{100 * row.share:.0f} %",
        f"{row.speedup:.2f}",
        f"{row.peak_bytes / 2**20:.1f}",
    ]


def wide(console: Console) -> Console:
    """The console, with room for a table's columns where it is no terminal."""
    if not console.is_terminal:
        console.width = max(console.width, 120)
    return console
