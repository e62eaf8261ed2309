"""A model family as CONTRIBUTING has it added: this file alone, by `--cfg`; a line in MODELS gives it a short name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from fastgan.config.fields import as_resolution, check_int, check_number
from fastgan.config.options import AdversarialOptions
from fastgan.data import Dataset
from fastgan.models import Family, FromNoise
from fastgan.train.game import Game
from fastgan.train.games import noise


@dataclass(frozen=True)
class DenseConfig:
    """Fully connected networks of one hidden layer.

    Args:
        resolution: (H, W) of the images.
        img_channels: their channels.
        num_classes: length of c; 0: unconditional.
        width: units of the hidden layer.
    """

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
        return torch.tanh(self.net(x)).unflatten(1, (self.img_channels, *self.resolution))


class Discriminator(nn.Module):
    def __init__(self, cfg: DenseConfig):
        super().__init__()
        pixels = cfg.img_channels * cfg.resolution[0] * cfg.resolution[1]
        self.net = nn.Sequential(nn.Linear(pixels, cfg.width), nn.SiLU(), nn.Linear(cfg.width, 1))

    def forward(self, img: Tensor, c: Tensor | None = None) -> Tensor:
        return self.net(img.flatten(1))


@dataclass(frozen=True)
class DenseOptions(AdversarialOptions):
    """Training options of the family.

    Args:
        ttur: D's learning rate is g_lr times this, whatever d_lr says. Source: Heusel et al. 2017.
    """

    loss: str = "hinge"
    penalties: Mapping[str, tuple[float | None, int]] = field(default_factory=lambda: {"r1": (1.0, 2)})
    ttur: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("ttur", self.ttur, 0, above=True)


def play(networks: Mapping[str, Any], options: DenseOptions, sets: Mapping[str, Dataset], device: torch.device) -> Game:
    """Images of noise, with two time scales."""
    return noise.play(networks, replace(options, d_lr=options.g_lr * options.ttur), sets, device)


FAMILY = Family("dense", DenseConfig, {"G": Generator, "D": Discriminator}, DenseOptions, play=f"{__name__}:play")
