"""What a run is: its model, its data and its training options, all resolved and checked."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fastgan.choices import TRANSFORMS
from fastgan.config.fields import as_names, as_resolution, check_choice, check_int, shown
from fastgan.config.options import R1_SHORT, TrainingOptions, replace, spelled_out
from fastgan.data.image import WHITE
from fastgan.data.opening import PACKAGED
from fastgan.models.registry import configure, family

# What config.json says of a run beside its configuration.
RECORDS = ("fingerprint", "branched_from")


@dataclass(frozen=True)
class DataOptions:
    """Which images to train on.

    Attributes:
        source: "emoji64", or the path of a set in any format of `data.load_dataset`.
        path: where source lay, from the root, looked for first: a run goes on from another working directory; None
            where that is not known, and of packaged sets.
        classes: groups to keep; () for all.
        resolution: (H, W) to bring the images to; None for their own.
        cond: condition G and D on the labels, classes or vectors.
        max_images: at most this many.
        channels: 3 for RGB, 1 for grey; None: as the set has it.
        background: RGB, 0 to 255, seen through transparent pixels.
        transform: how to crop, a name of `choices.TRANSFORMS`.
        skip_broken: leave out images that cannot be read.
        held_out: pairs, in any format of `data.load_pairs`, that are not trained on and that pictures and figures of a
            translation are of; None: pictures are of the first images of the training set.
        stream: decode images as they are asked for; None: if they need more than 2 GiB.
    """

    source: str = "emoji64"
    path: str | None = None
    classes: tuple[str, ...] = ()
    resolution: tuple[int, int] | None = None
    cond: bool = False
    max_images: int | None = None
    channels: int | None = None
    background: tuple[int, int, int] = WHITE
    transform: str = "center-crop"
    skip_broken: bool = False
    held_out: str | None = None
    stream: bool | None = None

    def __post_init__(self):
        if not isinstance(self.source, str) or not self.source:
            raise ValueError(f"source must be the name of a packaged set or a path, got {shown(self.source)}")
        if self.held_out is not None and (not isinstance(self.held_out, str) or not self.held_out):
            raise ValueError(f"held_out must be the path of a set of pairs, got {shown(self.held_out)}")
        if self.path is not None and (not isinstance(self.path, str) or not os.path.isabs(self.path)):
            raise ValueError(f"path must be that of a set, from the root, got {shown(self.path)}")
        if self.path is not None and not _leads_to(self.source, self.path):
            object.__setattr__(self, "path", None)  # source was changed by hand since it was noted
        object.__setattr__(self, "classes", as_names("classes", self.classes))
        if not isinstance(self.background, (list, tuple)) or len(self.background) != 3:
            raise ValueError(f"background must be three numbers, R, G and B, got {shown(self.background)}")
        for value in self.background:
            check_int("background", value, 0, high=255)
        object.__setattr__(self, "background", tuple(self.background))
        if self.resolution is not None:
            object.__setattr__(self, "resolution", as_resolution(self.resolution))
        for name in ("cond", "skip_broken"):
            check_choice(name, getattr(self, name), (False, True))
        check_choice("stream", self.stream, (None, False, True))
        check_choice("channels", self.channels, (None, 1, 3))
        check_choice("transform", self.transform, tuple(TRANSFORMS))
        if self.max_images is not None:
            check_int("max_images", self.max_images, 1, high=2**40)

    def located(self) -> DataOptions:
        """The same, with the path where source lies now if nothing lies where it did."""
        if self.source in PACKAGED or os.path.lexists(self.path or "") or not os.path.lexists(self.source):
            return self
        return dataclasses.replace(self, path=os.path.abspath(self.source))

    @property
    def place(self) -> str:
        """Where to read: path, named as source is where that leads to it; source where nothing is left at path."""
        if self.path is None or not os.path.lexists(self.path) or os.path.abspath(self.source) == self.path:
            return self.source
        return self.path

    @property
    def exists(self) -> bool:
        """Whether there is something to read."""
        return self.source in PACKAGED or os.path.lexists(self.place)

    def same_place(self, other: DataOptions) -> bool:
        """Whether both name one place, by whatever path."""
        mine, its = (os.path.realpath(each.path or each.source) for each in (self, other))
        return mine == its

    def how(self) -> dict[str, Any]:
        """How to read the images: arguments of `load_dataset`."""
        options: dict[str, Any] = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name in ("source", "path", "cond", "held_out"):
            del options[name]
        return options | {"classes": self.classes or None}


def _leads_to(source: str, path: str) -> bool:
    """Whether path can be the place, from the root, of what source names from some folder."""
    parts = [part for part in os.path.normpath(source).split(os.sep) if part not in ("", ".", "..")]
    return source not in PACKAGED and path.split(os.sep)[-len(parts) or len(path) :] == parts


@dataclass(frozen=True)
class RunConfig:
    """What a run is: model, data and training options, all resolved.

    Attributes:
        model: family name.
        architecture: fields of the family's configuration.
        data: which images.
        training: how.
    """

    model: str
    architecture: dict[str, Any]
    data: DataOptions
    training: TrainingOptions

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(tree: Any, where: str, *, model: str | None = None) -> RunConfig:
        """What `to_json` gave, or a part of it: absent fields take their family's defaults.

        What a run's config.json records beside its configuration (`RECORDS`) is passed over.

        Args:
            tree: the parsed file.
            where: how errors name it.
            model: the family of a tree that names none, of a file that a user wrote. None: the tree is that of a run,
                and names its model.

        Returns:
            the configuration; its architecture has the fields that are given, and no others.

        Raises:
            ValueError: an unknown section or field, a wrong type or an impossible value; names the file, section and
                field, and where one is near the right name.
        """
        if not isinstance(tree, dict) or (model is None and "model" not in tree):
            got = list(tree) if isinstance(tree, dict) else tree
            raise ValueError(f"{where}: must be an object with model, architecture, data, training; got {shown(got)}")
        name = tree.get("model", model)
        with _naming(f"{where}: model"):
            chosen = family(name)
        defaults = chosen.options()
        known = {"data": _names(DataOptions), "training": _names(chosen.options), "architecture": _names(chosen.config)}
        if isinstance(tree.get("training"), dict):
            with _naming(f"{where}: training"):
                tree = tree | {"training": spelled_out(defaults, tree["training"])}
        _check_names(tree, where, known)
        with _naming(f"{where}: architecture"):
            given = tree.get("architecture", {})
            resolved = configure(name, **given)
            architecture = {field: getattr(resolved, field) for field in given}
        with _naming(f"{where}: data"):
            data = replace(DataOptions(), "data", **tree.get("data", {}))
        with _naming(f"{where}: training"):
            training = replace(defaults, "training", **tree.get("training", {}))
        return RunConfig(name, architecture, data, training)


def _names(options: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(options))


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """What is wrong inside is told with where it stands."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: {error}") from error


