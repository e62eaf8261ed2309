"""Write the HTML report of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from fastgan.literal import literal
from fastgan.report import write_report


@dataclass(frozen=True)
class ReportOptions:
    """Write the HTML report of a run, going on or ended: one file that any browser opens, with nothing beside it."""

    run: Annotated[Path, tyro.conf.Positional]
    """folder of the run"""
    out: Path | None = None
    """the file; default: report.html in the folder of the run"""


def run(options: ReportOptions) -> int:
    """The verb; returns the exit status."""
    print(literal(f"wrote {write_report(options.run, options.out)}"))
    return 0
