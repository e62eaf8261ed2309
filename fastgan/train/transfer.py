"""Transfer: a new run whose networks begin with the weights of another's, as far as these fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from fastgan.choices import DATA_KINDS, chosen
from fastgan.models.registry import family
from fastgan.train.branching import Branch
from fastgan.train.config import RunConfig
from fastgan.train.freezing import frozen_parameters
from fastgan.train.resuming import Origin

_SHOWN = 6  # tensors that a sentence names
_ANEW = "optimizers, kimg, random numbers, the order of the images, augmentation and metrics begin anew"
_Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Fit:
    """What a network takes over from a checkpoint: the tensors of the same name and shape.

    Attributes:
        kept: their names.
        weights: how many of them are parameters.
        anew: name -> (shape in the checkpoint, None where there is no such tensor, and in the network) of the others.
        left: name -> shape of what the checkpoint has beyond the network's names.
    """

    kept: frozenset[str]
    weights: int
    anew: dict[str, tuple[list[int] | None, list[int]]]
    left: dict[str, list[int]]

    @staticmethod
    def of(held: _Weights, network: nn.Module) -> Fit:
        """Of the tensors that a checkpoint holds."""
        before = {name: list(tensor.shape) for name, tensor in held.items()}
        now = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
        kept = frozenset(name for name, shape in now.items() if before.get(name) == shape)
        weights = sum(name in kept for name, _ in network.named_parameters())
        anew = {name: (before.get(name), shape) for name, shape in now.items() if name not in kept}
        return Fit(kept, weights, anew, {name: shape for name, shape in before.items() if name not in now})

    def merged(self, held: _Weights, fresh: _Weights) -> dict[str, Tensor]:
        """The network's tensors: those that are kept, and fresh ones."""
        return {name: held[name] if name in self.kept else tensor for name, tensor in fresh.items()}

    def told(self) -> str:
        """How many are kept."""
        total = len(self.kept) + len(self.anew)
        return f"{len(self.kept)} of {total} tensors kept" if self.anew else f"all {total} tensors kept"

    def changes(self) -> list[str]:
        """Each tensor that begins anew, and each that is left out, in words."""
        anew = [f"{name} {'(new)' if old is None else f'{old} ->'} {now}" for name, (old, now) in self.anew.items()]
        return anew + [f"{name} {old} (left out)" for name, old in self.left.items()]


