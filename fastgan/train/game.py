"""What a run knows of its game: who plays, what follows along, and what can be shown and measured of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fastgan.choices import imported
from fastgan.data import Dataset
from fastgan.data.loading import evenly_spaced
from fastgan.metrics import diversity
from fastgan.models.registry import build, family
from fastgan.nn.precision import Precision, set_precision
from fastgan.train.config import RunConfig
from fastgan.train.ema import Ema
from fastgan.train.freezing import freeze
from fastgan.train.players import Player
from fastgan.train.schedule import Schedule
from fastgan.train.shares import Place, play_together


class Pictures(NamedTuple):
    """Images to be shown in a grid, row by row.

    Attributes:
        images: uint8 [M, C, H, W].
        columns: images a row; None makes the grid about square.
        captions: what the columns hold, repeated along the row; () where all hold the same.
    """

    images: Tensor
    columns: int | None = None
    captions: tuple[str, ...] = ()


@dataclass
class Game:
    """A game, ready for the loop; `train.games` has a module for each kind.

    Attributes:
        players: in the order in which they move.
        averages: moving averages by name, updated after every step.
        images_per_step: real images that one step consumes.
        reals: () -> pictures of the training set, shown once.
        preview: () -> pictures of what the game makes now; the same inputs every time, whatever the random numbers.
        sample: n -> uint8 batches [k, C, H, W], n images in all, likewise the same every time, for metrics; None where
            the game makes none.
        compared: the real images that samples are measured against.
        figures: () -> {name: value}, measured at every snapshot beside the metrics; None for none.
        schedules: what changes with progress. Those of the averages are added.
    """

    players: tuple[Player, ...]
    averages: Mapping[str, Ema]
    images_per_step: int
    reals: Callable[[], Pictures] | None = None
    preview: Callable[[], Pictures] | None = None
    sample: Callable[[int], Iterator[Tensor]] | None = None
    compared: Dataset | None = None
    figures: Callable[[], dict[str, float]] | None = None
    schedules: tuple[Schedule, ...] = ()

    def __post_init__(self) -> None:
        names = [player.name for player in self.players]
        if len(set(names)) != len(names):
            raise ValueError(f"players must have different names, got {', '.join(names)}")
        self.schedules += tuple(average.schedule(self.images_per_step) for average in self.averages.values())

    def diversity(self, pictures: Pictures | None) -> dict[str, float]:
        """How much the images of a preview differ beside real ones; {} where they are not all generated alike, there
        are none to compare with, or they are none of which features are known.
        """
        reals = self.compared
        if pictures is None or pictures.captions or reals is None or min(len(reals), len(pictures.images)) < 2:
            return {}
        if pictures.images.shape[1] not in (1, 3) or min(pictures.images.shape[2:]) < 8:
            return {}
        spread = torch.tensor(evenly_spaced(len(reals), len(pictures.images)))
        return diversity(reals.read(spread).permute(0, 3, 1, 2), pictures.images)


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
    freeze(networks, config.training)
    for average in game.averages.values():  # what is shown and measured is what a checkpoint's network makes
        set_precision(average.module, Precision())
    play_together(game, place, config.training.seed)
    return game
