"""Images whose octaves of frequencies are amplified, each image's by other factors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fastgan.augment.chance import Chance
from fastgan.ops.affine_warp.reference import reflected

_BANDS = 4
# Low-pass of the wavelet sym2, its sum √2 (Daubechies 1992, table 6.1).
_SYM2 = (-0.12940952255126037, 0.22414386804201339, 0.83651630373780790, 0.48296291314453416)
_POWER = (10, 1, 1, 1)  # what the bands of natural pictures hold of 13, from the lowest


def filter_bank() -> Tensor:
    """float64 [4, 43]: zero-phase filters of the bands [0, π/8], [π/8, π/4], [π/4, π/2], [π/2, π], which sum to 1."""
    sym2 = torch.tensor(_SYM2, dtype=torch.float64)
    low = _convolved(sym2, sym2.flip(0)) / 2  # H(z)·H(1/z)/2, half-band
    high = -low
    high[len(low) // 2] += 1
    bands, rest = [], torch.ones(1, dtype=torch.float64)
    for octave in range(_BANDS - 1):
        bands.append(_convolved(rest, _spread(high, 2**octave)))
        rest = _convolved(rest, _spread(low, 2**octave))
    taps = len(rest)
    return torch.stack([F.pad(band, [(taps - len(band)) // 2] * 2) for band in (rest, *reversed(bands))])


def _convolved(a: Tensor, b: Tensor) -> Tensor:
    return F.conv1d(a[None, None], b.flip(0)[None, None], padding=len(b) - 1)[0, 0]


def _spread(f: Tensor, step: int) -> Tensor:
    """f(z^step)."""
    result = f.new_zeros((len(f) - 1) * step + 1)
    result[::step] = f
    return result


class Bands:
    """x filtered along both axes by Σ_i g_i·bank_i, an image's g_i drawn; beyond its outer pixels x is reflected.

    For each band in turn, with probability p: g is multiplied by t, 2^N(0, 1) at this band and 1 elsewhere, divided by
    √Σ λ_i t_i², λ the share of power of the bands.

    Args:
        device: of the images.

    Source: Karras et al. 2020a, appendix B.
    """

    def __init__(self, device: torch.device | str) -> None:
        self.bank = filter_bank().to(device, torch.float32)

    def __call__(self, images: Tensor, chance: Chance) -> Tensor:
        """images [N, C, H, W] -> the same shape."""
        n, channels, h, w = images.shape
        gains = torch.ones(n, _BANDS, device=images.device)
        for band, power in enumerate(_POWER):
            t = chance.apply(torch.exp2(chance.normal(1.0)), 1)[:, None]
            at_band = torch.arange(_BANDS, device=images.device) == band
            norm = ((sum(_POWER) - power + power * t.square()) / sum(_POWER)).sqrt()
            gains = gains * torch.where(at_band, t, 1) / norm
        taps = self.bank.shape[1]
        filters = (gains - 1) @ self.bank
        filters = filters + F.pad(torch.ones(1, 1, device=images.device), [taps // 2] * 2)  # all gains 1: exactly x
        filters = filters.to(images.dtype).repeat_interleave(channels, dim=0)[:, None, None]  # [N·C, 1, 1, taps]
        for size in (w, h):
            place = reflected(torch.arange(-(taps // 2), size + taps // 2, device=images.device), size)
            rows = images.flatten(0, 1)[None].index_select(3, place)
            images = F.conv2d(rows, filters, groups=n * channels)[0].unflatten(0, (n, channels)).transpose(2, 3)
        return images
