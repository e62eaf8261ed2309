"""Which sets of images a game takes, and what they decide of the architecture."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from fastgan.config.data import DataOptions
from fastgan.data import Dataset, load_dataset, load_pairs, load_two_sets


class DataKind(NamedTuple):
    """A kind of training data.

    Attributes:
        load: options -> sets by the names that batches give their images; the first is the one that a run is named by.
        decided: (sets, cond) -> fields of the architecture that the data decide.
        deciding: those fields -> the options that decide over them.
        refused: fields of `DataOptions` that make no sense for it.
    """

    load: Callable[[DataOptions], dict[str, Dataset]]
    decided: Callable[[Mapping[str, Dataset], bool], dict[str, Any]]
    deciding: Mapping[str, str]
    refused: tuple[str, ...] = ()


def _load_images(options: DataOptions) -> dict[str, Dataset]:
    sets: dict[str, Dataset] = {"image": load_dataset(options.place, labelled=options.cond, **options.how())}
    if options.held_out is not None:
        held = dataclasses.replace(options, classes=(), max_images=None)
        sets["held_image"] = load_dataset(options.held_out, labelled=options.cond, **held.how())
    return sets


def _load_pairs(options: DataOptions) -> dict[str, Dataset]:
    return load_pairs(options.place, **options.how()) | _load_held_out(options)


def _load_two_sets(options: DataOptions) -> dict[str, Dataset]:
    return load_two_sets(options.place, **options.how()) | _load_held_out(options)


def _load_held_out(options: DataOptions) -> dict[str, Dataset]:
    """The pairs that are not trained on, as "held_a" and "held_b"; none where none are held out."""
    if options.held_out is None:
        return {}
    pairs = load_pairs(options.held_out, **options.how() | {"classes": None, "max_images": None})
    return {f"held_{side}": dataset for side, dataset in pairs.items()}


def _decided_by_images(sets: Mapping[str, Dataset], cond: bool) -> dict[str, Any]:
    dataset = sets["image"]
    held = sets.get("held_image", dataset)
    _check_alike(held, dataset)
    if cond and (held.class_names, held.label_dim) != (dataset.class_names, dataset.label_dim):
        classes = (", ".join(s.class_names) or f"vectors of {s.label_dim}" for s in (held, dataset))
        raise ValueError(f"--held-out: its classes are {'; those of --data '.join(classes)}")
    return {
        "resolution": dataset.resolution,
        "img_channels": dataset.channels,
        "num_classes": dataset.label_dim if cond else 0,
    }


def _decided_by_pairs(sets: Mapping[str, Dataset], cond: bool) -> dict[str, Any]:
    if cond:
        raise ValueError("--cond must be left out: translations of images take no labels")
    a, b = sets["a"], sets["b"]
    for side, held in ((a, sets.get("held_a", a)), (b, sets.get("held_b", b))):
        _check_alike(held, side)
    return {"resolution": b.resolution, "in_channels": a.channels, "out_channels": b.channels}


def _check_alike(held: Dataset, trained: Dataset) -> None:
    """Raises ValueError for images held out that are of another size than those that are trained on."""
    if (held.resolution, held.channels) != (trained.resolution, trained.channels):
        sizes = (f"{s.resolution[1]}x{s.resolution[0]}, {s.channels} channels" for s in (held, trained))
        raise ValueError(f"--held-out: its images are {', those of --data '.join(sizes)}; give --resolution")


_OF_IMAGES = {"resolution": "--resolution", "img_channels": "--channels", "num_classes": "--cond and --classes"}
_OF_PAIRS = {"resolution": "--resolution", "in_channels": "--channels", "out_channels": "--channels"}
IMAGES = DataKind(_load_images, _decided_by_images, _OF_IMAGES)
PAIRS = DataKind(_load_pairs, _decided_by_pairs, _OF_PAIRS, ("cond",))
TWO_SETS = DataKind(_load_two_sets, _decided_by_pairs, _OF_PAIRS, ("cond",))
