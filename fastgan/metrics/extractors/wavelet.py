"""Features without any weights: a thumbnail, and how strong each Haar band is where."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

_THUMBNAIL = 8  # pixels a side
_CELLS = 2  # of a band's energies, a side
_CONTRAST = 32.0  # amplitudes of 1/32 of an image in [-1, 1] lie between the linear and the logarithmic part
# Rows: brightness, red against green, both against blue; orthonormal.
_OPPONENT = (
    torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, 0.0], [1.0, 1.0, -2.0]]) / torch.tensor([[3.0], [2.0], [6.0]]) ** 0.5
)


class Wavelet:
    """[thumbnail 8x8, ½·log2(1 + 32·rms) of each band in 2x2 cells] of an image in opponent colours.

    Bands are those of Haar's orthonormal wavelets, level by level while a side is above 8. The thumbnail tells what is
    where, the bands how sharp or noisy it is. Works at any size, and knows nothing of what a picture means.
    """

    name = "wavelet"
    resize = "not resized"
    identity = None

    def __init__(self, device: torch.device, weights: Path | None = None) -> None:
        self.device = device

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """uint8, or float32 in [0, 255], [n, 1 or 3, H, W] -> float32 [n, 192 + 36·levels], on the CPU.

        Raises:
            ValueError: images below 8x8.
        """
        if min(images.shape[2:]) < _THUMBNAIL:
            raise ValueError(f"images must be at least {_THUMBNAIL}x{_THUMBNAIL} pixels, got {list(images.shape[2:])}")
        x = images.to(self.device).float().div(127.5).sub(1).expand(-1, 3, -1, -1)
        x = torch.einsum("oc,nchw->nohw", _OPPONENT.to(x), x)
        parts = []
        while min(x.shape[2:]) > _THUMBNAIL:
            x, bands = haar(x)
            energies = F.adaptive_avg_pool2d(bands.square(), _CELLS)
            parts.append(torch.log2(1 + _CONTRAST * energies.sqrt()).flatten(1) / 2)
            x = x / 2  # brightness stays what it was
        return torch.cat([F.adaptive_avg_pool2d(x, _THUMBNAIL).flatten(1), *parts], dim=1).cpu()


def haar(x: Tensor) -> tuple[Tensor, Tensor]:
    """[N, C, H, W] -> low pass [N, C, ⌈H/2⌉, ⌈W/2⌉] and bands [N, 3·C, ⌈H/2⌉, ⌈W/2⌉]; odd sides repeat the last pixel.

    Orthonormal: the sum of squares stays.
    """
    height, width = x.shape[2:]
    x = F.pad(x, (0, width % 2, 0, height % 2), mode="replicate")
    a, b, c, d = x[:, :, ::2, ::2], x[:, :, ::2, 1::2], x[:, :, 1::2, ::2], x[:, :, 1::2, 1::2]
    bands = torch.cat([a - b + c - d, a + b - c - d, a - b - c + d], dim=1)
    return (a + b + c + d) / 2, bands / 2
