"""Cut-offs, rates, sizes and paddings of the alias-free generator, worked out by hand from the paper's figure 4b."""

from __future__ import annotations

import math

import pytest

from fastgan.nn.signals import crossing, signals


def test_all_signals_at_1024() -> None:
    """Channels and sizes, margins included, of the paper's configuration T."""
    flow = signals((1024, 1024), 14, 32768, 512, 3)
    sizes = [36, 36, 52, 52, 84, 148, 148, 276, 276, 532, 1044, 1044, 1044, 1024, 1024]
    assert [signal.size for signal in flow] == [(size, size) for size in sizes]
    # 16384 / cut-off, cut-offs 2·256^(i/12): 2, 3.17, 5.04, 8, 12.7, 20.2, 32, 50.8, 80.6, 128, 203.2, 322.5, 512.
    channels = [512, 512, 512, 512, 512, 512, 512, 323, 203, 128, 81, 51, 32, 32, 3]
    assert [signal.channels for signal in flow] == channels


def test_signals_at_256() -> None:
    flow = signals((256, 256), 14, 32768, 512, 3)
    first, fourth, last = flow[0], flow[3], flow[14]
    # Stop band 2^2.1 = 4.287, twice that is 8.57, the next power of two 16; half of it, 8, is above the stop band.
    assert (first.cutoff, first.rate, first.size, first.half_width) == (2, 16, (36, 36), 6)
    # A quarter of the way from 2 to 128: 2·64^¼ = 5.657; stop band 4.287·36.76^¼ = 10.556, rate 32, half 16 above it.
    assert fourth.cutoff == pytest.approx(2 * 64**0.25)
    assert (fourth.rate, fourth.size) == (32, (52, 52))
    assert fourth.half_width == pytest.approx(16 - 2 * 64**0.25)
    # Critically sampled: the cut-off is half the rate, the stop band 2^0.3 times it.
    assert (last.cutoff, last.rate, last.size, last.channels) == (128, 256, (256, 256), 3)
    assert last.half_width == pytest.approx(128 * (2**0.3 - 1))


def test_signals_at_32() -> None:
    flow = signals((32, 32), 14, 32768, 512, 1)
    assert [signal.rate for signal in flow] == [16] * 5 + [32] * 10
    assert [signal.size[0] for signal in flow] == [36] * 5 + [52] * 8 + [32] * 2
    # i = 11: cut-off 2·8^(11/12) = 13.454, stop band 4.287·(16·2^0.3/4.287)^(11/12) = 17.348 > 32/2.
    ratio = 16 * 2**0.3 / 2**2.1
    assert flow[11].half_width == pytest.approx(2**2.1 * ratio ** (11 / 12) - 2 * 8 ** (11 / 12))
    assert [signal.channels for signal in flow] == [512] * 14 + [1]


def test_a_critical_signal_begins_two_layers_before_the_image() -> None:
    flow = signals((64, 64), 14, 32768, 512, 3)
    assert [signal.cutoff == signal.rate / 2 for signal in flow] == [False] * 12 + [True] * 3


def test_a_picture_that_is_no_square() -> None:
    flow = signals((32, 64), 4, 64, 8, 3)
    assert [signal.size for signal in flow] == [(28, 36), (36, 52), (52, 84), (32, 64), (32, 64)]
    assert [signal.channels for signal in flow] == [8, 4, 1, 1, 3]  # 32 / cut-off: 16, 4, 1


@pytest.mark.parametrize(
    ("before", "after", "kernel", "expected"),
    [
        # 36 -> 38 -> 76 samples at twice the rate; 35·2 + 1 + 11 + 11 = 93 are wanted: 17 more, ⌊(17 + 2)/2⌋ = 9 first.
        (0, 0, 3, (2, 2, 12, 12, (9, 8, 9, 8))),
        # Without the kernel's 2: 72 samples, 21 more.
        (0, 0, 1, (2, 2, 12, 12, (11, 10, 11, 10))),
        # To twice the rate: 36 -> 38 -> 152; 51·2 + 1 + 23 + 11 = 137 are wanted: 15 less, ⌊(-15 + 4)/2⌋ = -6 first.
        (2, 3, 3, (4, 2, 24, 12, (-6, -9, -6, -9))),
        # The margins go: 276 -> 278 -> 556; 255·2 + 1 + 11 + 11 = 533 are wanted: 23 less, ⌊(-23 + 2)/2⌋ = -11 first.
        (12, 13, 3, (2, 2, 12, 12, (-11, -12, -11, -12))),
    ],
)
def test_crossings_at_256(before: int, after: int, kernel: int, expected: tuple) -> None:
    flow = signals((256, 256), 14, 32768, 512, 3)
    assert tuple(vars(crossing(flow[before], flow[after], kernel)).values()) == expected


def test_padding_keeps_the_middle_where_it_is() -> None:
    """What the layer takes from each side of the middle differs by the half sample of even filters alone."""
    flow = signals((64, 32), 14, 32768, 512, 3)
    for before, after in zip((flow[0], *flow), flow[:-1], strict=False):
        x0, x1, y0, y1 = crossing(before, after, 3).padding
        for low, high in ((x0, x1), (y0, y1)):
            # Low and high padding: the first sample of a zero-stuffed row is a sample, the last up - 1 are zeros.
            assert math.ceil((low - high) / 2) in (1, 2)


def test_sides_that_cannot_be_halved_as_often_are_named() -> None:
    with pytest.raises(ValueError, match=r"resolution must have sides that are multiples of 8, got \(100, 128\)"):
        signals((100, 128), 14, 32768, 512, 3)