@dataclass(frozen=True)
class Transfer:
    """What a new run takes from another.

    Attributes:
        record, whole: as in `Branch`.
        checkpoint: where the weights come from.
        kimg: how far the other run had come.
        changes: what the data decide of the architecture and was otherwise: field -> (in the other run, now).
        fits: by network.
        frozen: network -> names of the tensors that stay as they are.
    """

    record: ClassVar[str] = "transferred_from"
    whole: ClassVar[bool] = False

    checkpoint: Path
    kimg: float
    changes: dict[str, tuple[Any, Any]]
    fits: dict[str, Fit]
    frozen: dict[str, list[str]]

    @staticmethod
    def of(origin: Origin, config: RunConfig) -> Transfer:
        """What the networks of a configuration take from the run.

        Raises:
            ValueError: nothing fits, options ask for other shapes than those of the run, or layers are to stay as they
                are that begin anew.
        """
        fits, before = _fits(origin, config), origin.config.architecture
        changes = {name: (before[name], now) for name, now in config.architecture.items() if before[name] != now}
        decided = chosen(DATA_KINDS, family(config.model).data).deciding
        _check_asked(origin, config, fits, {name: pair for name, pair in changes.items() if name not in decided})
        if not _weights(fits):
            raise ValueError(f"--resume-from: no weight of {origin.checkpoint} fits the networks of this run")
        changes = {name: pair for name, pair in changes.items() if name in decided}
        return Transfer(origin.checkpoint, origin.kimg, changes, fits, _frozen(config, fits))

    def to_json(self) -> dict[str, Any]:
        """What config.json and checkpoints record."""
        place = {"run": str(self.checkpoint.resolve().parent), "checkpoint": self.checkpoint.name, "kimg": self.kimg}
        anew = [f"{name}.{change}" for name, fit in self.fits.items() for change in fit.changes()]
        kept = {name: fit.told() for name, fit in self.fits.items()}
        return {**place, "changes": {name: list(pair) for name, pair in self.changes.items()}, "kept": kept,
                "begins_anew": [*anew, _ANEW]}  # fmt: skip

    def sentences(self) -> list[str]:
        """What to tell whoever starts it."""
        lines = [f"begins with the networks and averages of {self.checkpoint}, {self.kimg:.3f} kimg"]
        lines += [f"  {name}: {before}, now {now}" for name, (before, now) in self.changes.items()]
        if "resolution" in self.changes:
            height, width = self.changes["resolution"][0]
            lines.append(f"  --resolution {width}x{height} would bring the images to the size of these networks")
        for name, fit in self.fits.items():
            parts = {"begin anew": fit.changes(), "frozen": self.frozen.get(name, [])}
            named = (f"; {what}: {_some(tensors)}" for what, tensors in parts.items() if tensors)
            lines.append(f"  {name}: {fit.told()}{''.join(named)}")
        return [*lines, f"  {_ANEW}"]

    def adapt(self, tree: dict[str, Any], fresh: dict[str, Any]) -> None:
        """Make the checkpoint's tree that of a run which has just begun, with the weights that are kept.

        Args:
            tree: as the checkpoint holds it; changed in place.
            fresh: `TrainState.capture` of the new run before its first step.
        """
        players = tree["state"]["players"]
        for player, mine in fresh["players"].items():
            for name, tensors in mine["modules"].items():
                mine["modules"][name] = self.fits[name].merged(players[player]["modules"][name], tensors)
        for name, tensors in fresh["emas"].items():
            tree[f"{name}_ema"] = self.fits[name].merged(tree[f"{name}_ema"], tensors)
        tree["state"], tree["scores"] = fresh, []


# How a new run begins with what another has become.
Departure = Branch | Transfer


def _some(tensors: list[str]) -> str:
    more = [f"{len(tensors) - _SHOWN} more"] if len(tensors) > _SHOWN else []
    return ", ".join([*tensors[:_SHOWN], *more])


def _fits(origin: Origin, config: RunConfig) -> dict[str, Fit]:
    held = origin.weights()
    return {name: Fit.of(held.get(name, {}), network) for name, network in config.laid_out().items()}


def _weights(fits: Mapping[str, Fit]) -> int:
    return sum(fit.weights for fit in fits.values())


def _check_asked(
    origin: Origin, config: RunConfig, fits: Mapping[str, Fit], asked: Mapping[str, tuple[Any, Any]]
) -> None:
    """Raises ValueError where less fits than would without the fields that were asked for."""
    own = dataclasses.replace(
        config, architecture=config.architecture | {name: old for name, (old, _) in asked.items()}
    )
    try:
        lost = _weights(_fits(origin, own)) - _weights(fits)
    except ValueError:  # the run's own values are none for these data
        return
    if lost > 0:
        what = "; ".join(f"{name} is {old}, now {new}" for name, (old, new) in asked.items())
        raise ValueError(
            f"--resume-from: {lost} more weights of {origin.checkpoint} would fit without these options: {what}; leave "
            "them out, or begin a new run"
        )


def _frozen(config: RunConfig, fits: Mapping[str, Fit]) -> dict[str, list[str]]:
    """Network -> names of what stays as it is; ValueError where nothing was learnt in it."""
    networks, names = config.laid_out(), {}
    for network, parameters in frozen_parameters(networks, config.training).items():
        frozen = set(map(id, parameters))
        names[network] = [name for name, each in networks[network].named_parameters() if id(each) in frozen]
        if anew := [name for name in names[network] if name in fits[network].anew]:
            raise ValueError(
                f"freezed must leave out what begins anew, and {network}.{anew[0]} does: lower it, or bring the images "
                "to the size and channels of the run's"
            )
    return names
