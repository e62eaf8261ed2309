"""How far the power spectra of two sets lie apart: what checkerboards, blur and noise do to a generator's images.

Source: Durall et al. 2020 (Watch your Up-Convolution), section 3, the azimuthal integral.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fastgan.metrics.evaluation import Metric

_FLOOR = 1e-10  # of a spectrum, images in [-1, 1]: less is rounding


class Spectrum:
    """The mean power of a set's images, minus their means, by radius in frequency.

    Args:
        images: how many will come.
    """

    def __init__(self, images: int, extractor: None = None) -> None:
        self.images, self._seen, self._half = images, 0, 0
        self._ring = self._power = torch.zeros(0)

    def take(self, images: Tensor) -> None:
        """The next images, uint8 [n, C, H, W]: grey by the mean of their channels, seen through Hann's window.

        Raises:
            ValueError: images below 2x2.
        """
        if min(images.shape[2:]) < 2:
            raise ValueError(f"images must be at least 2x2 pixels, got {list(images.shape[2:])}")
        x = images.cpu().double().div(127.5).sub(1).mean(dim=1)
        height, width = x.shape[1:]
        window = torch.outer(
            *(torch.hann_window(n + 2, periodic=False, dtype=torch.float64)[1:-1] for n in (height, width))
        )
        x = (x - x.mean(dim=(1, 2), keepdim=True)) * window
        power = torch.fft.fft2(x).abs().square().sum(dim=0).flatten() / window.square().sum()
        if not self._seen:
            frequency = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width))
            self._ring = (frequency * min(height, width)).round().long().flatten()
            self._power, self._half = torch.zeros_like(power), min(height, width) // 2
        self._power = self._power + power
        self._seen += len(images)

    def result(self) -> Tensor:
        """dB, [radii from 1 to half the smaller side].

        Raises:
            ValueError: another number of images came than was to come.
        """
        if self._seen != self.images:
            raise ValueError(f"{self.images} images must be taken in, got {self._seen}")
        rings = torch.bincount(self._ring)
        mean = torch.zeros(len(rings), dtype=torch.float64).index_add(0, self._ring, self._power) / rings / self.images
        return 10 * torch.log10(mean[1 : self._half + 1] + _FLOOR)


def _measure(real: Tensor, fake: Tensor) -> dict[str, float]:
    """ "spectrum": dB, the root mean square over radii; "spectrum_high": the mean of the upper half, with its sign."""
    apart = fake - real
    return {"spectrum": apart.square().mean().sqrt().item(), "spectrum_high": apart[len(apart) // 2 :].mean().item()}


SPECTRUM = Metric(Spectrum, _measure, floor=True)
