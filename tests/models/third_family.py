"""A model family as a newcomer would add it: one file, and one registry line that the test writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from fastgan.config.fields import as_resolution, check_int
from fastgan.config.options import AdversarialOptions
from fastgan.models import Family, FromNoise


@dataclass(frozen=True)
class DenseConfig:
    """Fully connected networks of one hidden layer."""

    resolution: tuple[int, int] = (8, 8)
    img_channels: int = 3
    num_classes: int = 0
    width: int = 16

    def __post_init__(self):
        object.__setattr__(self, "resolution", as_resolution(self.resolution))
        check_int("width", self.width, 1)


class Generator(FromNoise):
    def __init__(self, cfg: DenseConfig):
        super().__init__()
        self.z_dim, self.num_classes = 4, cfg.num_classes
        self.img_channels, self.resolution = cfg.img_channels, cfg.resolution
        pixels = cfg.img_channels * cfg.resolution[0] * cfg.resolution[1]
        self.net = nn.Sequential(nn.Linear(4 + cfg.num_classes, cfg.width), nn.ReLU(), nn.Linear(cfg.width, pixels))

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        x = z if c is None else torch.cat([z, c], dim=1)
        return torch.tanh(self.net(x)).reshape(len(z), self.img_channels, *self.resolution)


class Discriminator(nn.Module):
    def __init__(self, cfg: DenseConfig):
        super().__init__()
        pixels = cfg.img_channels * cfg.resolution[0] * cfg.resolution[1]
        self.net = nn.Sequential(nn.Linear(pixels, cfg.width), nn.SiLU(), nn.Linear(cfg.width, 1))

    def forward(self, img: Tensor, c: Tensor | None = None) -> Tensor:
        return self.net(img.flatten(1))


@dataclass(frozen=True)
class DenseOptions(AdversarialOptions):
    """Training options of the family."""

    loss: str = "hinge"
    penalties: Mapping[str, tuple[float | None, int]] = field(default_factory=lambda: {"r1": (1.0, 2)})


FAMILY = Family("dense", DenseConfig, {"G": Generator, "D": Discriminator}, DenseOptions)
