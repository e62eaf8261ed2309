"""Translations of earlier steps, as discriminators see them again."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class ImageBuffer:
    """Gives each image back, or with probability ½ an earlier one, whose place it takes; images fill it first, grey
    ones where they are not finite.

    What it holds, and how much, lies in tensors on the device that are written in place.

    Args:
        size: images held, at least as many as come at once.
        shape: (C, H, W).
        device: where images are.

    Source: Shrivastava et al. 2017, section 2.3; 50 images: Zhu et al. 2017, section 4.
    """

    def __init__(self, size: int, shape: tuple[int, int, int], device: torch.device | str) -> None:
        self.images = torch.zeros(size, *shape, device=device)
        self.filled = torch.zeros([], dtype=torch.int64, device=device)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """images [N, C, H, W] -> as many, of which about half are earlier ones once the buffer is full.

        Raises:
            ValueError: more images than the buffer holds.
        """
        size, count, device = len(self.images), len(images), images.device
        if count > size:
            raise ValueError(f"images must be at most {size}, what the buffer holds, got {count}")
        full = self.filled >= size
        drawn = torch.randperm(size, device=device)[:count]
        places = torch.where(full, drawn, (self.filled + torch.arange(count, device=device)) % size)
        swapped = (full & (torch.rand(count, device=device) < 0.5))[:, None, None, None]
        held = self.images[places]
        enters = images.isfinite().flatten(1).all(dim=1)[:, None, None, None] & (~full | swapped)
        self.images[places] = torch.where(enters, images.to(held.dtype), held)
        self.filled += count
        self.filled.clamp_(max=size)
        return torch.where(swapped, held.to(images.dtype), images)

    def state_dict(self) -> dict[str, Tensor]:
        """{"images", "filled"}, copies."""
        return {"images": self.images.clone(), "filled": self.filled.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Hold what `state_dict` gave.

        Raises:
            ValueError: it is of a buffer of another size.
        """
        if state["images"].shape != self.images.shape:
            raise ValueError(f"images must have shape {list(self.images.shape)}, got {list(state['images'].shape)}")
        self.images.copy_(state["images"])
        self.filled.copy_(state["filled"])
