from __future__ import annotations

import math
from pathlib import Path

import pytest
from PIL import Image, ImageColor

from fastgan.report.plot import Line, Panel, round_marks, save_panels

BLUE, ORANGE, GREY = (ImageColor.getrgb(each) for each in ("#1f6fb4", "#d1572b", "#808080"))


@pytest.mark.parametrize(
    ("low", "high", "marks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.3, 9.1, [0, 2, 4, 6, 8, 10]),
        (-0.9, 8.9, [-2, 0, 2, 4, 6, 8, 10]),
        (130, 270, [100, 150, 200, 250, 300]),
        (3, 3, [3, 4]),
        (0, 0, [0, 0.2]),
    ],
)
def test_marks_are_round_and_enclose_the_values(low: float, high: float, marks: list[float]) -> None:
    assert round_marks(low, high) == pytest.approx(marks)


def test_lines_lie_where_their_values_are(tmp_path: Path) -> None:
    """Axes of 372 × 200 pixels from (52, 56) on: of the span 0 to 1 a tenth is 20 pixels."""
    level = Line([0, 10], [0.5, 0.5], "level")
    step = Line([0, 5, 5, 10], [0.1, 0.1, 0.9, 0.9], "step")
    beneath = Line([0, 10], [0.5, 0.5], "beneath", reference=True)
    save_panels([Panel("one", "x", [level, step], span=(0, 1)), Panel("two", "x", [beneath, step])], tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (880, 300) and image.mode == "RGB"
        assert image.getpixel((100, 156)) == BLUE and image.getpixel((400, 156)) == BLUE
        assert image.getpixel((100, 56 + 180)) == ORANGE and image.getpixel((400, 56 + 20)) == ORANGE
        assert image.getpixel((100, 56 + 20)) != ORANGE
        # In the second panel 0 to 1 are the marks of what is there, the step is the first in colour.
        assert image.getpixel((440 + 100, 156)) == GREY and image.getpixel((440 + 100, 56 + 180)) == BLUE
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_a_reference_lies_beneath(tmp_path: Path) -> None:
    level = [0, 10], [0.5, 0.5]
    lines = [Line(*level, "value"), Line(*level, "reference", reference=True)]
    save_panels([Panel("one", "x", lines, span=(0, 1))], tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.getpixel((100, 156)) == BLUE


@pytest.mark.parametrize(
    ("panels", "message"),
    [
        ([], "panels must hold at least one panel, got none"),
        ([Panel("one", "x", [])], "panel 'one' must hold at least one line, got none"),
        (
            [Panel("one", "x", [Line([0, 1], [0], "a")])],
            "'a' of panel 'one' .* as many x as y, two or more; got 2 and 1",
        ),
        ([Panel("one", "x", [Line([0], [0], "a")])], "two or more; got 1 and 1"),
        ([Panel("one", "x", [Line([0, 1], [0, math.nan], "a")])], "'a' of panel 'one' must hold finite numbers alone"),
    ],
)
def test_what_cannot_be_drawn_is_named(panels: list[Panel], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        save_panels(panels, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
