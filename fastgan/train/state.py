"""Everything that makes the next step what it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import Parameter

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
        streak: per player, how many of the latest updates in a row were.
        rollbacks: how often training has gone back to a checkpoint.
        buffers: what networks keep beside their parameters (the average of w, running means): floating-point buffers.
    """

    game: Game
    statistics: Statistics = field(default_factory=Statistics)
    step: int = 0
    images: int = 0
    skipped: dict[str, Tensor] = field(default_factory=dict)
    graphs: Graphs = field(default_factory=Graphs)
    ranks: Ranks | None = None
    streak: dict[str, Tensor] = field(default_factory=dict)
    rollbacks: int = 0

    def __post_init__(self):
        for player in self.game.players:
            for counts in (self.skipped, self.streak):
                counts.setdefault(player.name, torch.zeros([], device=player.parameters[0].device))
        modules = [module for player in self.game.players for module in player.modules.values()]
        kept = {id(t): t for module in modules for t in module.state_dict(keep_vars=True).values()}
        self.buffers = [t for t in kept.values() if not isinstance(t, Parameter) and t.is_floating_point()]

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
            "progress": {
                "step": self.step,
                "images": self.images,
                "skipped": dict(self.skipped),
                "streak": dict(self.streak),
                "rollbacks": self.rollbacks,
            },
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
        progress = tree["progress"]
        self.step, self.images = progress["step"], progress["images"]
        self.rollbacks = progress.get("rollbacks", 0)  # absent from older checkpoints
        for name in self.skipped:
            self.skipped[name].copy_(progress["skipped"][name])
            self.streak[name].copy_(progress.get("streak", {}).get(name, torch.zeros([])))
        self.graphs.forget()
        torch.set_rng_state(tree["rng"]["cpu"])
        if "cuda" in tree["rng"] and torch.cuda.is_available():
            torch.cuda.set_rng_state(tree["rng"]["cuda"])


def _restore_optimizer(player: Player, saved: dict) -> None:
    """Load the optimizer's tensors in the memory format of their parameters: fused steps pair elements by address.

    Learning rates stay the tensors that they were: schedules write into them. So does all the rest where the optimizer
    has stepped before.
    """
    held = player.optimizer.state_dict()["state"]
    if {int(index): set(entry) for index, entry in saved.items()} == {i: set(entry) for i, entry in held.items()}:
        for index, entry in saved.items():
            for name, value in entry.items():
                mine = held[int(index)]
                mine[name] = mine[name].copy_(value) if isinstance(mine[name], Tensor) else value
        return
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
