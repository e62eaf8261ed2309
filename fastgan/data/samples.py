"""Samples of shards, as the webdataset library groups files: which of a sample's files is its image, and its label."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path

_LABELS = (".cls", ".json")


def split_name(name: str) -> tuple[str, str]:
    """The key of a file's sample, and the rest after a dot: a key ends at the first dot of the file's name.

    Numbers after that dot are of the key too: `22.0.png` and `22.1.png` are images of two samples.

    >>> split_name("a/7.seg.png"), split_name("a/22.0.png")
    (('a/7', 'seg.png'), ('a/22.0', 'png'))
    """
    folder, slash, base = name.rpartition("/")
    key, *rest = base.split(".")
    while len(rest) > 1 and rest[0].isdigit():
        key = f"{key}.{rest.pop(0)}"
    return f"{folder}{slash}{key}", ".".join(rest)


def label_files(name: str) -> list[str]:
    """Where the label of an image may lie, the likeliest first: by the image's name, its key, webdataset's key."""
    folder, slash, base = name.rpartition("/")
    stems = (name.rpartition(".")[0] if "." in base else name, split_name(name)[0], folder + slash + base.split(".")[0])
    return [stem + ending for stem in dict.fromkeys(stems) for ending in _LABELS]


def images_of_samples(path: Path, images: Iterable[str], files: Collection[str]) -> tuple[list[str], list[str]]:
    """The image of each sample, and images that lie beside it: masks, depths, ...

    `7.jpg` is the image and `7.seg.png` lies beside it. Where a sample has images of longer endings alone, they are
    images of their own if each has its own label, or if no other sample has such endings, as in `www.site_a.jpg`.

    Args:
        path: names the set in errors.
        images: paths of all images.
        files: paths of all files.
    Raises:
        ValueError: a sample of which several files could be the image.
    """
    samples: dict[str, dict[str, str]] = defaultdict(dict)  # key -> rest of the name -> name
    for name in images:
        key, rest = split_name(name)
        samples[key][rest] = name
    often = Counter(rest for sample in samples.values() for rest in sample)
    beside = {rest for sample in samples.values() if any(map(_is_plain, sample)) for rest in sample}
    chosen: list[str] = []
    others: list[str] = []
    for key, sample in samples.items():
        plain = [name for rest, name in sample.items() if _is_plain(rest)]
        candidates = plain or [name for rest, name in sample.items() if rest not in beside]
        if len(candidates) > 1 and (plain or not _apart(candidates, files, often)):
            raise ValueError(
                f"{path}: {candidates[0]!r} and {candidates[1]!r} are of one sample, {key!r}, and either could be its "
                "image; name the image like the sample with one ending, and others like .mask.png"
            )
        chosen += candidates
        others += [name for name in sample.values() if name not in candidates]
    return chosen, others


def _is_plain(rest: str) -> bool:
    return "." not in rest


def _apart(names: Iterable[str], files: Collection[str], often: Counter[str]) -> bool:
    """Whether images of one key are images of their own."""
    own_labels = all(any(name.rpartition(".")[0] + ending in files for ending in _LABELS) for name in names)
    return own_labels or all(often[split_name(name)[1]] == 1 for name in names)
