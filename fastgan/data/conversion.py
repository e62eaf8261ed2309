"""Converting a set of images to another form: in parallel, and going on where an earlier try ended."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from fastgan.choices import TRANSFORMS, chosen
from fastgan.data.image import WHITE, BrokenImageError, decode_image, encode_image
from fastgan.data.loading import ENOUGH_BROKEN, broken_report, evenly_spaced, in_threads
from fastgan.data.opening import open_store
from fastgan.data.stores import ImageStore
from fastgan.data.writing import check_destination, shard_names, write_dataset

Track = Callable[[Iterable[Any], int], Iterable[Any]]


@dataclass(frozen=True)
class Conversion:
    """How to convert.

    Attributes:
        resolution: (H, W) to bring the images to; None copies their files as they are, all of one size.
        transform: how to crop, a name of `choices.TRANSFORMS`.
        format: "webp" or "png", both lossless, of images that are not copied.
        channels: 3 for RGB, 1 for grey (png); None: as the set has it.
        background: RGB, 0 to 255, seen through transparent pixels of images that are not copied.
        max_images: at most this many, evenly spaced over the sorted paths.
        class_folders: put every image into a folder of its class's name.
        shard_size: images a .tar shard; None for single files.
        skip_broken: leave out images that cannot be read instead of stopping.
    """

    resolution: tuple[int, int] | None = None
    transform: str = "center-crop"
    format: str = "webp"
    channels: int | None = None
    background: tuple[int, int, int] = WHITE
    max_images: int | None = None
    class_folders: bool = False
    shard_size: int | None = None
    skip_broken: bool = False

    def __post_init__(self) -> None:
        if self.shard_size is not None and self.shard_size < 1:
            raise ValueError(f"shard size must be at least 1 image, got {self.shard_size}")
        if self.resolution is not None:
            chosen(TRANSFORMS, self.transform)(Image.new("L", (1, 1)), self.resolution)  # complains of what cannot be

    @property
    def copies(self) -> bool:
        """Whether the files stay as they are."""
        return self.resolution is None and self.channels is None


def convert(
    source: str | Path,
    dest: Path,
    conversion: Conversion,
    *,
    force: bool = False,
    workers: int | None = None,
    track: Track = lambda things, total: things,
) -> tuple[int, list[str]]:
    """Write the images of `source` to `dest`, a folder, a folder of shards, or a zip (its name ends in .zip).

    Equal arguments give equal bytes, whatever the number of workers. `dest` appears when it is complete; until then the
    work lies beside it in `.NAME.unfinished`, from which the next call with equal arguments goes on.

    Args:
        source: as for `load_dataset`.
        dest: where to.
        conversion: how.
        force: replace a data set that is at `dest`.
        workers: threads; None: one a core.
        track: wraps the images as they are converted, to show progress.
    Returns:
        The number of images written, and a message for each that was left out.
    Raises:
        ValueError: a destination that may not be written, options that do not go together, broken images.
    """
    dest = dest.resolve()
    check_destination(dest, force=force, shards=conversion.shard_size is not None)
    with open_store(source) as store:
        _check_apart(store.path, dest)
        names = _names(store, conversion)
        work = dest.with_name(f".{dest.name}.unfinished")
        _prepare(work, store, conversion, names)
        broken = _stage(store, conversion, names, work, workers, track)
        names = {old: new for old, new in names.items() if old not in broken}
        final = shard_names(names, conversion.shard_size)
        count = write_dataset(
            dest,
            ((final[old], work / new) for old, new in names.items()),
            store.index.renamed(final),
            notices=[(name, store.read(name)) for name in store.notices],
            shards=conversion.shard_size is not None,
            force=force,
        )
    shutil.rmtree(work)
    return count, list(broken.values())


def _names(store: ImageStore, conversion: Conversion) -> dict[str, str]:
    """Path in the source -> path in the set to be written."""
    folders = _class_folders(store.index.classes) if conversion.class_folders else {}
    kept = [store.names[i] for i in evenly_spaced(len(store.names), conversion.max_images)]
    names = {}
    for old in kept:
        path = PurePosixPath(old.replace(".tar/", "/"))
        if not conversion.copies:
            path = path.with_suffix(f".{conversion.format}")
        if conversion.class_folders:
            group = store.index.class_of(old)
            if group is None:
                raise ValueError(f"{store.where(old)}: has no class, so it cannot be put into a folder of its class")
            path = path if path.parts[0] == folders[group] else PurePosixPath(folders[group]) / path
        if conversion.shard_size is not None:  # webdataset ends a sample's key at the first dot
            path = path.with_name(path.stem.replace(".", "_") + path.suffix)
        names[old] = path.as_posix()
    first: dict[str, str] = {}
    for old, new in names.items():
        # In a shard, the label's file has the image's name but for its ending.
        other = first.setdefault(new if conversion.shard_size is None else str(PurePosixPath(new).with_suffix("")), old)
        if other != old:
            raise ValueError(f"{store.where(old)}: would get the same name, {new}, as {other}; rename one of them")
    return names


def _class_folders(classes: Sequence[str]) -> dict[str, str]:
    """Class name -> a folder's name: no path, and not hidden."""
    folders = {name: re.sub(r"^(?=\.|__MACOSX$)|[/\\\0]", "_", name) or "_" for name in classes}
    for name, folder in folders.items():
        other = next(each for each in classes if folders[each] == folder)
        if other != name:
            raise ValueError(f"class_folders: the classes {other!r} and {name!r} would share the folder {folder!r}")
    return folders


