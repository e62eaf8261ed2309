"""What `fastgan metrics` found of a run's checkpoints: metrics.jsonl in its folder, a line a figure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastgan.checkpoint import replacing
from fastgan.config.fields import is_finite
from fastgan.report.stats import finite

_FILE = "metrics.jsonl"
NEAREST = "nearest.png"  # generated images beside the real ones that are nearest


def add_lines(outdir: Path, lines: Sequence[Mapping[str, Any]]) -> Path:
    """Adds lines to the file, which is replaced whole.

    Returns:
        the file.

    Raises:
        OSError: it could not be read or written.
    """
    file = outdir / _FILE
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    if before and not before.endswith("\n"):
        before += "\n"
    added = "".join(json.dumps(finite(dict(line)), allow_nan=False) + "\n" for line in lines)
    with replacing(file) as partial:
        partial.write_text(before + added, encoding="utf-8")
    return file


def rows(outdir: Path) -> list[dict[str, str]]:
    """The newest line of each figure of each checkpoint, worded; [] where the file is missing.

    Raises:
        ValueError: the file cannot be read; the message names the line.
        OSError: likewise.
    """
    file = outdir / _FILE
    if not file.exists():
        return []
    newest: dict[tuple[Any, ...], dict[str, str]] = {}
    for number, text in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            line = json.loads(text)
            key = tuple(line.get(name) for name in ("network", "data", "figure", "class", "trunc"))
            newest[key] = _worded(line)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{_FILE} line {number} cannot be read: {error}") from error
    return list(newest.values())


def _worded(line: Mapping[str, Any]) -> dict[str, str]:
    value, low, high, floor = (line.get(name) for name in ("value", "low", "high", "floor"))
    of_class = f" of {line['class']}" if "class" in line else ""
    return {
        "checkpoint": Path(line["network"]).name,
        "figure": f"{line['figure']}{of_class}",
        "value": f"{value:.5g}" if is_finite(value) else "not finite",
        "95 % interval": f"{low:.4g} to {high:.4g}" if is_finite(low) and is_finite(high) else "",
        "floor": f"{floor:.4g} (2 × {line.get('floor_images')})" if is_finite(floor) else "",
        "generated": str(line.get("generated_images", "")),
        "real": str(line.get("real_images", "")),
        "extractor": str(line.get("extractor", "")),
        "resized": str(line.get("resize", "")),
    }
