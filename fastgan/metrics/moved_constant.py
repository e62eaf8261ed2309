"""StyleGAN2 measured as generators are whose picture can be moved."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fastgan.models.inputs import as_rows, as_transform
from fastgan.models.protocols import Movable
from fastgan.models.stylegan2 import Generator


class MovedConstant(Movable):
    """A StyleGAN2 generator whose learned constant is translated: what it has in the place of Fourier features.

    The constant is taken for one period of a periodic picture with no frequency above half its sampling rate, so that
    any translation of it is exact, and one by whole samples rolls it. The paper measures StyleGAN2 from the
    configuration on that has Fourier features in the constant's place; this way is ours.

    Args:
        G: the generator, which is not changed.

    Attributes: those of G.
    """

    def __init__(self, G: Generator) -> None:
        super().__init__()
        self.mapping, self.num_ws = G.mapping, G.num_ws
        self.z_dim, self.w_dim, self.num_classes = G.z_dim, G.w_dim, G.num_classes
        self.img_channels, self.resolution = G.img_channels, G.resolution
        self.synthesis = _MovedSynthesis(G.synthesis)

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        update_emas: bool = False,
        *,
        noise_mode: str = "random",
        generator: Any = None,
        transform: Tensor | None = None,
    ) -> Tensor:
        """Images of latents.

        Args:
            z, c, truncation_psi, truncation_cutoff, update_emas, noise_mode, generator: as `Generator.forward`.
            transform: [3, 3] or [N, 3, 3], a translation, as `models.transforms.placement` gives it; None: none.

        Returns:
            [N, img_channels, H, W].

        Raises:
            ValueError: transform is no translation.
        """
        ws = self.mapping(z, c, truncation_psi, truncation_cutoff, update_emas)
        return self.synthesis(ws, noise_mode, generator, transform)


class _MovedSynthesis(nn.Module):
    def __init__(self, synthesis: Any) -> None:
        super().__init__()
        self.synthesis = synthesis

    def forward(
        self, ws: Tensor, noise_mode: str = "random", generator: Any = None, transform: Tensor | None = None
    ) -> Tensor:
        const = self.synthesis.const
        ws = as_rows(ws, self.synthesis.num_ws, self.synthesis.w_dim, const)
        transform = as_transform(transform, ws.shape[0], const)
        if transform is None:
            return self.synthesis(ws, noise_mode, generator)
        if not torch.equal(transform[..., :2], torch.eye(3).to(const)[:, :2].expand_as(transform[..., :2])):
            raise ValueError("transform must be a translation: a constant of 4×4 samples is not turned")
        shifts = (-transform[..., :2, 2] * max(const.shape[1:])).expand(ws.shape[0], 2)  # in samples
        rows = []
        for i, (x, y) in enumerate(shifts.tolist()):
            down, right = (
                _periodic_shift(n, shift).to(const) for n, shift in zip(const.shape[1:], (y, x), strict=True)
            )
            each = generator[i] if isinstance(generator, (list, tuple)) else generator
            const_moved = {"const": down @ const @ right.t()}
            rows.append(functional_call(self.synthesis, const_moved, (ws[i : i + 1], noise_mode, each)))
        return torch.cat(rows)


def _periodic_shift(length: int, shift: float) -> Tensor:
    """[length, length]: a periodic band-limited row moved on by so many samples."""
    k = torch.arange(-(length // 2), length // 2 + 1, dtype=torch.float64)
    share = torch.where(2 * k.abs() == length, 0.5, 1.0) / length  # the highest wave of an even row counts once
    places = torch.arange(length, dtype=torch.float64)
    apart = places[:, None] - places - shift
    return (torch.cos(2 * math.pi / length * k * apart[:, :, None]) * share).sum(dim=2)
