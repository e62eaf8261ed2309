"""Line charts as a PNG file: panels side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from fastgan.checkpoint import replacing

_WIDTH, _HEIGHT = 440, 300  # of a panel, in pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 56, 44  # margins of its axes
_SCALE = 3  # drawn so many times as large, then reduced: smooth edges
_COLOURS = ("#1f6fb4", "#d1572b", "#3a9453", "#7d56a8", "#97762a")
_GREY, _PALE, _INK = "#808080", "#e4e4e4", "#202020"


class Line(NamedTuple):
    """A curve.

    Attributes:
        x, y: its points, finite numbers, two or more.
        label: what it is.
        reference: whether it is what the others are compared with: grey, and beneath them.
    """

    x: Sequence[float]
    y: Sequence[float]
    label: str
    reference: bool = False


class Panel(NamedTuple):
    """Curves over one pair of axes.

    Attributes:
        title: above.
        axis: what x is, below.
        lines: the curves.
        span: (lowest, highest) y to be seen at least; None: those of the curves.
    """

    title: str
    axis: str
    lines: Sequence[Line]
    span: tuple[float, float] | None = None


def save_panels(panels: Sequence[Panel], path: str | Path) -> None:
    """path <- the panels side by side as PNG, whole or not at all.

    Args:
        panels: one or more, each with lines.
        path: the file; its folder must exist.

    Raises:
        ValueError: no panels, or a line that cannot be drawn; the message names it.
        OSError: the file could not be written.
    """
    if not panels:
        raise ValueError("panels must hold at least one panel, got none")
    sheet = Image.new("RGB", (_WIDTH * len(panels) * _SCALE, _HEIGHT * _SCALE), "white")
    for number, panel in enumerate(panels):
        _draw(ImageDraw.Draw(sheet), panel, number * _WIDTH)
    with replacing(path) as partial:
        sheet.reduce(_SCALE).save(partial, format="PNG")


def round_marks(low: float, high: float) -> list[float]:
    """Round numbers at equal distances, from one at most `low` to one at least `high`.

    Example:
        >>> round_marks(0.3, 9.1)
        [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    rough = (high - low or abs(low) or 1.0) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    distance = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / distance + 1e-9), math.ceil(high / distance - 1e-9)
    return [number * distance for number in range(first, max(last, first + 1) + 1)]


def _points(panel: Panel, line: Line) -> list[tuple[float, float]]:
    if len(line.x) != len(line.y) or len(line.x) < 2:
        raise ValueError(
            f"line {line.label!r} of panel {panel.title!r} must have as many x as y, two or more; "
            f"got {len(line.x)} and {len(line.y)}"
        )
    if not all(map(math.isfinite, [*line.x, *line.y])):
        raise ValueError(f"line {line.label!r} of panel {panel.title!r} must hold finite numbers alone")
    return list(zip(line.x, line.y, strict=True))


def _draw(canvas: ImageDraw.ImageDraw, panel: Panel, left: int) -> None:
    """One panel, its left edge at so many pixels."""
    if not panel.lines:
        raise ValueError(f"panel {panel.title!r} must hold at least one line, got none")
    curves = {line.label: _points(panel, line) for line in panel.lines}
    xs, ys = zip(*(point for points in curves.values() for point in points), strict=True)
    ys += panel.span or ()
    across, up = round_marks(min(xs), max(xs)), round_marks(min(ys), max(ys))

    def place(x: float, y: float) -> tuple[float, float]:
        right = (x - across[0]) / (across[-1] - across[0]) * (_WIDTH - _LEFT - _RIGHT)
        down = (up[-1] - y) / (up[-1] - up[0]) * (_HEIGHT - _TOP - _BOTTOM)
        return (left + _LEFT + right) * _SCALE, (_TOP + down) * _SCALE

    def write(x: float, y: float, text: str, anchor: str, size: int = 12, colour: str = _INK) -> float:
        font = ImageFont.load_default(size * _SCALE)
        canvas.text(((left + x) * _SCALE, y * _SCALE), text, fill=colour, font=font, anchor=anchor)
        return canvas.textlength(text, font=font) / _SCALE

    for mark in across:
        canvas.line([place(mark, up[0]), place(mark, up[-1])], fill=_PALE, width=_SCALE)
        write(place(mark, up[0])[0] / _SCALE - left, _HEIGHT - _BOTTOM + 6, f"{mark:g}", "mt")
    for mark in up:
        canvas.line([place(across[0], mark), place(across[-1], mark)], fill=_PALE, width=_SCALE)
        write(_LEFT - 6, place(across[0], mark)[1] / _SCALE, f"{mark:g}", "rm")
    write((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, panel.axis, "mb")
    write(_LEFT, 22, panel.title, "ls", size=15)
    colours = iter(_COLOURS * len(panel.lines))
    drawn = [(line, _GREY if line.reference else next(colours)) for line in panel.lines]
    for line, colour in sorted(drawn, key=lambda each: not each[0].reference):
        points = [place(*point) for point in curves[line.label]]
        canvas.line(points, fill=colour, width=2 * _SCALE, joint="curve")
    at = float(_LEFT)
    for line, colour in drawn:
        canvas.rectangle([(left + at) * _SCALE, 37 * _SCALE, (left + at + 14) * _SCALE, 39 * _SCALE], fill=colour)
        at += 20 + write(at + 18, 38, line.label, "lm") + 12
