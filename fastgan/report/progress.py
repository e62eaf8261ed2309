"""The live display of a training run."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fastgan.literal import literal

# name in the figures -> (label, format)
_KNOWN: dict[str, tuple[str, str]] = {
    "images_per_second": ("img/s", "{:.1f}"),
    "seconds_per_kimg": ("s/kimg", "{:.2f}"),
    "memory_gib": ("memory", "{:.2f} GiB"),
}
_KIND = re.compile(r"^(loss|metric|overfit|augment)/")
# D's mean logits; of "score/real_a" the discriminator is D_a.
_SCORE = re.compile(r"score/(real|fake|trained_on|held_out)(\w*)")
_SPEED = ("images_per_second", "seconds_per_kimg", "memory_gib")
_FILES = {"checkpoint": "last checkpoint", "grid": "last grid"}


def flatten(stats: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(name, value) pairs of nested figures: {"loss": {"G": 1.0}} gives ("loss/G", 1.0).

    Args:
        stats: figures by name; values are numbers, str, None or such a mapping.
        prefix: what the names begin with.

    Yields:
        one pair a figure.
    """
    for key, value in stats.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", value


def format_duration(seconds: float) -> str:
    """seconds as "12s", "3m05s", "2h07m" or "1d03h"; "?" when it is not finite.

    Example:
        >>> format_duration(185.2)
        '3m05s'
    """
    if not math.isfinite(seconds):
        return "?"
    whole = round(max(seconds, 0.0))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def _figure(name: str, value: Any) -> tuple[str, str]:
    """(label, text) of one figure."""
    label, form = _KNOWN.get(name, (_KIND.sub("", name), "{:.4g}"))
    if score := _SCORE.fullmatch(name):
        label, form = f"D{score[2]}({score[1]})", "{:+.3f}"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return label, form.format(value)
    return label, "-" if value is None else str(value)


