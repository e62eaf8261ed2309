"""Which images to train on: checked, and not yet read."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import Any, Literal

from fastgan.choices import PACKAGED, TRANSFORMS
from fastgan.config.fields import as_names, as_resolution, check_choice, check_int, shown


@dataclass(frozen=True)
class DataOptions:
    """Which images to train on.

    Sizes are (H, W).

    Args:
        source: a packaged set, "emoji64", or a folder of images, zip, idx file, folder of CIFAR's .bin files or of .tar
            shards.
        path: where source lay, from the root, looked for first: a run goes on from another working directory; None
            where that is not known, and of packaged sets.
        classes: groups to keep, such as smileys/faces animals; (): all.
        resolution: pixels to bring the images to by cropping and resizing; None: their own.
        cond: condition the networks on the labels of the data, classes or vectors (a dataset.json, or a sub-folder a
            class).
        max_images: use at most this many images; None: all.
        channels: 3 for RGB, 1 for grey; None: 1 where the format holds grey images alone, else 3.
        background: colour seen through transparent pixels, R, G and B from 0 to 255.
        transform: how to crop, a name of `choices.TRANSFORMS`.
        skip_broken: leave out images that cannot be read, and name them, instead of stopping.
        held_out: images or pairs that are not trained on, in any form of source: D's logits of them tell whether it
            knows the others by heart; pictures and figures of a translation are of them; None: nothing is told, and
            those pictures are of the first images of the training set.
        stream: decode images as they are asked for, in bounded memory; None: if they need more than 2 GiB.

    Raises:
        ValueError: a value is impossible.
    """

    source: str = "emoji64"
    path: str | None = None
    classes: tuple[str, ...] = ()
    resolution: tuple[int, int] | None = None
    cond: bool = False
    max_images: int | None = None
    channels: Literal[1, 3] | None = None
    background: tuple[int, int, int] = (255, 255, 255)
    transform: str = "center-crop"
    skip_broken: bool = False
    held_out: str | None = None
    stream: bool | None = None

    def __post_init__(self):
        if not isinstance(self.source, str) or not self.source:
            raise ValueError(f"source must be the name of a packaged set or a path, got {shown(self.source)}")
        if self.held_out is not None and (not isinstance(self.held_out, str) or not self.held_out):
            raise ValueError(f"held_out must be the path of a set, got {shown(self.held_out)}")
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
        """The same, with the path where source lies now if nothing lies where it did, and held_out from the root."""
        if self.held_out is not None and not os.path.isabs(self.held_out):
            return dataclasses.replace(self, held_out=os.path.abspath(self.held_out)).located()
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
