"""The places of the program at which scripts/kill_points.py kills a training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import fastgan

PACKAGE = str(Path(fastgan.__file__).parent)


@dataclass(frozen=True)
class Place:
    """A named place of the program, as a profile hook sees it.

    Attributes:
        kind: how the table calls it.
        function: name of the Python function.
        event: "call", "return", "c_call" or "c_return".
        callee: for the latter two, the name of the C function that is called.
        variable, begins: a local variable of the function, and what the file name (or number) in it begins with.
        part: share of the bytes that are on the disk, for a file that is being written; None leaves it as it is.
    """

    kind: str
    function: str
    event: str = "call"
    callee: str = ""
    variable: str = ""
    begins: str = ""
    part: float | None = None

    def matches(self, frame: FrameType, event: str, argument: Any) -> bool:
        if event != self.event or frame.f_code.co_name != self.function:
            return False
        if self.callee and argument.__name__ != self.callee:
            return False
        if not self.variable:
            return frame.f_code.co_filename.startswith(PACKAGE)
        value = frame.f_locals.get(self.variable)
        return (value.name if isinstance(value, Path) else str(value)).startswith(self.begins)


def _file(what: str, begins: str) -> list[Place]:
    """The places of a file that is replaced whole."""
    partly = [
        Place(f"{what}: {part:.0%} of the bytes", "_sync", "c_call", "fsync", "path", f".{begins}", part)
        for part in (0.0, 0.3, 0.9)
    ]
    return [
        *partly,
        Place(f"{what}: before the sync", "_sync", "c_call", "fsync", "path", f".{begins}"),
        Place(f"{what}: before the rename", "replacing", "c_call", "replace", "path", begins),
        Place(f"{what}: after the rename", "replacing", "c_return", "replace", "path", begins),
    ]


PLACES = [
    *_file("checkpoint", "checkpoint-"),
    Place("checkpoint: before an old one is removed", "unlink", "c_call", "unlink", "self", "checkpoint-"),
    Place("checkpoint: after an old one is removed", "unlink", "c_return", "unlink", "self", "checkpoint-"),
    *_file("grid", "grid-"),
    *_file("stats at the start", "stats.jsonl"),
    Place("stats line: before", "write", "c_call", "write", "line", 'b\'{"kimg"'),
    Place("stats line: half of it", "write", "c_call", "write", "line", 'b\'{"kimg"', 0.5),
    Place("stats line: after", "write", "c_return", "write", "line", 'b\'{"kimg"'),
    Place("lazy step: after R1's gradient", "gradient", "return"),
    Place("lazy step: after the path length", "path_length_penalty", "return"),
    Place("optimizer: before a step", "step", "call", "", "self", "Adam"),
    Place("optimizer: after a step", "step", "return", "", "self", "Adam"),
    Place("micro-batches: G's second", "generator_loss", "call", "", "move", "Move(first=False"),
    Place("micro-batches: D's second", "discriminator_loss", "return", "", "move", "Move(first=False"),
    Place("between optimizers and average", "update", "call", "", "self", "<fastgan.train.ema.Ema "),
    Place("metrics", "measure", "return", "", "self", "<fastgan.train.scores.Scores "),
]
BY_FUNCTION: dict[str, list[Place]] = {}
for each_place in PLACES:
    BY_FUNCTION.setdefault(each_place.function, []).append(each_place)
# A second kill, while the first is being recovered from.
RESUMING = [
    Place("", "read_whole", "return"),
    Place("", "restore", "return"),
    Place("", "put_newer_aside", "call"),
    Place("", "_remove_old", "call"),
    Place("", "replacing", "c_call", "replace", "path", "stats.jsonl"),
    Place("", "replacing", "c_return", "replace", "path", "stats.jsonl"),
    Place("", "step", "call", "", "state", "TrainState"),
]