class TrainingDisplay:
    """A panel with a progress bar and the latest figures; where the output is no terminal, one line an update.

    Figures known by name are shown with their unit, any other figure under its own name:
    "images_per_second", "seconds_per_kimg", "memory_gib", "score/real" and "score/fake" (D's mean logits),
    "loss/<term>", "metric/<name>", "checkpoint" and "grid" (the file last written). Nested mappings are flattened:
    {"loss": {"G": 1.0}} is "loss/G".

    Args:
        total_kimg: thousands of real images at which the run ends.
        title: what is trained, on what.
        console: where to show it; None is standard output.
        clock: seconds that only grow; for tests.

    Example:
        >>> with TrainingDisplay(60, "stylegan2 on emoji64") as display:  # doctest: +SKIP
        ...     display.update(kimg=1.0, stats={"images_per_second": 80.2, "loss": {"G adversarial": 0.71}})
        ...     display.note("wrote runs/demo/network-000001.safetensors")
    """

    def __init__(
        self,
        total_kimg: float,
        title: str,
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total_kimg = float(total_kimg)
        self.title = title
        self.console = console or Console(highlight=False)
        self._clock = clock
        self._kimg = 0.0
        self._figures: dict[str, Any] = {}
        self._message: str | None = None
        self._begin = clock()
        # (time, kimg) of the first update: a resumed run begins above zero, so its speed counts from there.
        self._first: tuple[float, float] | None = None
        self._latest = (self._begin, 0.0)
        self._live: Live | None = None

    def __enter__(self) -> TrainingDisplay:
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self._live = Live(get_renderable=self._panel, console=self.console, refresh_per_second=2)
            self._live.start()
        else:
            self._print(self.title)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def update(self, *, kimg: float, stats: Mapping[str, Any] | None = None, message: str | None = None) -> None:
        """Shows the state of the run.

        Args:
            kimg: thousands of real images seen so far.
            stats: figures by name; those not given keep what was last shown.
            message: a line under the figures, until another takes its place; None leaves it.
        """
        now = self._clock()
        self._kimg = float(kimg)
        self._latest = (now, self._kimg)
        self._first = self._first or self._latest
        given = dict(flatten(stats or {}))
        # A new dict: the display's thread may be going through the old one.
        self._figures = {**self._figures, **given}
        self._message = message or self._message
        if self._live is not None:
            self._live.refresh()
        else:
            self._print(self._line(given, message))

    @property
    def lost(self) -> str | None:
        """Why nothing is shown any more, of an output that says so by its own `lost`; else None."""
        return getattr(self.console.file, "lost", None)

    def note(self, text: str) -> None:
        """Prints a line that stays: above the panel, or among the lines.

        Args:
            text: what happened.
        """
        self._print(text)

    def _print(self, text: str) -> None:
        self.console.print(Text(literal(text)), soft_wrap=True)

    def _seconds_left(self) -> float:
        time_then, kimg_then = self._first or self._latest
        time_last, kimg_last = self._latest
        if kimg_last >= self.total_kimg:
            return 0.0
        if kimg_last > kimg_then and time_last > time_then:
            return (self.total_kimg - kimg_last) * (time_last - time_then) / (kimg_last - kimg_then)
        pace = self._figures.get("seconds_per_kimg")
        return (self.total_kimg - kimg_last) * pace if isinstance(pace, (int, float)) else math.inf

    def _line(self, given: Mapping[str, Any], message: str | None) -> str:
        share = self._kimg / self.total_kimg if self.total_kimg else 1.0
        parts = [
            f"kimg {self._kimg:.2f}/{self.total_kimg:g} ({share:.0%})",
            f"left {format_duration(self._seconds_left())}",
        ]
        parts += [" ".join(_figure(name, value)) for name, value in given.items()]
        return "  ".join([*parts, message] if message else parts)

    def _panel(self) -> Panel:
        # The clock goes on between updates; the estimate is that of the last one.
        left = self._seconds_left() - (self._clock() - self._latest[0])
        bar = Table.grid(padding=(0, 1), expand=True)
        bar.add_column(ratio=1)
        bar.add_column(justify="right", no_wrap=True)
        bar.add_row(
            ProgressBar(total=max(self.total_kimg, 1e-9), completed=self._kimg),
            Text.assemble(
                (f"{self._kimg:.1f}", "bold"),
                f"/{self.total_kimg:g} kimg  ",
                (f"{format_duration(self._clock() - self._begin)} gone, {format_duration(left)} left", "dim"),
            ),
        )
        parts: list[RenderableType] = [bar]
        losses = {name: value for name, value in self._figures.items() if name.startswith("loss/")}
        speed = {name: self._figures[name] for name in _SPEED if name in self._figures}
        rest = {n: v for n, v in self._figures.items() if n not in losses and n not in speed and n not in _FILES}
        groups = [(head, group) for head, group in (("speed", speed), ("losses", losses), ("state", rest)) if group]
        if groups:
            columns = Table.grid(padding=(0, 3), expand=False)
            columns.add_row(*(_group(head, group) for head, group in groups))
            parts += [Text(), columns]
        files = Table.grid(padding=(0, 2))
        files.add_column(style="dim", no_wrap=True)
        files.add_column(overflow="fold")
        for name, label in _FILES.items():
            if self._figures.get(name):
                files.add_row(label, Text(literal(str(self._figures[name]))))
        if files.row_count:
            parts += [Text(), files]
        if self._message:
            parts += [Text(), Text(literal(self._message), style="italic")]
        return Panel(Group(*parts), title=Text(literal(self.title), style="bold"), title_align="left", padding=(0, 1))


def _group(head: str, figures: Mapping[str, Any]) -> Table:
    table = Table(box=None, show_header=True, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(head, no_wrap=True, overflow="ellipsis")
    table.add_column(justify="right", no_wrap=True)
    for name, value in figures.items():
        label, text = _figure(name, value)
        bad = isinstance(value, float) and not math.isfinite(value)
        table.add_row(Text(label), Text(text, style="bold red" if bad else "bold"))
    return table
