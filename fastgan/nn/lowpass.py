"""Low-pass filters of layers that work on band-limited signals: Kaiser's, and a radial one."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def kaiser_beta(taps: int, width: float) -> float:
    """β of the Kaiser window whose filter of so many taps has a transition band of this width.

    Args:
        taps: of the filter.
        width: of the transition band, as a share of half the sampling rate.

    Returns:
        0 for a rectangular window, and more the more the stop band is attenuated.

    Source: Kaiser 1974, "Nonrecursive digital filter design using the I0-sinh window function".

    >>> round(kaiser_beta(12, 0.5), 4)
    4.2492
    """
    attenuation = 2.285 * (taps - 1) * math.pi * width + 7.95  # dB
    if attenuation > 50:
        return 0.1102 * (attenuation - 8.7)
    if attenuation > 21:
        return 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    return 0.0


def lowpass(
    taps: int, cutoff: float, half_width: float, rate: float, device: torch.device | str | None = None
) -> Tensor:
    """f[n] = sinc(2·cutoff·t)·kaiser[n] / sum at t = (n - (taps - 1)/2) / rate, for both axes.

    Args:
        taps: of the filter.
        cutoff: frequency in the middle of the transition band.
        half_width: half the width of that band.
        rate: samples a unit, in the unit of the frequencies.
        device: of the result; None: torch's default one.

    Returns:
        float32 [taps], sum 1.

    Source: Karras et al. 2021 (StyleGAN3), appendix C.1.
    """
    t = _times(taps, rate, device)
    return _normalised(torch.sinc(2 * cutoff * t) * _window(taps, half_width, rate, device))


def radial_lowpass(
    taps: int, cutoff: float, half_width: float, rate: float, device: torch.device | str | None = None
) -> Tensor:
    """f[m, n] = jinc(r, cutoff)·kaiser[m]·kaiser[n] / sum: the same in all directions, but for the window.

    Args:
        taps, cutoff, half_width, rate, device: as `lowpass`.

    Returns:
        float32 [taps, taps], sum 1.

    Source: Karras et al. 2021 (StyleGAN3), appendix C.1.
    """
    t, window = _times(taps, rate, device), _window(taps, half_width, rate, device)
    return _normalised(jinc(torch.hypot(t[:, None], t), cutoff) * window[:, None] * window)


def jinc(r: Tensor, cutoff: float) -> Tensor:
    """J1(2π·cutoff·r) / (π·r), cutoff at r = 0: a disc of frequencies of radius `cutoff`, over it.

    Args:
        r: distances, of any shape.
        cutoff: radius of the disc.

    Returns:
        The inverse Fourier transform of the disc divided by the cut-off, of r's shape.
    """
    away = r.clamp_min(1e-9)
    return torch.where(r > 1e-9, torch.special.bessel_j1(2 * math.pi * cutoff * away) / (math.pi * away), cutoff)


def _times(taps: int, rate: float, device: torch.device | str | None) -> Tensor:
    return (torch.arange(taps, dtype=torch.float64, device=device) - (taps - 1) / 2) / rate


def _window(taps: int, half_width: float, rate: float, device: torch.device | str | None) -> Tensor:
    beta = kaiser_beta(taps, 2 * half_width / (rate / 2))
    return torch.kaiser_window(taps, periodic=False, beta=beta, dtype=torch.float64, device=device)


def _normalised(f: Tensor) -> Tensor:
    return (f / f.sum()).float()
