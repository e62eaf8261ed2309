from __future__ import annotations

import pytest

from fastgan.cli.resolution import parse_resolution


@pytest.mark.parametrize("text", ["640x480", "640X480", "640×480", "640 x 480", " 640 × 480\n"])
def test_width_by_height_is_taken_however_it_is_written(text: str) -> None:
    assert parse_resolution(text) == (480, 640)


@pytest.mark.parametrize("text", ["64", " 64 ", "64x64", "064"])
def test_a_number_is_a_square(text: str) -> None:
    assert parse_resolution(text) == (64, 64)


@pytest.mark.parametrize(
    "text",
    ["", "x", "4x", "x4", "-4", "-4x4", "4x4x4", "64.5", "4.5x4", "64px", "64*64", "64,64", "1e2", "64 64", "9" * 5000],
)
def test_what_is_no_resolution_is_quoted_with_what_is(text: str) -> None:
    with pytest.raises(ValueError, match="^--resolution must be pixels, 64 for a square or WxH as in 640x480; got '"):
        parse_resolution(text)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("0", "resolution must be an integer of at least 1, got 0"),
        ("64x0", "resolution must be an integer of at least 1, got 0"),
        ("64x40000", "resolution must be at most 32768, got 40000"),
    ],
)
def test_sides_are_bounded(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_resolution(text)