def _prepare(work: Path, store: ImageStore, conversion: Conversion, names: dict[str, str]) -> None:
    """Keep the unfinished work if it is of the same conversion, else start anew."""
    how = asdict(replace(conversion, skip_broken=False))
    identity = [str(store.path.resolve()), how, list(names.items())]
    plan = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    file = work / ".plan"
    if not (file.is_file() and file.read_text(encoding="utf-8") == plan):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        file.write_text(plan, encoding="utf-8")


def _stage(
    store: ImageStore, conversion: Conversion, names: dict[str, str], work: Path, workers: int | None, track: Track
) -> dict[str, str]:
    """Every image as a file of `work`; messages of those that are broken, by name."""
    size = None if conversion.resolution is not None else _common_size(store, names, conversion.skip_broken)

    def place(old: str) -> str | None:
        path = work / names[old]
        try:
            if not _is_done(path, store.modified(old)):
                _write_file(path, _converted(store, old, conversion, size))
        except BrokenImageError as error:
            return str(error)
        return None

    broken: dict[str, str] = {}
    for old, message in zip(names, track(in_threads(place, list(names), workers), len(names)), strict=False):
        if message is not None:
            broken[old] = message
            if not conversion.skip_broken and len(broken) == ENOUGH_BROKEN:
                break
    if broken and (not conversion.skip_broken or len(broken) == len(names)):
        raise BrokenImageError(broken_report(store.path, list(broken.values()), len(names)))
    return broken


def _common_size(store: ImageStore, names: Iterable[str], skip_broken: bool) -> tuple[int, int]:
    """(W, H) of the first image that can be read."""
    for name in names:
        try:
            return store.decode(name).size
        except BrokenImageError:
            if not skip_broken:
                raise
    raise BrokenImageError(f"{store.path}: none of its images can be read")


def _converted(store: ImageStore, name: str, conversion: Conversion, size: tuple[int, int] | None) -> bytes:
    """The bytes of the image's new file; `size` (W, H) is what images that keep theirs must have."""
    image = store.decode(name, channels=conversion.channels or store.channels, background=conversion.background)
    if conversion.resolution is not None:
        image = chosen(TRANSFORMS, conversion.transform)(image, conversion.resolution)
    elif size is not None and image.size != size:
        raise BrokenImageError(
            f"{store.where(name)}: is {image.width}x{image.height} (WxH), but the first image is {size[0]}x{size[1]}; "
            "pass --resolution WxH to crop and resize all images to it"
        )
    if conversion.copies:
        return store.read(name)
    return encode_image(image, f".{conversion.format}")


def _is_done(path: Path, modified: int) -> bool:
    """Whether an earlier try wrote this file, whole and after the source was `modified` (nanoseconds)."""
    if not path.is_file() or path.stat().st_mtime_ns < modified:
        return False
    try:
        decode_image(path.read_bytes(), str(path))
    except BrokenImageError:
        return False
    return True


def _write_file(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(data)
    os.replace(partial, path)


def _check_apart(source: Path, dest: Path) -> None:
    source, dest = source.resolve(), dest.resolve()
    if source == dest or source in dest.parents or dest in source.parents:
        raise ValueError(f"{dest}: the destination must lie outside the source {source}, and not hold it")
