"""Tiny networks that translate images, and games of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastgan.config.options import PairedOptions, UnpairedOptions
from fastgan.data import Dataset, ImageDataset
from fastgan.models import FromImage
from fastgan.train.game import Game
from fastgan.train.games.translation import play_paired, play_unpaired


class TinyG(FromImage):
    """One hidden layer."""

    def __init__(self, in_channels: int = 3, out_channels: int = 3):
        super().__init__()
        self.in_channels, self.out_channels, self.multiple, self.smallest = in_channels, out_channels, 2, 2
        self.net = nn.Sequential(nn.Conv2d(in_channels, 4, 3, 1, 1), nn.SiLU(), nn.Conv2d(4, out_channels, 3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        return torch.tanh(self.net(image))


class TinyD(nn.Module):
    """Patches of 4 pixels; of two images where it is handed two."""

    def __init__(self, channels: int = 3):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(channels, 4, 4, 2, 1), nn.SiLU(), nn.Conv2d(4, 1, 3, 1, 1))

    def forward(self, *images: Tensor) -> Tensor:
        return self.net(torch.cat(images, dim=1))


def sides(count: int = 7, size: int = 8, channels: int = 3) -> dict[str, Dataset]:
    """b is what a shows, darker."""
    images = torch.randint(
        0, 256, (count, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(5)
    )
    return {"a": ImageDataset(images[..., :channels].contiguous()), "b": ImageDataset(images // 2)}


def paired(channels: int = 3, held: bool = False, **changes) -> Game:
    options = PairedOptions(**{"batch": 2, "kimg": 0.02, "tick": 1, "mirror": True, "l1_weight": 10.0, **changes})
    sets = sides(channels=channels)
    if held:
        sets |= {f"held_{side}": dataset for side, dataset in sides(3, channels=channels).items()}
    return play_paired({"G": TinyG(channels), "D": TinyD(channels + 3)}, options, sets, torch.device("cpu"))


def unpaired(held: bool = False, **changes) -> Game:
    options = UnpairedOptions(
        **{"batch": 2, "kimg": 0.02, "tick": 1, "loss": "lsgan", "buffer": 5, "mirror": True, **changes}
    )
    sets = sides() | {"b": sides(5)["b"]}
    if held:
        sets |= {f"held_{side}": dataset for side, dataset in sides(3).items()}
    networks = {"G_ab": TinyG(), "G_ba": TinyG(), "D_a": TinyD(), "D_b": TinyD()}
    return play_unpaired(networks, options, sets, torch.device("cpu"))
