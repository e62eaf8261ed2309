"""What each rank of a training has of it: its place, its part of a game, of the data and of a checkpoint."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from fastgan.config.options import TrainingOptions

if TYPE_CHECKING:
    from fastgan.train.game import Game

_Options = TypeVar("_Options", bound=TrainingOptions)


@dataclass(frozen=True)
class Place:
    """Which of the processes of a training this is.

    Attributes:
        rank, world: number of the process, and how many there are.
        local_rank, local_world: the same on this machine.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1

    @staticmethod
    def told() -> Place:
        """What torchrun, or `fastgan train --gpus`, has told this process in its environment."""
        if not {"RANK", "WORLD_SIZE"} <= os.environ.keys():
            return Place()
        rank, world, local_rank, local_world = (
            int(os.environ.get(name, other))
            for name, other in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", 1))
        )
        return Place(rank, world, local_rank, local_world)

    def share(self, options: _Options) -> _Options:
        """The options of a rank's game: micro-batches small enough that each rank has one.

        Raises:
            ValueError: the batch cannot be divided.
        """
        if self.world == 1:
            return options
        each = options.batch_gpu or 1
        if options.batch % (self.world * each):
            parts = f"{self.world} ranks" + (f" x batch_gpu={each}" if options.batch_gpu else "")
            raise ValueError(f"batch is of all ranks together and must be a multiple of {parts}, got {options.batch}")
        return dataclasses.replace(options, batch_gpu=options.batch_gpu or options.batch // self.world)


@runtime_checkable
class Divisible(Protocol):
    """A source of batches that several ranks draw from together."""

    def divide(self, rank: int, world: int) -> None:
        """From now on give the batches rank, rank + world, ... of those that one process alone would get."""
        ...


@runtime_checkable
class Averaged(Protocol):
    """An extra whose state follows the batch."""

    def averaged(self) -> Sequence[Tensor]:
        """Tensors that become their mean over ranks after every step."""
        ...


def play_together(game: Game, place: Place, seed: int) -> None:
    """Divide a game that one process would play among ranks, and give each its own random numbers.

    Raises:
        ValueError: a source of batches that cannot be divided.
    """
    if place.world == 1:
        return
    for player in game.players:
        if not isinstance(player.source, Divisible):
            raise ValueError(
                f"the source of player {player.name!r} must have divide(rank, world) to be drawn from by several "
                f"ranks; {type(player.source).__name__} has not"
            )
        player.source.divide(place.rank, place.world)
        player.accumulate //= place.world
    if place.rank:
        torch.manual_seed(seed_of(seed, place.rank))


def seed_of(seed: int, rank: int, images: int = 0) -> int:
    """Where the random numbers of a rank begin."""
    return int(np.random.SeedSequence([seed, rank, images]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def own_part(captured: Mapping[str, Any], game: Game) -> dict[str, Any]:
    """What a rank has alone, of its captured state."""
    players = {}
    for player in game.players:
        state = captured["players"][player.name]
        own = [name for name, extra in player.extras.items() if not isinstance(extra, Averaged)]
        players[player.name] = {"source": state["source"], "extras": {name: state["extras"][name] for name in own}}
    return _on_cpu({"players": players, "statistics": captured["statistics"], "rng": captured["rng"]})


def part_of(state: dict[str, Any], place: Place, seed: int, device: torch.device) -> tuple[dict[str, Any], int]:
    """The state of a rank, as one process alone would have it.

    Args:
        state: of a checkpoint, of any number of ranks.
        place: of the rank. Of another number, the ranks that the checkpoint had keep their random numbers, and further
            ones begin theirs; images held are those of rank modulo that number; statistics go to rank 0.
        seed: of the run.
        device: whose random numbers count.

    Returns:
        the state, and of how many ranks the checkpoint is.
    """
    first = {name: part for name, part in state.items() if name != "ranks"}
    others = state.get("ranks", [])
    count, number = 1 + len(others), place.rank % (1 + len(others))
    part = others[number - 1] if number else first
    players = {
        name: player
        | {"source": part["players"][name]["source"], "extras": player["extras"] | part["players"][name]["extras"]}
        for name, player in first["players"].items()
    }
    mine = first | {"players": players, "statistics": part["statistics"], "rng": part["rng"]}
    if count != place.world:
        mine["statistics"] = {} if place.rank else summed([each["statistics"] for each in (first, *others)])
        if place.rank >= count:
            begin = seed_of(seed, place.rank, state["progress"]["images"])
            kinds = ["cpu"] if device.type == "cpu" else ["cpu", device.type]
            mine["rng"] = {kind: torch.Generator(kind).manual_seed(begin).get_state() for kind in kinds}
    return mine, count


def _on_cpu(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _on_cpu(each) for name, each in tree.items()}
    return tree.cpu() if isinstance(tree, Tensor) else tree


def summed(each: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """name -> the sum of what each has under it."""
    total: dict[str, Tensor] = {}
    for sums in each:
        for name, tensor in sums.items():
            total[name] = total[name] + tensor if name in total else tensor
    return total
