"""What `dataset.json` says about the images beside it: labels, class names, finer groups, named selections."""

from __future__ import annotations

import json
import os.path
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

INDEX_NAME = "dataset.json"
# A name is kept for each class up to the largest number: a slip would fill the memory.
MOST_CLASSES = 2**20


@dataclass(frozen=True)
class DatasetIndex:
    """Labels, classes, subgroups and selections of a set of images, keyed by path (`/` between folders).

    Args:
        labels: path -> class number; None when the set is unlabelled.
        classes: name of class 0, 1, ...; numbers serve as names where the file gives none.
        subgroups: path -> finer group inside its class, e.g. `face-smiling`.
        selections: name -> paths, e.g. `smileys/faces`, for choices that no rule on groups expresses.
    """

    labels: Mapping[str, int] | None = None
    classes: tuple[str, ...] = ()
    subgroups: Mapping[str, str] = field(default_factory=dict)
    selections: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> DatasetIndex:
        """Parse `{"labels": [[path, int], ...] | null, "classes": [...], "subgroups": {...}, "selections": {...}}`.

        Args:
            text: content of the file.
            where: how errors name the file.
        Raises:
            ValueError: not JSON, or of another shape.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{where}: not valid JSON ({error}); repair the file or remove it") from error
        if not isinstance(data, dict):
            raise ValueError(
                f'{where}: expected an object like {{"labels": [["a.png", 0], ...]}}, got {type(data).__name__}'
            )
        labels = _parse_labels(data.get("labels"), where)
        classes = _names(data.get("classes") or [], "classes", where)
        count = max(labels.values(), default=-1) + 1 if labels is not None else 0
        if classes and len(classes) < count:
            raise ValueError(f"{where}: labels reach class {count - 1} but only {len(classes)} classes are named")
        subgroups, selections = data.get("subgroups") or {}, data.get("selections") or {}
        if not isinstance(subgroups, dict) or not all(isinstance(group, str) for group in subgroups.values()):
            raise ValueError(f'{where}: "subgroups" must be an object of paths and names, got {_shown(subgroups)}')
        if not isinstance(selections, dict):
            raise ValueError(f'{where}: "selections" must be an object of names and paths, got {_shown(selections)}')
        return cls(
            labels=labels,
            classes=classes or tuple(str(i) for i in range(count)),
            subgroups=subgroups,
            selections={name: _names(paths, "selections", where) for name, paths in selections.items()},
        )

    @classmethod
    def of_folders(cls, names: Iterable[str]) -> DatasetIndex:
        """Sub-folders as classes: `cats/1.png` and `dogs/a/2.png` are of the classes `cats` and `dogs`.

        Folders that all images share do not count. Unlabelled where an image lies in no sub-folder, or all in one.

        Args:
            names: paths of all images.
        """
        folders = {name: PurePosixPath(name).parts[:-1] for name in names}
        shared = len(os.path.commonprefix(list(folders.values())))
        if not folders or any(len(parts) == shared for parts in folders.values()):
            return cls()
        classes = sorted({parts[shared] for parts in folders.values()})
        number = {name: i for i, name in enumerate(classes)}
        return cls(labels={name: number[parts[shared]] for name, parts in folders.items()}, classes=tuple(classes))

    def to_json(self) -> str:
        """The text of `dataset.json`: sorted, so that equal indexes give equal bytes."""
        data: dict[str, object] = {"labels": None if self.labels is None else sorted(map(list, self.labels.items()))}
        if self.classes:
            data["classes"] = list(self.classes)
        if self.subgroups:
            data["subgroups"] = dict(sorted(self.subgroups.items()))
        if self.selections:
            data["selections"] = {name: sorted(paths) for name, paths in sorted(self.selections.items())}
        return json.dumps(data, separators=(",", ":"), ensure_ascii=False) + "\n"

    def renamed(self, names: Mapping[str, str]) -> DatasetIndex:
        """The index of the images in `names` alone, each under its new path.

        Args:
            names: old path -> new path; images that are not in it are dropped.
        """
        labels = self.labels
        return DatasetIndex(
            labels=None if labels is None else {new: labels[old] for old, new in names.items() if old in labels},
            classes=self.classes,
            subgroups={new: self.subgroups[old] for old, new in names.items() if old in self.subgroups},
            selections={k: tuple(names[path] for path in v if path in names) for k, v in self.selections.items()},
        )

    def class_of(self, name: str) -> str | None:
        """Class name of the image at path `name`, or None."""
        return self.classes[self.labels[name]] if self.labels and name in self.labels else None

    def select(self, names: Sequence[str], wanted: Sequence[str]) -> dict[str, int]:
        """Choose images: path -> position in `wanted` of the first entry that matches it.

        An entry, in any case, is a class (`smileys`), a class and subgroup (`smileys/face-smiling`), the name of a
        selection (`smileys/faces`), or a pattern over these (`smileys/face-*`).

        Args:
            names: paths to choose from; the order is kept.
            wanted: entries as above.
        Raises:
            ValueError: an entry matches nothing; lists what there is to choose from.
        """
        tags = {name: self._tags(name) for name in names}
        for selection, paths in self.selections.items():
            for path in paths:
                if path in tags:
                    tags[path].append(selection.lower())
        known = sorted({tag for each in tags.values() for tag in each})
        chosen: dict[str, int] = {}
        for number, entry in enumerate(wanted):
            matching = {tag for tag in known if fnmatchcase(tag, entry.lower())}
            if not matching:
                raise ValueError(f"classes: no class is named {entry!r}; there are: {', '.join(known) or 'none'}")
            for name in names:
                if matching.intersection(tags[name]):
                    chosen.setdefault(name, number)
        return {name: chosen[name] for name in names if name in chosen}

    def _tags(self, name: str) -> list[str]:
        group = self.class_of(name)
        if group is None:
            return []
        subgroup = self.subgroups.get(name)
        return [group.lower()] + ([f"{group}/{subgroup}".lower()] if subgroup else [])


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _names(value: object, field: str, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError(f'{where}: "{field}" must hold lists of names, got {_shown(value)}')
    return tuple(value)


def _parse_labels(pairs: object, where: str) -> dict[str, int] | None:
    if pairs is None:
        return None
    if isinstance(pairs, dict):
        pairs = [list(pair) for pair in pairs.items()]
    labels: dict[str, int] = {}
    for pair in pairs if isinstance(pairs, list) else [pairs]:
        path, label = pair if isinstance(pair, list) and len(pair) == 2 else (None, None)
        if not isinstance(path, str) or type(label) is not int or not 0 <= label < MOST_CLASSES:
            expected = f"[path, class number from 0 to {MOST_CLASSES - 1}]"
            raise ValueError(f'{where}: each of "labels" must be {expected}, got {_shown(pair)}')
        labels[path.replace("\\", "/")] = label
    return labels or None
