"""Which image a path in `dataset.json` means: it may be written from another folder, or by another system."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class PathRule:
    """path -> images[fold(path without its first `drop` folders)].

    Args:
        images: folded end of a path -> the image.
        drop: folders that the set does not have.
        fold: makes paths alike that are written in different ways.
    """

    images: Mapping[str, str]
    drop: int = 0
    fold: Callable[[str], str] = str

    def image_of(self, path: str) -> str | None:
        """The image that the path means; None if there is no such."""
        rest = path.split("/", self.drop)
        return self.images.get(self.fold(rest[-1])) if len(rest) > self.drop else None

    def pairs(self, paths: Iterable[str]) -> dict[str, str]:
        """path -> image, of the paths that mean one."""
        found = ((path, self.image_of(path)) for path in paths)
        return {path: image for path, image in found if image is not None}


def match_paths(paths: Collection[str], names: Collection[str], folder: str, where: str) -> PathRule | None:
    """How the paths of `dataset.json` name the images.

    Paths are written relative to its folder, or to the root of the set. Where neither gives every path an image, or
    every image a path, whole folders are left away at the beginning, so many of all paths and so many of all images,
    Unicode's forms of a letter are taken for one, and case and the file's ending may not count. What gives every path
    an image of its own, or every image a path of its own, holds if there is one such way. So no image gets what was
    meant for another, while the paths have all their images, or the images all their paths.

    Args:
        paths: as `clean_name` gives them.
        names: the images.
        folder: where `dataset.json` lies; "" for the root.
        where: how errors name it.
    Returns:
        None where no path means an image.
    Raises:
        ValueError: the paths fit the images in different ways.
    """
    counts: list[tuple[int, PathRule]] = []
    for fold in (str, composed):
        for prefix in dict.fromkeys((f"{folder}/" if folder else "", "")):
            images = _unique((fold(name.removeprefix(prefix)), name) for name in names if name.startswith(prefix))
            if images is not None:
                rule = PathRule(images, fold=fold)
                count = len(set(rule.pairs(paths).values()))
                if count in (len(paths), len(names)):
                    return rule
                counts.append((count, rule))
    if (found := _shifted(paths, names, where)) is not None:
        return found
    count, rule = max(counts, key=lambda each: each[0])
    return rule if count else None


def _shifted(paths: Collection[str], names: Collection[str], where: str) -> PathRule | None:
    """The rule that leaves whole folders away and gives all paths or all images a partner."""
    found: PathRule | None = None
    for fold in (composed, _loose):
        ends_of_images = [_ends(names, drop, fold) for drop in range(_shallowest(names) + 1)]
        for drop in range(_shallowest(paths) + 1):
            ends = _ends(paths, drop, fold)
            for images in ends_of_images:
                if not ends or not images or not (_within(ends, images) or _within(images, ends)):
                    continue
                rule = PathRule(images, drop, fold)
                found = found or rule
                if found.pairs(paths) != rule.pairs(paths):
                    path = next(path for path in paths if found.image_of(path) != rule.image_of(path))
                    either = " or ".join(each.image_of(path) or "no image" for each in (found, rule))
                    raise ValueError(f"{where}: {path} may mean {either}; write the paths of the images as they are")
    return found


def _ends(paths: Iterable[str], drop: int, fold: Callable[[str], str]) -> dict[str, str] | None:
    """Folded path without its first folders -> path; None where two are alike."""
    return _unique((fold(path.split("/", drop)[-1]), path) for path in paths)


def _unique(pairs: Iterable[tuple[str, str]]) -> dict[str, str] | None:
    found: dict[str, str] = {}
    for key, value in pairs:
        if found.setdefault(key, value) != value:
            return None
    return found


def _within(some: Mapping[str, str], others: Mapping[str, str]) -> bool:
    return len(some) <= len(others) and all(each in others for each in some)


def _shallowest(paths: Iterable[str]) -> int:
    """Folders that each of the paths has at least."""
    return min(path.count("/") for path in paths)


def composed(path: str) -> str:
    """One form of letters that Unicode writes in several: macOS takes them apart."""
    return path if path.isascii() else unicodedata.normalize("NFC", path)


def _loose(path: str) -> str:
    """Also without case, spaces at the ends and the file's ending."""
    folder, slash, base = path.rpartition("/")
    stem, dot, _ = base.rpartition(".")
    return composed(f"{folder}{slash}{stem if dot else base}").casefold().strip()
