"""Write the HTML report of a run."""

from __future__ import annotations

from fastgan.cli.options.report import ReportOptions
from fastgan.literal import literal
from fastgan.report import write_report


def run(options: ReportOptions) -> int:
    """The verb; returns the exit status."""
    print(literal(f"wrote {write_report(options.run, options.out)}"))
    return 0
