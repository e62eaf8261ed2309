"""Branching off: a new run that begins with the state of another, and with other options, data or labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from fastgan.config.options import AdversarialOptions, told
from fastgan.data import Dataset
from fastgan.train.config import RunConfig
from fastgan.train.fingerprint import fingerprints
from fastgan.train.resuming import Origin


@dataclass(frozen=True)
class Branch:
    """What a new run takes from another, and in what it differs.

    Attributes:
        record: name of what config.json and checkpoints record of it.
        whole: all the state is carried over, but for what `anew` names.
        checkpoint: where the state comes from.
        kimg: how far the other run had come.
        changes: field -> (in the other run, now); the data's, and what follows from others, included.
        anew: sentences on state that is not carried over.
        same_images, same_pixels, same_seed: whether the place in the data, the metrics, and random numbers are carried
            over.
    """

    record: ClassVar[str] = "branched_from"
    whole: ClassVar[bool] = True

    checkpoint: Path
    kimg: float
    changes: dict[str, tuple[Any, Any]]
    anew: tuple[str, ...]
    same_images: bool
    same_pixels: bool
    same_seed: bool

    @staticmethod
    def of(origin: Origin, config: RunConfig, sets: Mapping[str, Dataset]) -> Branch:
        """The branch of a run with another configuration.

        Args:
            origin: the other run.
            config: of the new run, resolved.
            sets: config.data, loaded.

        Raises:
            ValueError: networks of another shape, or a run that would end where it begins.
        """
        check_shapes(origin, config)
        if config.training.kimg <= origin.kimg:
            raise ValueError(
                f"--branch: {origin.checkpoint} has come to {origin.kimg:g} kimg, so a run of "
                f"{config.training.kimg:g} kimg has nothing left to train; give a longer --kimg"
            )
        changes = {name: pair for name, pair in origin.changes(config).items() if name != "path"}
        before, now = origin.config.training, config.training
        follows = {"half-life of the average, kimg": (before.half_life() / 1000, now.half_life() / 1000)}
        if isinstance(before, AdversarialOptions) and isinstance(now, AdversarialOptions):
            resolution = config.architecture["resolution"]
            for name in {**before.penalties, **now.penalties}:
                weights = (before.penalty_weight(name, resolution), now.penalty_weight(name, resolution))
                follows[f"weight of {name}"] = weights
        changes |= {name: pair for name, pair in follows.items() if pair[0] != pair[1]}
        differences, same_images, same_held_out = _compare_data(origin, config, sets)
        same_pixels = same_images and same_held_out and not {"background", "channels", "transform"} & set(changes)
        if differences:
            changes["data"] = ("as the run had read them", "; ".join(differences))
        same_seed = before.seed == now.seed
        anew = []
        if not same_images:
            anew.append("the order of the images begins anew: other images; so do the metrics")
        elif not same_held_out:
            anew.append("the metrics begin anew: other held-out pairs")
        elif not same_pixels:
            anew.append("the metrics begin anew: the images are prepared otherwise")
        if not same_seed:
            anew.append("random numbers and the order of the images begin anew: another seed")
        if getattr(now, "pl_weight", 0) and not getattr(before, "pl_weight", 0):
            anew.append("the running mean of path lengths begins: the run had none")
        if (size := getattr(now, "buffer", 0)) and not (same_images and size == getattr(before, "buffer", 0)):
            anew.append("the buffers of earlier translations begin anew")
        return Branch(origin.checkpoint, origin.kimg, changes, tuple(anew), same_images, same_pixels, same_seed)

    def to_json(self) -> dict[str, Any]:
        """What config.json and checkpoints record."""
        changes = {name: list(pair) for name, pair in self.changes.items()}
        place = {"run": str(self.checkpoint.resolve().parent), "checkpoint": self.checkpoint.name, "kimg": self.kimg}
        return {**place, "changes": changes, "begins_anew": list(self.anew)}

    def sentences(self) -> list[str]:
        """What to tell whoever starts it."""
        lines = [f"branched from {self.checkpoint}, {self.kimg:.3f} kimg, with all of its state"]
        lines += [f"  {name}: {told(before)}, now {told(now)}" for name, (before, now) in self.changes.items()]
        return lines + [f"  {sentence}" for sentence in self.anew]

    def adapt(self, tree: dict[str, Any], fresh: dict[str, Any]) -> None:
        """Put what is not carried over, as it is in a run that has just begun, into the checkpoint's tree.

        Args:
            tree: as the checkpoint holds it; changed in place.
            fresh: `TrainState.capture` of the new run before its first step.
        """
        state = tree["state"]
        for name, player in state["players"].items():
            mine = fresh["players"][name]
            kept = {each: extra for each, extra in player["extras"].items() if _fits(extra, mine["extras"].get(each))}
            if not self.same_images:  # translations of other images
                kept = {each: extra for each, extra in kept.items() if "images" not in extra}
            player["extras"] = mine["extras"] | kept
            if not (self.same_images and self.same_seed) or player["source"].keys() != mine["source"].keys():
                player["source"] = mine["source"]
        if not self.same_seed:
            state["rng"] = fresh["rng"]
        if not self.same_pixels:
            tree["scores"] = []


def _fits(extra: dict[str, Any], mine: dict[str, Any] | None) -> bool:
    """Whether the state of an extra is one of the new run's extra: the same tensors, of the same shapes."""
    return mine is not None and all(
        getattr(extra.get(k), "shape", None) == getattr(v, "shape", None) for k, v in mine.items()
    )


def check_shapes(origin: Origin, config: RunConfig) -> None:
    """Raises ValueError where the networks of a configuration cannot take the weights of the run."""
    before = origin.config
    if _shapes(before) == _shapes(config):
        return
    changed = {
        name: (before.architecture[name], now)
        for name, now in config.architecture.items()
        if before.architecture[name] != now
    }
    if "resolution" in changed:
        height, width = before.architecture["resolution"]
        advice = f"bring the images to the networks' size by --resolution {width}x{height}"
    elif "num_classes" in changed:
        advice = "choose as many classes as the networks know by --classes, or begin a new run"
    elif "img_channels" in changed:
        advice = f"bring the images to it by --channels {before.architecture['img_channels']}"
    else:
        advice = "leave these options out, or begin a new run"
    what = "; ".join(f"{name} is {old}, now {new}" for name, (old, new) in changed.items())
    raise ValueError(f"--branch: the networks of {origin.checkpoint} have other shapes: {what}; {advice}")


def _shapes(config: RunConfig) -> list[dict[str, Any]]:
    networks = config.laid_out().values()
    return [{name: tensor.shape for name, tensor in network.state_dict().items()} for network in networks]


def _compare_data(origin: Origin, config: RunConfig, sets: Mapping[str, Dataset]) -> tuple[list[str], bool, bool]:
    """In words how the data differ, and whether the images that are trained on and those held out are the same."""
    now, before = fingerprints(sets, config.data.cond), origin.fingerprints
    held = {name for name in {*now, *before} if name.startswith("held_")}
    changed = [name for name in held if name not in now or name not in before or before[name].image_changes(now[name])]
    now, before = ({name: each[name] for name in each if name not in held} for each in (now, before))
    if not before or set(now) != set(before):
        same = origin.config.data.same_place(config.data)
        return ([] if same else ["whether the images are the same is not known"]), same, not changed
    images = [change for name in now for change in before[name].image_changes(now[name])]
    if images:
        return images, False, not changed
    if not all(each.complete for each in now.values()):
        told = ["as many images, not compared: a streamed set tells their content only as they are read"]
        return told, True, not changed
    return [change for name in now for change in before[name].changes(now[name])], True, not changed
