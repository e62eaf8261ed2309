"""Features of images by a network whose weights come from a file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastgan.metrics.extractors.weights import Weights
from fastgan.ops import tf32


class NetworkExtractor(ABC):
    """Features of a network; those of an image are the same to rounding whatever stands beside it.

    Args:
        network: filled, whatever its mode; it is this extractor's from now on.
        weights: that it was filled with.
        device: where it computes, in float32 and never in tf32.

    Attributes:
        name: in figures and reports.
        dim: length of an image's features.
        resize: how images come to the network's size, in words.
        identity: name, resize and the digest of the weights.
    """

    name: str
    dim: int
    resize: str

    def __init__(self, network: nn.Module, weights: Weights, device: torch.device) -> None:
        self.network: Any = network.requires_grad_(False).eval()
        self.network.to(device, torch.float32, memory_format=torch.channels_last)  # the faster one, on a CPU too
        self.device = device
        self.identity = f"{self.name}, {self.resize}, sha256 {weights.sha256}"

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """uint8, or float32 in [0, 255], [n, C, H, W] -> float32 [n, dim] on the CPU.

        Args:
            images: of one channel, which is repeated, or of three.

        Raises:
            TypeError, ValueError: they are no such images.
        """
        check_images(images)
        pixels = images.to(self.device).float()
        with tf32.exactly(pixels):
            return self._features(three_channels(pixels).contiguous(memory_format=torch.channels_last)).cpu()

    @abstractmethod
    def _features(self, pixels: Tensor) -> Tensor:
        """Of colour images [n, 3, H, W] in [0, 255]."""
        raise NotImplementedError


def check_images(images: Any) -> None:
    """Raises TypeError or ValueError unless images are uint8 or float32 [n, 1 or 3, H, W], H and W at least 1."""
    if not isinstance(images, Tensor) or images.dtype not in (torch.uint8, torch.float32):
        raise TypeError(f"images must be uint8 or float32, got {getattr(images, 'dtype', type(images))}")
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape[2:]:
        raise ValueError(f"images must be [n, C, H, W] of 1 or 3 channels, got {list(images.shape)}")


def three_channels(pixels: Tensor) -> Tensor:
    """[n, 3, H, W] of grey or colour images."""
    return pixels.expand(-1, 3, -1, -1)


def resized(pixels: Tensor, side: int) -> Tensor:
    """[n, C, side, side], bilinear; where images become smaller, the triangle is as wide as an output pixel."""
    return F.interpolate(pixels, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
