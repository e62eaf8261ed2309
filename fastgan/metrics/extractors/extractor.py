"""What metrics ask of a feature extractor."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from fastgan.choices import EXTRACTORS, chosen
from fastgan.config.fields import check_choice


class Extractor(Protocol):
    """Features of images, each by itself: what stands beside it in a batch changes nothing."""

    @property
    def name(self) -> str:
        """In figures and reports, "wavelet"."""
        ...

    @property
    def resize(self) -> str:
        """In words that go on from "images are": how they come to its size."""
        ...

    @property
    def identity(self) -> str | None:
        """What features on disk are known by: name, transform, checksum of weights; None: so cheap that none are."""
        ...

    def __call__(self, images: Tensor) -> Tensor:
        """uint8, or float32 in [0, 255] where bytes are too coarse, [n, 1 or 3, H, W] -> float32 [n, dim], on the CPU.

        Raises:
            ValueError: images that are too small.
        """
        ...


def make_extractor(name: str, device: torch.device | str = "cpu", weights: Path | None = None) -> Extractor:
    """The extractor of a name of `choices.EXTRACTORS`.

    Args:
        name: which.
        device: where it computes.
        weights: file of its weights, or a folder that holds it; None: where torch keeps such files, or none needed.

    Returns:
        it, ready for images.

    Raises:
        ValueError: no extractor has such a name, or the file is not what it should be.
        FileNotFoundError: there are no weights; the message says which file is meant and where to put it.
    """
    check_choice("extractor", name, tuple(EXTRACTORS))
    return chosen(EXTRACTORS, name)(torch.device(device), weights)
