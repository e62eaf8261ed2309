"""A game made of a configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from fastgan.choices import imported
from fastgan.data import Dataset
from fastgan.models.registry import build, family
from fastgan.nn.precision import Precision, set_precision
from fastgan.train.config import RunConfig
from fastgan.train.game import Game
from fastgan.train.shares import Place, play_together


def game_of(
    config: RunConfig,
    sets: Mapping[str, Dataset],
    device: torch.device,
    build: Callable[..., tuple[Any, ...]] = build,
    place: Place = Place(),  # noqa: B008 - it is frozen
) -> Game:
    """The game of a configuration, or a rank's part in it, its weights drawn anew; `build` makes the networks, as
    `models.build` does.
    """
    torch.manual_seed(config.training.seed)
    chosen = family(config.model)
    networks = dict(zip(chosen.networks, build(config.model, **config.architecture)[1:], strict=True))
    last = config.training.uses_channels_last(device.type)
    precision = Precision(config.training.precision, config.training.half_resolutions)
    for network in networks.values():
        network.to(device, memory_format=torch.channels_last if last else torch.contiguous_format)
        set_precision(network, precision)
    if not config.data.cond:
        sets = {name: dataset.unlabelled() for name, dataset in sets.items()}
    game: Game = imported(chosen.play)(networks, place.share(config.training), sets, device)
    for average in game.averages.values():  # what is shown and measured is what a checkpoint's network makes
        set_precision(average.module, Precision())
    play_together(game, place, config.training.seed)
    return game
