"""Everything that makes the next step what it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fastgan.train.game import Game
from fastgan.train.graphs import Graphs
from fastgan.train.players import Player
from fastgan.train.statistics import Statistics

if TYPE_CHECKING:
    from fastgan.train.distributed import Ranks


@dataclass
class TrainState:
    """The game and how far it has come.

    Attributes:
        game: who plays.
        statistics: what terms report.
        step: training steps done.
        images: images seen, step · images_per_step; the unit of progress is 1000 of them (kimg).
        skipped: per player, updates left out because a gradient was NaN or infinite.
        graphs: does the updates.
        ranks: the processes that train together; None for this one alone.
    """

    game: Game
    statistics: Statistics = field(default_factory=Statistics)
    step: int = 0
    images: int = 0
    skipped: dict[str, Tensor] = field(default_factory=dict)
    graphs: Graphs = field(default_factory=Graphs)
    ranks: Ranks | None = None

    def __post_init__(self):
        for player in self.game.players:
            self.skipped.setdefault(player.name, torch.zeros([], device=player.parameters[0].device))

    @property
    def kimg(self) -> float:
        return self.images / 1000

    def capture(self) -> dict:
        """The state as a tree of dicts, lists, tensors and numbers, to be written by `checkpoint`."""
        players = {
            player.name: {
                "modules": {name: module.state_dict() for name, module in player.modules.items()},
                "optimizer": player.optimizer.state_dict()["state"],
                "source": player.source.state_dict(),
                "extras": {name: extra.state_dict() for name, extra in player.extras.items()},
            }
            for player in self.game.players
        }
        rng = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            rng["cuda"] = torch.cuda.get_rng_state()
        return {
            "players": players,
            "emas": {name: ema.module.state_dict() for name, ema in self.game.averages.items()},
            "statistics": self.statistics.state_dict(),
            "progress": {"step": self.step, "images": self.images, "skipped": dict(self.skipped)},
            "rng": rng,
        }

    def restore(self, tree: dict) -> None:
        """Bring back what `capture` gave, into a state built from the same configuration.

        Raises:
            ValueError: the tree has other players or averages than this state.
        """
        for kind, mine in (("players", [p.name for p in self.game.players]), ("emas", list(self.game.averages))):
            if set(tree[kind]) != set(mine):
                raise ValueError(f"the checkpoint holds {kind} {sorted(tree[kind])}, this run has {sorted(mine)}")
        for player in self.game.players:
            saved = tree["players"][player.name]
            for name, module in player.modules.items():
                module.load_state_dict(saved["modules"][name])
            _restore_optimizer(player, saved["optimizer"])
            player.source.load_state_dict(saved["source"])
            for name, extra in player.extras.items():
                extra.load_state_dict(saved["extras"][name])
        for name, ema in self.game.averages.items():
            ema.module.load_state_dict(tree["emas"][name])
        self.statistics.load_state_dict(tree["statistics"])
        self.step, self.images = tree["progress"]["step"], tree["progress"]["images"]
        for name, count in tree["progress"]["skipped"].items():
            self.skipped[name].copy_(count)
        self.graphs.forget()
        torch.set_rng_state(tree["rng"]["cpu"])
        if "cuda" in tree["rng"] and torch.cuda.is_available():
            torch.cuda.set_rng_state(tree["rng"]["cuda"])


def _restore_optimizer(player: Player, saved: dict) -> None:
    """Load the optimizer's tensors in the memory format of their parameters: fused steps pair elements by address.

    Learning rates stay the tensors that they were: schedules write into them.
    """
    states = {}
    for index, entry in saved.items():
        parameter = player.parameters[int(index)]
        states[int(index)] = {
            name: torch.empty_like(parameter).copy_(value)
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.ndim
            else value
            for name, value in entry.items()
        }
    rates = [group["lr"] for group in player.optimizer.param_groups]
    groups = player.optimizer.state_dict()["param_groups"]
    player.optimizer.load_state_dict({"state": states, "param_groups": groups})
    for group, rate in zip(player.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
