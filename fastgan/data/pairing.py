"""Which images belong together: by name or by codepoint, as the two sides of a pair, as variants of one emoji."""

from __future__ import annotations

import hashlib
import os.path
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

from fastgan.data.labels import show_paths
from fastgan.data.stores import ImageStore

SIDES = ("a", "b")
_JOINER, _TONES, _SELECTORS = 0x200D, range(0x1F3FB, 0x1F400), (0xFE0E, 0xFE0F)


def without_ending(name: str) -> str:
    """The path without the file's ending."""
    return os.path.splitext(name)[0]


def codepoints(name: str) -> tuple[int, ...]:
    """Codepoints that a file's name spells, without variation selectors; () if it spells none.

    >>> codepoints("emoji_u1f44b_1f3fb.png") == codepoints("people/1F44B-FE0F-1F3FB.svg") == (0x1F44B, 0x1F3FB)
    True
    """
    stem = PurePosixPath(name).stem.lower()
    spelt = re.fullmatch(r"(?:emoji[_-]?)?(?:u\+?)?([0-9a-f]{2,6}(?:[-_ ](?:u\+?)?[0-9a-f]{2,6})*)", stem)
    if spelt is None:
        return ()
    points = (int(each.removeprefix("u").removeprefix("+"), 16) for each in re.split("[-_ ]", spelt[1]))
    return tuple(point for point in points if point not in _SELECTORS)


def partners(store: ImageStore, names: Sequence[str], other: ImageStore, by: str) -> dict[str, str]:
    """Name in `store` -> name in `other`, of the images that have a partner there.

    Args:
        store, names: the images of one set.
        other: the other set.
        by: "name": paths that are equal but for the ending; "codepoint": names that spell the same `codepoints`.
    Raises:
        ValueError: no image has a partner.
    """
    key_of = codepoints if by == "codepoint" else without_ending
    theirs: dict[object, str] = {}
    for name in other.names:
        theirs.setdefault(key_of(name), name)
    found: dict[object, tuple[str, str]] = {}
    for name in names:
        if (key := key_of(name)) and key in theirs:
            found.setdefault(key, (name, theirs[key]))
    if not found:
        what = "spells the codepoints of" if by == "codepoint" else "has, but for its ending, the path of"
        raise ValueError(
            f"no image of {store.path} {what} one of {other.path}: there are {show_paths(names[:2])}, ... and "
            f"{show_paths(other.names[:2])}, ..."
        )
    return dict(found.values())


def sides_of(names: Sequence[str]) -> dict[str, dict[str, str]] | None:
    """path without side and ending -> side -> name, of a set of pairs; None of another set."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for name in names:
        side, _, rest = name.partition("/")
        if side not in SIDES or not rest:
            return None
        found[without_ending(rest)][side] = name
    whole = all(len(sides) == len(SIDES) for sides in found.values())
    return dict(found) if whole and len(names) == len(SIDES) * len(found) else None


def held_out(keys: Sequence[str], share: float) -> list[str]:
    """About `share` of the keys, in their order: variants of one emoji together.

    Which ones follows from their names alone: groups of variants are taken in the order of their names' SHA-256 until
    there are round(share · n), at least one.

    Args:
        keys: paths, whose endings do not count.
        share: between 0 and 1.
    Raises:
        ValueError: nothing would be left.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        groups[_variants_of(key)].append(key)
    chosen: set[str] = set()
    for group in sorted(groups, key=lambda each: hashlib.sha256(each.encode()).digest()):
        if len(chosen) >= max(1, round(share * len(keys))):
            break
        chosen.update(groups[group])
    if len(chosen) == len(keys):
        raise ValueError(f"hold-out of {share:g} leaves none of {len(keys)} images; hold out fewer")
    return [key for key in keys if key in chosen]


def _variants_of(key: str) -> str:
    """What is the same of variants of an emoji: its codepoints up to the first joiner, without skin tones."""
    points = codepoints(key)
    points = points[: points.index(_JOINER)] if _JOINER in points else points
    return "-".join(f"{point:x}" for point in points if point not in _TONES) or without_ending(key)
