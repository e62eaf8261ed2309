"""`fastgan dataset`: make a training set, a folder or a zip, from images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from rich.console import Console
from rich.progress import track

from fastgan.data.dataset import evenly_spaced
from fastgan.data.emoji import NOTICE, emoji_index, read_emoji, render_emoji
from fastgan.data.image import TRANSFORMS, decode_image, encode_image
from fastgan.data.stores import ImageStore, open_store
from fastgan.data.writing import check_destination, write_dataset


@dataclass
class DatasetOptions:
    """Make a training set, a folder or a zip, from a folder or zip of PNG, JPEG and WebP.

    Labels in the source's dataset.json go along. Without --resolution files are copied as they are (a JPEG stays the
    JPEG it was) once every one is seen to decode and to have the same size.
    """

    source: str
    """Folder (sub-folders included), zip, or packaged set (emoji64); with --preset emoji64, the Fluent Emoji .tgz."""

    dest: Path
    """What to write: a zip if the name ends in .zip, else a folder. It appears when it is complete."""

    resolution: str | None = None
    """WxH in pixels, e.g. 256x256: crop and resize every image to it."""

    transform: Literal["center-crop", "center-crop-wide"] = "center-crop"
    """How to crop: the largest centred region of the resolution's aspect ratio; or that on a black WxW square."""

    max_images: int | None = None
    """Keep at most this many images, evenly spaced over the sorted paths."""

    format: Literal["webp", "png"] = "webp"
    """File format of resized images; both are lossless, webp is smaller."""

    preset: Literal["emoji64"] | None = None
    """Build a packaged set from its origins, byte for byte."""

    groups: Path | None = None
    """With --preset emoji64: the emoji-datasource-google .tgz, which holds the groups."""

    force: bool = False
    """Replace the data set that is at the destination."""


def run(options: DatasetOptions) -> int:
    """Write the data set that `options` describe.

    Returns:
        0, the exit status.
    Raises:
        ValueError: options that do not go together, files that cannot be read, a destination that is taken.
    """
    check_destination(options.dest, force=options.force)
    count = _build_emoji(options) if options.preset == "emoji64" else _convert(options)
    Console().print(f"Wrote {count} images to {options.dest}", soft_wrap=True, highlight=False)
    return 0


def _build_emoji(options: DatasetOptions) -> int:
    if options.groups is None:
        raise ValueError("--preset emoji64 needs --groups: the .tgz of `npm pack emoji-datasource-google@16.0.0`")
    if options.resolution or options.max_images:
        raise ValueError("--preset emoji64 is one fixed set; convert it afterwards with --source emoji64")
    source = Path(options.source)
    emoji = read_emoji(source, options.groups)
    images = track(render_emoji(source, emoji), "Drawing", len(emoji), console=_progress_console())
    notices = [("NOTICE.txt", NOTICE.read_bytes())]
    return write_dataset(options.dest, images, emoji_index(emoji), notices=notices, force=options.force)


def _convert(options: DatasetOptions) -> int:
    if options.groups is not None:
        raise ValueError("--groups goes with --preset emoji64 only")
    resolution = None if options.resolution is None else parse_resolution(options.resolution)
    with open_store(options.source) as store:
        _check_apart(store.path, options.dest)
        kept = [store.names[i] for i in evenly_spaced(len(store.names), options.max_images)]
        names = {name: name for name in kept}
        if resolution is not None:
            names = {name: PurePosixPath(name).with_suffix(f".{options.format}").as_posix() for name in kept}
            _check_distinct(store, names)
        images = _copied(store, names) if resolution is None else _resized(store, names, resolution, options.transform)
        images = track(images, "Converting", len(names), console=_progress_console())
        return write_dataset(options.dest, images, store.index.renamed(names), force=options.force)


def parse_resolution(text: str) -> tuple[int, int]:
    """`"640x480"` (WxH) -> (480, 640), (H, W).

    Raises:
        ValueError: not two positive numbers around an x.
    """
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ValueError(f"resolution must be WxH in pixels, e.g. 256x256, got {text!r}")
    return int(height), int(width)


def _copied(store: ImageStore, names: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    first: tuple[str, tuple[int, int]] | None = None
    for name in names:
        data = store.read(name)
        size = decode_image(data, store.where(name)).size
        first = first or (store.where(name), size)
        if size != first[1]:
            raise ValueError(
                f"{store.where(name)}: is {size[0]}x{size[1]} (WxH), but {first[0]} is {first[1][0]}x{first[1][1]}; "
                "pass --resolution WxH to crop and resize all images to it"
            )
        yield name, data


def _resized(
    store: ImageStore, names: dict[str, str], resolution: tuple[int, int], transform: str
) -> Iterator[tuple[str, bytes]]:
    for old, new in names.items():
        image = TRANSFORMS[transform](decode_image(store.read(old), store.where(old)), resolution)
        yield new, encode_image(image, PurePosixPath(new).suffix)


def _check_distinct(store: ImageStore, names: dict[str, str]) -> None:
    first: dict[str, str] = {}
    for old, new in names.items():
        other = first.setdefault(new, old)
        if other != old:
            raise ValueError(f"{store.where(old)}: would get the same name, {new}, as {other}; rename one of them")


def _check_apart(source: Path, dest: Path) -> None:
    source, dest = source.resolve(), dest.resolve()
    if source == dest or source in dest.parents or dest in source.parents:
        raise ValueError(f"{dest}: the destination must lie outside the source {source}, and not hold it")


def _progress_console() -> Console:
    return Console(stderr=True)
