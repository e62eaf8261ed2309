"""Names of the files of a set: made alike, each once, and told apart into images and others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

from fastgan.data.formats import IMAGE_SUFFIXES, OTHER_SUFFIXES, image_format, suffix_of
from fastgan.data.labels import INDEX_NAME

# Endings that a sentence lists.
_SHOWN = 8

Place = TypeVar("Place")


def clean_name(name: str) -> str:
    """The path with `/` between folders (zips made on Windows have `\\`), without `./` and empty parts.

    >>> clean_name("./cats\\\\1.png")
    'cats/1.png'
    """
    name = name.replace("\\", "/")
    if name.startswith("./") or "//" in name or "/./" in name:
        root = "/" if name.startswith("/") else ""
        name = root + "/".join(part for part in name.split("/") if part not in ("", "."))
    return name


def by_name(
    path: Path, files: Iterable[tuple[str, Place]], same: Callable[[Place, Place], bool] = lambda a, b: False
) -> dict[str, Place]:
    """Clean name -> where the file lies.

    Args:
        path: names the set in errors.
        files: (name as it is written, where the file lies).
        same: whether two files of one name hold the same bytes; the first of them then stands for both.
    Raises:
        ValueError: different files of one name, a path that leads out of the set.
    """
    found: dict[str, Place] = {}
    for written, place in files:
        name = clean_name(written)
        if name in found and not same(found[name], place):
            raise ValueError(
                f"{path}: holds {name!r} several times, with different content; build it again with each name once"
            )
        found.setdefault(name, place)
    for name in found:
        if name.startswith("/") or re.match(r"[A-Za-z]:/", name) or (".." in name and ".." in name.split("/")):
            raise ValueError(f"{path}: holds {name!r}, a path that leads out of the set; build it again")
    return found


def is_hidden(name: str) -> bool:
    """Whether a part of the path begins with a dot, or is the folder that macOS adds to zips."""
    return name.startswith((".", "__MACOSX/")) or "/." in name or "/__MACOSX/" in name


def is_notice(name: str) -> bool:
    """Whether it is a licence file of the set, which lies in its root."""
    return re.fullmatch(r"(licen[cs]e|notice|copying)(\.\w+)?", name, re.IGNORECASE) is not None


def tell_apart(names: Iterable[str], head: Callable[[str], bytes]) -> tuple[list[str], list[str]]:
    """Images, and files that are none; hidden files, `dataset.json` and licences are neither.

    A file is an image by its ending, or where that says nothing by how it begins.

    Args:
        names: clean paths.
        head: reads the first bytes of a file; b"" where it cannot be read.
    """
    images, others = [], []
    for name in names:
        if is_hidden(name):
            continue
        suffix = suffix_of(name)
        if suffix in IMAGE_SUFFIXES or (suffix not in OTHER_SUFFIXES and image_format(head(name)) is not None):
            images.append(name)
        elif not (is_notice(name) or name.split("/")[-1].lower() == INDEX_NAME):
            others.append(name)
    return images, others


def passed_over(images: Sequence[str], others: Sequence[str]) -> list[str]:
    """Sentences on the files that are no images, by ending, and on folders that hold such files alone."""
    if not others:
        return []
    what = "1 file that is no image" if len(others) == 1 else f"{len(others):,} files that are no images"
    notes = [f"passed over {what}: {count_endings(map(suffix_of, others))}"]
    folders = {PurePosixPath(name).parent for name in images}
    folders = folders.union(*(folder.parents for folder in folders), [PurePosixPath()])
    empty = sorted(str(folder) for folder in {PurePosixPath(name).parent for name in others} - folders)
    if images and empty:
        notes.append(f"no image lies in {', '.join(empty[:_SHOWN])}{', ...' * (len(empty) > _SHOWN)}")
    return notes


def count_endings(endings: Iterable[str]) -> str:
    """`3 .txt, 1 .db, 1 without an ending`, the commonest first."""
    counts = sorted(Counter(endings).items(), key=lambda pair: (-pair[1], pair[0]))
    rest = sum(count for _, count in counts[_SHOWN:])
    shown = [f"{count:,} {ending or 'without an ending'}" for ending, count in counts[:_SHOWN]]
    return ", ".join([*shown, *[f"{rest:,} others"] * (rest > 0)])