def _check_names(tree: dict[str, Any], where: str, known: dict[str, tuple[str, ...]]) -> None:
    """Raises ValueError for a section or a field that is not known, and for a section that has no fields.

    A section of a newer fastgan is refused like a slip of the pen: whatever it asks for would not be done.
    """
    for section in tree:
        if section not in ("model", *known, *RECORDS):
            raise ValueError(f"{where}: there is no section {_advice(section, known, ('model', *known))}")
    for section, fields in known.items():
        given = tree.get(section, {})
        if not isinstance(given, dict):
            raise ValueError(f"{where}: {section}: must be an object of fields and values, got {shown(given)}")
        for field in given:
            if field not in fields:
                raise ValueError(f"{where}: {section}: there is no field {_advice(field, known, fields)}")


def _advice(name: object, known: dict[str, tuple[str, ...]], right: Sequence[str]) -> str:
    """An unknown name, with what to write instead: the section whose field it is, or the right name that is near."""
    for section, fields in known.items():
        if name in fields:
            return f"{shown(name)}; it belongs into {section}"
    near = (*right, *R1_SHORT) if "penalties" in right else right
    close = difflib.get_close_matches(name[:80] if isinstance(name, str) else "", near, n=1)
    return f"{shown(name)}{f'; did you mean {close[0]!r}?' if close else '.'} There are {', '.join(right)}"
