"""Where truncation leads to: the mean of w at a label."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fastgan.generate.seeds import generator_of

# Latents whose mean stands for the mean of w at a label: its error is 1/64 of the spread of w.
_LATENTS = 4096
_MOST_KEPT = 4096


class LabelCenters:
    """center(c) = mean of w(z, c) over 4096 latents z, kept for as long as the weights of the mapping stay the same."""

    def __init__(self) -> None:
        # One attribute, replaced as a whole: threads that share a sampler see weights and centers that belong together.
        self._kept: tuple[list[Tensor], dict[tuple[float, ...], Tensor]] = ([], {})

    def of(self, mapping: Any, z_dim: int, c: Tensor) -> Tensor:
        """The center of each row of c, the same on every call: [N, 1, w_dim].

        Args:
            mapping: (z [N, z_dim], c [N, c_dim]) -> ws [N, num_ws, w_dim], a module in evaluation mode.
            z_dim: length of z.
            c: labels [N, c_dim], on the mapping's device and in its dtype.
        """
        weights, centers = self._kept
        now = [*mapping.parameters(), *mapping.buffers()]
        if not _same(weights, now) or len(centers) > _MOST_KEPT:
            weights, centers = self._kept = ([tensor.detach().clone() for tensor in now], {})
        rows = [tuple(row) for row in c.tolist()]
        for row in dict.fromkeys(rows):
            if row not in centers:
                # A class has latents of its own.
                generator = generator_of(max(range(len(row)), key=row.__getitem__))
                z = torch.randn(_LATENTS, z_dim, generator=generator, dtype=torch.float32, device="cpu").to(c)
                label = torch.tensor(row, dtype=c.dtype, device=c.device).expand(_LATENTS, -1)
                centers[row] = mapping(z, label)[:, :1].mean(dim=0)
        return torch.stack([centers[row] for row in rows])


def _same(before: list[Tensor], now: list[Tensor]) -> bool:
    return len(before) == len(now) and all(
        a.dtype == b.dtype and a.device == b.device and torch.equal(a, b) for a, b in zip(before, now, strict=True)
    )
