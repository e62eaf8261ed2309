"""What each update of a training step launches on a GPU: python -m tests.train.launches.

StyleGAN2 of 16x16 images in channels_last, by the CUDA kernels of the shim: launches of ours, and of torch's as its
dispatcher sees them. Sizes of layers change how many values a launch computes, their number changes how many there are.
"""

from __future__ import annotations

from typing import NamedTuple
from unittest import mock

import torch

from fastgan.config.options import replace
from fastgan.data import ImageDataset
from fastgan.models.registry import build, family
from fastgan.train import ema
from fastgan.train.games.noise import play
from fastgan.train.state import TrainState
from fastgan.train.step import others_frozen, update
from tests.ops import shim
from tests.ops.launches import _Operators

SMALL = {"resolution": 16, "channel_base": 128, "channel_max": 8, "z_dim": 8, "w_dim": 8, "mapping_layers": 2}


class Launches(NamedTuple):
    """Of ours and of torch's."""

    ours: int
    torch: int


def launches(**options) -> dict[str, Launches]:
    """Of each update by its first term, and of the moving average."""
    torch.manual_seed(0)
    networks = dict(zip("GD", build("stylegan2", **SMALL)[1:], strict=True))
    for network in networks.values():
        network.to(memory_format=torch.channels_last)
    images = ImageDataset(torch.zeros(8, 16, 16, 3, dtype=torch.uint8))
    training = replace(family("stylegan2").options(), "training", batch=4, channels_last=True, **options)
    state = TrainState(play(networks, training, {"image": images}, torch.device("cpu")))
    found: dict[str, Launches] = {}

    def count(name, work) -> None:
        with shim.selected():
            work()  # makes the optimizer's state
            before = sum(shim.launches().values())
            with _Operators(1 << 30) as seen:
                work()
            found[name] = Launches(sum(shim.launches().values()) - before, len(seen.names))

    for player in state.game.players:
        with others_frozen(player, state.game.players):
            for terms in player.stages(0):
                count(terms[0].name, lambda p=player, t=terms: update(p, t, [p.source.next()], state))
    with mock.patch.object(ema, "_lerp_each", ema._lerp_together):  # as on a GPU
        count("average", lambda: [average.update() for average in state.game.averages.values()])
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    for title, options in (("R1 every 16th step", {}), ("R1 at every step", {"penalties": {"r1": (1.0, 1)}})):
        print(title)
        for name, counted in launches(**options).items():
            print(f"{name:14}{counted.ours:6} + {counted.torch}")
