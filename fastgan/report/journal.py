"""What a run tells its report beside the figures, and the report kept up to date as it goes."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch

from fastgan.checkpoint import replacing
from fastgan.report.environment import describe_environment
from fastgan.report.page import write_report


class Journal:
    """Keeps run.json (state, times, environment, warnings, floors of metrics) and report.html in a run's folder.

    Args:
        outdir: the folder of the run.
        device: where it trains.
        resumed: the folder's run goes on: keep when it began, and the floors.

    Attributes:
        warnings: lines that the report shows; whoever finds something appends to it.
        notes: likewise, of what is no cause for worry.
        floors: metric -> the value that perfect images would score.
        captions: what the columns of grids hold, from left to right; () where all hold the same.
    """

    def __init__(self, outdir: Path, device: torch.device, resumed: bool = False):
        self.outdir = outdir
        earlier = _read(outdir / "run.json") if resumed else {}
        self.warnings: list[str] = []
        self.notes: list[str] = []
        self.floors: dict[str, float] = dict(earlier.get("floors") or {})
        self.captions: tuple[str, ...] = tuple(earlier.get("captions") or ())
        self._begun: float = earlier.get("begun") or time.time()
        self._environment = describe_environment(device)
        was = (earlier.get("environment") or {}).get("calibration", self._environment["calibration"])
        if was != self._environment["calibration"]:
            now = self._environment["calibration"]
            self.notes.append(
                f"kernels were chosen by the calibration {was}, now by {now}: results may round otherwise"
            )

    def write(self, state: str) -> str | None:
        """run.json and report.html <- what is known now.

        Args:
            state: "running", "finished" or "stopped".

        Returns:
            None, or what went wrong: a report is not worth a run.
        """
        try:
            record = {"state": state, "begun": self._begun, "written": time.time(), "environment": self._environment}
            record |= {"warnings": self.warnings, "notes": self.notes, "floors": self.floors}
            record |= {"captions": self.captions}
            with replacing(self.outdir / "run.json") as partial:
                partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
            write_report(self.outdir)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return None


def _read(path: Path) -> dict[str, Any]:
    """What an earlier process wrote, empty where that cannot be read."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
