"""What `fastgan report` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class ReportOptions:
    """Write the HTML report of a run, going on or ended: one file that any browser opens, with nothing beside it."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """folder of the run"""
    out: Path | None = None
    """the file; default: report.html in the folder of the run"""
