"""The figures of a run, one JSON object a line."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastgan.checkpoint import replacing


def finite(value: Any) -> Any:
    """value with what JSON cannot hold, NaN and infinities, as null."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def read_stats(path: str | Path) -> list[dict[str, Any]]:
    """The lines of a stats file, in order; a last line that a killed run left unfinished is passed over.

    Args:
        path: a file that `StatsWriter` wrote.

    Returns:
        one dict a line; each has "kimg".

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line before the last is no JSON object with "kimg"; the message names file and line.
    """
    path = Path(path)
    lines = path.read_bytes().split(b"\n")
    records: list[dict[str, Any]] = []
    # What follows the last line break is empty, or unfinished.
    for number, line in enumerate(lines[:-1], start=1):
        try:
            record = json.loads(line)
            float(record["kimg"])
        except (ValueError, TypeError, KeyError) as error:
            got = line[:80].decode(errors="backslashreplace")
            raise ValueError(
                f'{path}, line {number}: expected a JSON object with "kimg", got {got!r}; mend or remove the line'
            ) from error
        records.append(record)
    return records


class StatsWriter:
    """Appends figures to a JSONL file, one object a line, each line on the disk when `write` returns.

    Args:
        path: the file; its folder must exist.
        resume_kimg: None begins a new file. A number keeps the lines with "kimg" up to it and drops the later ones, so
            that a run resumed from an earlier checkpoint does not tell the same stretch twice.

    Raises:
        ValueError: the file to resume is not one of ours; the message names it.
        OSError: the file could not be read or written.

    Example:
        >>> stats = StatsWriter("stats.jsonl")  # doctest: +SKIP
        >>> stats.write({"kimg": 1.0, "images_per_second": 80.2, "loss": {"G/adversarial": 0.7}})  # doctest: +SKIP
    """

    def __init__(self, path: str | Path, resume_kimg: float | None = None) -> None:
        self.path = Path(path)
        kept: list[dict[str, Any]] = []
        if resume_kimg is not None and self.path.exists():
            kept = [record for record in read_stats(self.path) if record["kimg"] <= resume_kimg]
        with replacing(self.path) as partial:
            partial.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")

    def write(self, record: Mapping[str, Any]) -> None:
        """file <- record as one line; NaN and infinities are written as null.

        Args:
            record: JSON values; must hold "kimg" (thousands of real images seen).

        Raises:
            ValueError: "kimg" is absent.
            TypeError: a value that JSON cannot hold.
            OSError: the line could not be written, or the file has vanished.
        """
        if "kimg" not in record:
            raise ValueError(f'record must hold "kimg", got {sorted(record)}')
        line = (json.dumps(finite(record), allow_nan=False) + "\n").encode()
        try:
            # Not created: a file that has vanished with its folder is an error.
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
            try:
                while line:
                    line = line[os.write(descriptor, line) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error
