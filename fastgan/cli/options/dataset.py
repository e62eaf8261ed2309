"""What `fastgan dataset` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass
class DatasetOptions:
    """Convert a set of images to another form; without --dest, tell what it holds.

    Labels go along, and licence files. Without --resolution and --channels files are copied as they are (a JPEG stays
    the JPEG it was) once every one is seen to decode and to have the same size. A conversion that was stopped goes on
    where it was when called again.
    """

    source: str
    """Folder (sub-folders are classes), zip, idx file (MNIST), folder of CIFAR's .bin files or of .tar shards, or
    packaged set (emoji64); with --preset emoji64, the Fluent Emoji .tgz."""

    dest: Path | None = None
    """What to write: a zip if the name ends in .zip, else a folder. It appears when it is complete."""

    resolution: str | None = None
    """Pixels, 64 or WxH such as 96x64: crop and resize every image to it."""

    transform: Literal["center-crop", "center-crop-wide"] = "center-crop"
    """How to crop: the largest centred region of the resolution's aspect ratio; or that on a black WxW square."""

    channels: Literal[1, 3] | None = None
    """Make all images grey (1) or RGB (3)."""

    background: str = "white"
    """Colour seen through transparent pixels of images that are not copied, a name or #rrggbb."""

    classes: tuple[str, ...] | None = None
    """Groups to keep, e.g. smileys/faces animals, which become the classes; default: all."""

    max_images: int | None = None
    """Keep at most this many images (or pairs), evenly spaced over the sorted paths."""

    pair: Literal["grey", "edges"] | None = None
    """Write pairs for image-to-image translation: b/ the images, a/ their greys, or lines along their edges."""

    pair_with: str | None = None
    """Write pairs of two sets: a/ the images, b/ their partners in the set that lies here."""

    by: Literal["name", "codepoint"] | None = None
    """With --pair-with, partners have the same path but for the ending (name, the default), or names of the same
    Unicode codepoints (codepoint), such as 1f600.webp and emoji_u1f600.png."""

    hold_out: float | None = None
    """Write this share of the images (or pairs), such as 0.05, to a second set, DEST-held-out. Variants of one emoji
    stay together; the same names are always held out."""

    format: Literal["webp", "png"] = "webp"
    """File format of images that are not copied; both are lossless, webp is smaller."""

    class_folders: bool = False
    """Put every image into a folder of its class's name."""

    shard_size: int | None = None
    """Write .tar shards (webdataset) of this many images each into the folder --dest."""

    skip_broken: bool = False
    """Leave out images that cannot be read, and name them, instead of stopping."""

    workers: int | None = None
    """Threads; default: one a core."""

    preview: Path | None = None
    """Write a grid of 100 images, evenly spaced over the set, to this PNG."""

    preset: Literal["emoji64"] | None = None
    """Build a packaged set from its origins, byte for byte."""

    groups: Path | None = None
    """With --preset emoji64: the emoji-datasource-google .tgz, which holds the groups."""

    force: bool = False
    """Replace the data set that is at the destination."""
