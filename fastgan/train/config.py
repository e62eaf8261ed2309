"""What a run is: its model, its data and its training options, all resolved and checked."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from fastgan.data import Dataset, load_dataset
from fastgan.data.image import TRANSFORMS, WHITE
from fastgan.models.fields import as_names, as_resolution, check_choice, check_int, shown
from fastgan.models.registry import configure, family
from fastgan.train.options import TrainingOptions, replace


@dataclass(frozen=True)
class DataOptions:
    """Which images to train on.

    Attributes:
        source: "emoji64", or the path of a set in any format of `data.load_dataset`.
        classes: groups to keep; () for all.
        resolution: (H, W) to bring the images to; None for their own.
        cond: condition G and D on the labels, classes or vectors.
        max_images: at most this many.
        channels: 3 for RGB, 1 for grey; None: as the set has it.
        background: RGB, 0 to 255, seen through transparent pixels.
        transform: how to crop, a name of `data.image.TRANSFORMS`.
        skip_broken: leave out images that cannot be read.
        stream: decode images as they are asked for; None: if they need more than 2 GiB.
    """

    source: str = "emoji64"
    classes: tuple[str, ...] = ()
    resolution: tuple[int, int] | None = None
    cond: bool = False
    max_images: int | None = None
    channels: int | None = None
    background: tuple[int, int, int] = WHITE
    transform: str = "center-crop"
    skip_broken: bool = False
    stream: bool | None = None

    def __post_init__(self):
        if not isinstance(self.source, str) or not self.source:
            raise ValueError(f"source must be the name of a packaged set or a path, got {shown(self.source)}")
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

    def load(self) -> Dataset:
        """Read the images; to condition on labels, each must have one."""
        options: dict[str, Any] = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        source, cond = options.pop("source"), options.pop("cond")
        options["classes"] = self.classes or None
        return load_dataset(source, labelled=cond, **options)


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
    def from_json(tree: Any, where: str) -> RunConfig:
        """What `to_json` gave, or a part of it: absent fields take the defaults of their section.

        Args:
            tree: the parsed file.
            where: how errors name it.

        Returns:
            the configuration; its architecture has the fields that are given, and no others.

        Raises:
            ValueError: an unknown field, a wrong type or an impossible value; names the file, section and field.
        """
        sections = ("architecture", "data", "training")
        if not isinstance(tree, dict) or "model" not in tree or set(tree) - {"model", *sections}:
            got = list(tree) if isinstance(tree, dict) else tree
            raise ValueError(f"{where}: must be an object with model, {', '.join(sections)}; got {shown(got)}")
        part = "model"
        try:
            family(tree["model"])
            for part in sections:
                given = tree.get(part, {})
                if not isinstance(given, dict) or not all(isinstance(name, str) for name in given):
                    raise ValueError(f"must be an object of fields and values, got {shown(given)}")
            part, given = "architecture", tree.get("architecture", {})
            resolved = configure(tree["model"], **given)
            architecture = {name: getattr(resolved, name) for name in given}
            part = "data"
            data = replace(DataOptions(), "data", **tree.get("data", {}))
            part = "training"
            training = replace(TrainingOptions(), "training", **tree.get("training", {}))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{where}: {part}: {error}") from error
        return RunConfig(tree["model"], architecture, data, training)
