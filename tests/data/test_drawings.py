"""What is drawn of a picture: greys, and lines along edges, against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fastgan.data.drawings import edges, grey


def lines(pixels: np.ndarray) -> np.ndarray:
    """bool [H, W]: where lines are drawn."""
    drawn = edges(Image.fromarray(pixels))
    assert drawn.mode == "L" and drawn.size == (pixels.shape[1], pixels.shape[0])
    values = np.asarray(drawn)
    assert set(np.unique(values)) <= {0, 255}
    return values == 0


def test_grey_is_luma():
    image = Image.new("RGB", (2, 1))
    image.putpixel((0, 0), (255, 0, 0))
    image.putpixel((1, 0), (10, 200, 30))
    assert np.asarray(grey(image)).tolist() == [[76, round(0.299 * 10 + 0.587 * 200 + 0.114 * 30)]]


def test_a_flat_picture_has_no_lines():
    assert not lines(np.full((9, 12, 3), 200, np.uint8)).any()


@pytest.mark.parametrize("turned", [False, True], ids=["upright", "flat"])
@pytest.mark.parametrize("channel", [0, 1, 2], ids=["red", "green", "blue"])
def test_a_step_of_any_colour_is_a_line_one_pixel_wide(channel, turned):
    pixels = np.full((12, 16, 3), 255, np.uint8)
    pixels[:, 8:, channel] = 120  # yellow on white is a step of blue alone
    drawn = lines(pixels.transpose(1, 0, 2) if turned else pixels)
    drawn = drawn.T if turned else drawn
    # Between pixels 7 and 8 the smoothed step is equally steep at both: the first is taken, in every row.
    assert drawn.sum(1).tolist() == [1] * 12 and drawn[:, 7].all()


def test_both_sides_of_a_bar_are_lines():
    pixels = np.zeros((10, 20), np.uint8)
    pixels[:, 8:13] = 255
    assert lines(pixels)[5].nonzero()[0].tolist() in ([7, 12], [8, 12], [7, 13], [8, 13])


def test_a_weak_step_is_a_line_only_where_it_meets_a_strong_one():
    # A step of height h, smoothed, is 0, 1, 5, 11, 15, 16 sixteenths of it: its steepest slope is (11 - 1) h / 32.
    def fading(top: int, bottom: int) -> np.ndarray:
        step = np.zeros((40, 16))
        step[:, 8:] = np.linspace(top, bottom, 40)[:, None]
        return lines(step.astype(np.uint8)).sum(1)

    assert not fading(48, 30).any()  # 15 down to 9.4: nowhere 16
    assert fading(80, 30)[1:-1].tolist() == [1] * 38  # 25 down to 9.4: strong above, weak below
    faint = fading(80, 5)  # down to 1.6: below 6, that is, of h = 19.2, from row 31 on
    assert faint[1:30].tolist() == [1] * 29 and not faint[33:].any()


def test_a_disc_is_a_closed_ring():
    y, x = np.mgrid[:40, :40] - 19.5
    drawn = lines(np.where(np.hypot(y, x) < 12, 50, 255).astype(np.uint8))
    radius = np.hypot(y, x)[drawn]
    assert radius.min() > 10 and radius.max() < 14 and 60 <= drawn.sum() <= 90  # 2 pi 12 = 75
    angles = np.sort(np.arctan2(y[drawn], x[drawn]))
    assert np.diff(angles).max() < 0.2  # no gap of more than about two pixels
