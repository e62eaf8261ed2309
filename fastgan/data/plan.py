"""What a conversion is to write: which images, made of which, under which names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from fastgan.choices import DRAWINGS
from fastgan.data.decoding import transformed_size
from fastgan.data.image import WHITE
from fastgan.data.index import BY_FOLDER, DatasetIndex
from fastgan.data.loading import chosen_index, evenly_spaced
from fastgan.data.pairing import partners, sides_of, without_ending
from fastgan.data.stores import ImageStore


@dataclass(frozen=True)
class Conversion:
    """How to convert.

    Attributes:
        resolution: (H, W) to bring the images to; None copies their files as they are, all of one size.
        transform: how to crop, a name of `choices.TRANSFORMS`.
        format: "webp" or "png", both lossless, of images that are not copied.
        channels: 3 for RGB, 1 for grey (png); None: as the set has it.
        background: RGB, 0 to 255, seen through transparent pixels of images that are not copied.
        classes: which images, as of `load_dataset`; () for all.
        max_images: at most this many, evenly spaced over the sorted paths; of a set of pairs, pairs.
        class_folders: put every image into a folder of its class's name.
        shard_size: images a .tar shard; None for single files.
        skip_broken: leave out images that cannot be read instead of stopping, of pairs the partner too.
        pair: make pairs: b is the image, a what `choices.DRAWINGS` draws of it under this name.
        pair_with: make pairs: a is the image, b its partner in the set that lies here.
        by: "name" or "codepoint": how to find partners, see `pairing.partners`.
        hold_out: this share of the images goes to a second set, `DEST-held-out`; 0 for none.
    """

    resolution: tuple[int, int] | None = None
    transform: str = "center-crop"
    format: str = "webp"
    channels: int | None = None
    background: tuple[int, int, int] = WHITE
    classes: tuple[str, ...] = ()
    max_images: int | None = None
    class_folders: bool = False
    shard_size: int | None = None
    skip_broken: bool = False
    pair: str | None = None
    pair_with: str | None = None
    by: str = "name"
    hold_out: float = 0.0

    def __post_init__(self) -> None:
        if self.shard_size is not None and self.shard_size < 1:
            raise ValueError(f"shard size must be at least 1 image, got {self.shard_size}")
        if self.resolution is not None:
            transformed_size(self.transform, self.resolution)  # complains of what cannot be
        if self.pair is not None and self.pair not in DRAWINGS:
            raise ValueError(f"pair must be one of {', '.join(DRAWINGS)}; got {self.pair!r}")
        if self.pair is not None and self.pair_with is not None:
            raise ValueError("pair and pair_with are two ways to make pairs; give one of them")
        if self.by not in ("name", "codepoint"):
            raise ValueError(f"by must be name or codepoint, got {self.by!r}")
        if self.makes_pairs and self.shard_size is not None:
            raise ValueError("pairs are written to a folder or a zip, not to shards")
        if not 0 <= self.hold_out < 1:
            raise ValueError(f"hold_out must be a share of the images, from 0 to below 1, got {self.hold_out}")

    @property
    def copies(self) -> bool:
        """Whether the files stay as they are."""
        return self.resolution is None and self.channels is None

    @property
    def makes_pairs(self) -> bool:
        """Whether one image becomes two."""
        return self.pair is not None or self.pair_with is not None


@dataclass(frozen=True)
class Picture:
    """What one file of the new set is made of: an image of a store, and what is drawn of it (`choices.DRAWINGS`)."""

    store: ImageStore
    name: str
    drawing: str | None = None


@dataclass(frozen=True)
class Plan:
    """The set to be written.

    Attributes:
        images: key -> path in the new set -> what that file is made of: one file, or the two of a pair.
        index: labels and the like, by path in the new set.
        lonely: number of images of each source that have no partner.
    """

    images: dict[str, dict[str, Picture]]
    index: DatasetIndex
    lonely: tuple[int, ...] = ()

    @property
    def files(self) -> dict[str, Picture]:
        """Path in the new set -> what it is made of."""
        return {path: picture for files in self.images.values() for path, picture in files.items()}

    @property
    def pairs(self) -> bool:
        """Whether it is a set of pairs."""
        return any(len(files) > 1 for files in self.images.values())


def plan_of(store: ImageStore, other: ImageStore | None, conversion: Conversion) -> Plan:
    """Plan the conversion of a store, paired with the images of another if there is one.

    Raises:
        ValueError: unknown classes, no partners, names that meet, options that do not go with the set.
    """
    index = chosen_index(store, conversion.classes) if conversion.classes else store.index
    names = tuple(index.labels or ()) if conversion.classes else store.names
    sides = sides_of(names)
    if sides and conversion.makes_pairs:
        raise ValueError(f"{store.path}: is a set of pairs already; make pairs of single images, or leave --pair out")
    pictures: dict[str, dict[str, Picture]]  # base path -> side -> picture
    known: dict[str, dict[str, str]] = {}  # base path -> side -> the name by which the index knows it
    lonely: tuple[int, ...] = ()
    if other is not None:
        found = partners(store, names, other, conversion.by)
        lonely = len(names) - len(found), len(other.names) - len(set(found.values()))
        pictures = {a: {"a": Picture(store, a), "b": Picture(other, b)} for a, b in found.items()}
        if not index.labels and other.index.labels:
            index, known = other.index, {a: {"a": b, "b": b} for a, b in found.items()}
    elif conversion.pair is not None:
        pictures = {name: {"a": Picture(store, name, conversion.pair), "b": Picture(store, name)} for name in names}
    elif sides:
        bases = {each["a"].partition("/")[2]: each for each in sides.values()}
        pictures = {base: {side: Picture(store, name) for side, name in each.items()} for base, each in bases.items()}
        if index.origin == BY_FOLDER:  # a and b are no classes
            index = DatasetIndex.of_folders(bases)
            known = {base: dict.fromkeys(each, base) for base, each in bases.items()}
    else:
        pictures = {name: {"": Picture(store, name)} for name in names}
    kept = [list(pictures)[i] for i in evenly_spaced(len(pictures), conversion.max_images)]
    images, renamed = _placed({base: pictures[base] for base in kept}, known, index, conversion)
    joined, *more = (index.renamed(each) for each in renamed.values())
    for each in more:
        joined = joined.joined(each)
    return Plan(images, joined, lonely)


def _placed(
    pictures: dict[str, dict[str, Picture]],
    known: dict[str, dict[str, str]],
    index: DatasetIndex,
    conversion: Conversion,
) -> tuple[dict[str, dict[str, Picture]], dict[str, dict[str, str]]]:
    """The files by key and path, and by side: the name that the index knows -> path."""
    folders = _class_folders(index.classes) if conversion.class_folders else {}
    images: dict[str, dict[str, Picture]] = {}
    renamed: dict[str, dict[str, str]] = {}
    taken: dict[str, Picture] = {}
    for base, sides in pictures.items():
        files = {}
        for side, picture in sides.items():
            name = known.get(base, {}).get(side, picture.name)
            path = _path(base, picture, conversion)
            if conversion.class_folders:
                group = index.class_of(name)
                if group is None:
                    where = picture.store.where(picture.name)
                    raise ValueError(f"{where}: has no class, so it cannot be put into a folder of its class")
                path = path if path.parts[0] == folders[group] else PurePosixPath(folders[group]) / path
            if conversion.shard_size is not None:  # webdataset ends a sample's key at the first dot
                path = path.with_name(path.stem.replace(".", "_") + path.suffix)
            new = (PurePosixPath(side) / path).as_posix()
            # In a shard, the label's file has the image's name but for its ending; so do the partners of a pair.
            plain = conversion.shard_size is None and len(sides) == 1
            other = taken.setdefault(new if plain else without_ending(new), picture)
            if other is not picture:
                raise ValueError(
                    f"{picture.store.where(picture.name)}: would get the same name, {new}, as {other.name}; rename one "
                    "of them"
                )
            files[new] = picture
            renamed.setdefault(side, {})[name] = new
        images[base] = files
    return images, renamed


def _path(base: str, picture: Picture, conversion: Conversion) -> PurePosixPath:
    """The path of a file that has the base path, with the ending of what it will be."""
    path = PurePosixPath(base.replace(".tar/", "/"))
    kept = conversion.copies and picture.drawing is None
    return path.with_suffix(PurePosixPath(picture.name).suffix if kept else f".{conversion.format}")


def _class_folders(classes: Sequence[str]) -> dict[str, str]:
    """Class name -> a folder's name: no path, and not hidden."""
    folders = {name: re.sub(r"^(?=\.|__MACOSX$)|[/\\\0]", "_", name) or "_" for name in classes}
    for name, folder in folders.items():
        other = next(each for each in classes if folders[each] == folder)
        if other != name:
            raise ValueError(f"class_folders: the classes {other!r} and {name!r} would share the folder {folder!r}")
    return folders
