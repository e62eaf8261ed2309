"""Images in [-1, 1] as bytes."""

from __future__ import annotations

import torch


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """floor(clamp(images·127.5 + 128, 0, 255)): the rounding that published metrics and tools use.

    Args:
        images: [N, C, H, W] or any other shape; floating point in [-1, 1], or uint8, which is returned as it is.

    Returns:
        uint8, the same shape, device and memory format.

    Raises:
        TypeError: another dtype.
    """
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point():
        raise TypeError(f"images must be floating point in [-1, 1] or uint8, got {images.dtype}")
    return images.detach().float().mul(127.5).add(128).clamp(0, 255).to(torch.uint8)
