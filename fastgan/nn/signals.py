"""The band-limited signals between the layers of an alias-free generator, and how a layer gets from one to the next."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fastgan.ops.fir import Padding

FIRST_CUTOFF = 2.0
FIRST_STOPBAND = 2**2.1
LAST_STOPBAND = 2**0.3  # of the last cut-off
CRITICAL_LAYERS = 2  # at the end, whose cut-off is half the sampling rate
MARGIN = 10  # pixels around the picture, which layers see and the image has not
FILTER_SIZE = 6  # taps a factor of resampling
LRELU_UP = 2  # samples of the leaky ReLU for one of the finer of its two signals


@dataclass(frozen=True)
class Signal:
    """Frequencies are in cycles, rates in samples, along the larger side of the picture.

    Args:
        cutoff: up to which the signal has frequencies.
        half_width: half the transition band of its filters around it.
        rate: sampling rate.
        size: (h, w) in samples, margins included.
        channels: of it.
    """

    cutoff: float
    half_width: float
    rate: int
    size: tuple[int, int]
    channels: int


def signals(
    resolution: tuple[int, int], layers: int, channel_base: float, channel_max: int, img_channels: int
) -> tuple[Signal, ...]:
    """layers + 1 signals: what layers 0 ... layers - 1 give, and the image.

    Cut-offs and stop bands grow geometrically up to the first of the critical layers.

    Args:
        resolution: (H, W) of the image.
        layers: before the to-RGB layer, more than CRITICAL_LAYERS.
        channel_base: a signal has channel_base / 2 / cutoff channels,
        channel_max: but at most these,
        img_channels: and the last one has these.

    Returns:
        the signals, coarse to fine.

    Raises:
        ValueError: a side is not a whole number of samples at one of the rates.

    Source: Karras et al. 2021 (StyleGAN3), section 3.2 and appendix C.2.

    >>> [signal.rate for signal in signals((64, 64), 14, 32768, 512, 3)]
    [16, 16, 16, 16, 32, 32, 32, 32, 64, 64, 64, 64, 64, 64, 64]
    """
    side = max(resolution)
    last = side / 2
    made = []
    for i in range(layers + 1):
        e = min(i / (layers - CRITICAL_LAYERS), 1)
        cutoff = FIRST_CUTOFF * (last / FIRST_CUTOFF) ** e
        stopband = FIRST_STOPBAND * (last * LAST_STOPBAND / FIRST_STOPBAND) ** e
        halvings = -math.ceil(math.log2(min(2 * stopband, side) / side))
        if any(length % 2**halvings for length in resolution):
            raise ValueError(f"resolution must have sides that are multiples of {2**halvings}, got {resolution}")
        margin = 0 if i >= layers - 1 else MARGIN
        height, width = (length // 2**halvings + 2 * margin for length in resolution)
        channels = img_channels if i == layers else max(1, round(min(channel_base / 2 / cutoff, channel_max)))
        rate = side // 2**halvings
        half_width = max(stopband, rate / 2) - cutoff
        made.append(Signal(cutoff, half_width, rate, (height, width), channels))
    return tuple(made)


@dataclass(frozen=True)
class Crossing:
    """How a layer's leaky ReLU gets from the signal before it to that after it.

    Args:
        up: factor to the rate at which the leaky ReLU acts.
        down: factor from there.
        up_taps: of the filter before it.
        down_taps: of the filter after it.
        padding: (x0, x1, y0, y1) at that rate.
    """

    up: int
    down: int
    up_taps: int
    down_taps: int
    padding: Padding


def crossing(before: Signal, after: Signal, kernel_size: int) -> Crossing:
    """Between two signals, after a convolution of kernel_size² with as much padding as lets no sample out.

    Args:
        before: what the layer takes.
        after: what it gives.
        kernel_size: of its convolution, which adds kernel_size - 1 samples to each side.

    Source: Karras et al. 2021 (StyleGAN3), figure 4b.
    """
    rate = LRELU_UP * max(before.rate, after.rate)
    up, down = rate // before.rate, rate // after.rate
    up_taps, down_taps = FILTER_SIZE * up, FILTER_SIZE * down
    sides: list[int] = []
    for length, result in ((before.size[1], after.size[1]), (before.size[0], after.size[0])):
        total = (result - 1) * down + 1 - (length + kernel_size - 1) * up + up_taps + down_taps - 2
        low = (total + up) // 2
        sides += [low, total - low]
    x0, x1, y0, y1 = sides
    return Crossing(up, down, up_taps, down_taps, (x0, x1, y0, y1))
