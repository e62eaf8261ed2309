"""A Movable generator of a few lines: waves over the picture's plane, in colours that ws chooses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastgan.checkpoint import save_checkpoint
from fastgan.config.fields import as_resolution
from fastgan.config.options import AdversarialOptions
from fastgan.models import Family, Movable
from fastgan.models.mapping import MappingNetwork
from tests.models.third_family import Discriminator


@dataclass(frozen=True)
class WavesConfig:
    """Args: resolution: (H, W); img_channels, num_classes: as of every family; waves: how many are summed."""

    resolution: tuple[int, int] = (16, 16)
    img_channels: int = 3
    num_classes: int = 0
    waves: int = 6

    def __post_init__(self) -> None:
        object.__setattr__(self, "resolution", as_resolution(self.resolution))


class Waves(nn.Module):
    def __init__(self, cfg: WavesConfig) -> None:
        super().__init__()
        self.resolution = cfg.resolution
        self.frequencies = nn.Parameter(3 * torch.randn(2, cfg.waves))
        self.colours = nn.Linear(8, cfg.waves * cfg.img_channels)

    def forward(
        self, ws: Tensor, noise_mode: str = "random", generator: Any = None, transform: Tensor | None = None
    ) -> Tensor:
        height, width = self.resolution
        y = (torch.arange(height, dtype=ws.dtype) + 0.5 - height / 2) / width
        x = (torch.arange(width, dtype=ws.dtype) + 0.5 - width / 2) / width
        points = torch.stack([*torch.meshgrid(x, y, indexing="xy"), torch.ones(height, width, dtype=ws.dtype)])
        matrix = torch.eye(3, dtype=ws.dtype) if transform is None else transform.to(ws.dtype)
        seen = torch.einsum("nij,jhw->nihw", matrix.expand(len(ws), 3, 3), points)[:, :2]
        waves = torch.sin(2 * math.pi * torch.einsum("nihw,if->nfhw", seen, self.frequencies))
        colours = self.colours(ws[:, 0]).unflatten(1, (-1, self.frequencies.shape[1]))
        return torch.tanh(torch.einsum("nfhw,ncf->nchw", waves, colours))


class Generator(Movable):
    def __init__(self, cfg: WavesConfig) -> None:
        super().__init__()
        self.z_dim = self.w_dim = 8
        self.num_classes, self.img_channels, self.resolution = cfg.num_classes, cfg.img_channels, cfg.resolution
        self.num_ws = 2
        self.mapping = MappingNetwork(8, cfg.num_classes, 8, 2, self.num_ws, w_avg_beta=0.998)
        self.synthesis = Waves(cfg)

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
        ws = self.mapping(z, c, truncation_psi, truncation_cutoff, update_emas)
        return self.synthesis(ws, noise_mode, generator, transform)


FAMILY = Family("waves", WavesConfig, {"G": Generator, "D": Discriminator}, AdversarialOptions)


def checkpoint(folder: Path, **config: Any) -> Path:
    """A checkpoint with random weights."""
    torch.manual_seed(0)
    G = Generator(WavesConfig(**config))
    path = folder / "waves.safetensors"
    name = f"{__name__}:FAMILY"
    save_checkpoint(path, {"model": {"name": name, "config": config}, "G_ema": G.state_dict()}, metadata={"kimg": 1.0})
    return path
