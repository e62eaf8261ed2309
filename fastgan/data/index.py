"""What `dataset.json` says about the images beside it: labels, class names, finer groups, named selections."""

from __future__ import annotations

import json
import os.path
import posixpath
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from fastgan.data.labels import INDEX_NAME, Label, read_labels, show_paths, shown
from fastgan.data.listing import clean_name
from fastgan.data.matching import PathRule, composed, match_paths

# Folders of these names, in any case, are parts of a set or what goes with its images, and seldom classes.
_NO_CLASSES = {
    "train", "training", "val", "valid", "validation", "test", "testing", "images", "imgs", "labels", "masks",
}  # fmt: skip
BY_FOLDER = "by folder"
_FIELDS = {"labels", "classes", "subgroups", "selections"}


@dataclass(frozen=True)
class DatasetIndex:
    """Labels, classes, subgroups and selections of a set of images, keyed by path (`/` between folders).

    Args:
        labels: path -> class number, or -> label vector where there are no classes; None when the set is unlabelled.
        classes: name of class 0, 1, ...; numbers serve as names where the file gives none; () without classes.
        subgroups: path -> finer group inside its class, e.g. `face-smiling`.
        selections: name -> paths, e.g. `smileys/faces`, for choices that no rule on groups expresses.
        origin: where the labels are from, in words; not compared.
        notes: sentences on what was found beside them; not compared.
    """

    labels: Mapping[str, Label] | None = None
    classes: tuple[str, ...] = ()
    subgroups: Mapping[str, str] = field(default_factory=dict)
    selections: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    origin: str = field(default="", compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def from_json(
        cls, text: str | bytes, where: str, names: Sequence[str] | None = None, place: str = INDEX_NAME
    ) -> DatasetIndex:
        """Parse `{"labels": [[path, label], ...] | null, "classes": [...], "subgroups": {...}, "selections": {...}}`.

        Labels may be an object, `{path: label}`, and be all of the file; `read_labels` tells what a label may be.

        Args:
            text: content of the file.
            where: how errors name the file.
            names: the images of the set, which the paths are matched to (`match_paths`); None: paths stay as they are.
            place: the file's own path in the set.
        Raises:
            ValueError: not JSON, or of another shape; two labels for a path; labels of which none is for an image.
        """
        data = _parse(text, where)
        values = _values(data.get("labels"), where)
        classes = None if data.get("classes") is None else _names(data["classes"], "classes", where)
        subgroups, selections = data.get("subgroups") or {}, data.get("selections") or {}
        if not isinstance(subgroups, dict) or not all(isinstance(group, str) for group in subgroups.values()):
            raise ValueError(f'{where}: "subgroups" must be an object of paths and names, got {shown(subgroups)}')
        if not isinstance(selections, dict):
            raise ValueError(f'{where}: "selections" must be an object of names and paths, got {shown(selections)}')
        chosen = {name: _names(paths, "selections", where) for name, paths in selections.items()}
        notes: tuple[str, ...] = ()
        if names:
            paths = values or dict.fromkeys(
                map(_clean, [*subgroups, *(path for each in chosen.values() for path in each)])
            )
            rule = match_paths(paths, names, posixpath.dirname(place), where) if paths else None
            values, notes = _matched(values, rule, names, where, place)
            subgroups = {image: group for path, group in subgroups.items() if (image := _image(rule, path))}
            chosen = {
                name: tuple(image for path in paths if (image := _image(rule, path))) for name, paths in chosen.items()
            }
        labels, classes = read_labels(values, classes, where)
        return cls(labels or None, classes, subgroups, chosen, f"from {place}", notes)

    @classmethod
    def of_folders(cls, names: Iterable[str]) -> DatasetIndex:
        """Sub-folders as classes: `cats/1.png` and `dogs/a/2.png` are of the classes `cats` and `dogs`.

        Folders that all images share do not count. Images in no sub-folder have no label.

        Args:
            names: paths of all images.
        """
        folders = {name: name.split("/")[:-1] for name in names}
        shared = len(os.path.commonprefix(list(folders.values())))
        classes = sorted({parts[shared] for parts in folders.values() if len(parts) > shared})
        number = {name: i for i, name in enumerate(classes)}
        labels = {name: number[parts[shared]] for name, parts in folders.items() if len(parts) > shared}
        notes = []
        if odd := [name for name in classes if name.lower() in _NO_CLASSES]:
            what = f"the folders {show_paths(odd)}" if len(odd) > 1 else f"the folder {odd[0]}"
            notes.append(
                f"{what} became {'classes' if len(odd) > 1 else 'a class'}; to use one alone, name it as the source"
            )
        return cls(labels or None, tuple(classes), origin=BY_FOLDER, notes=tuple(notes))

    def to_json(self) -> str:
        """The text of `dataset.json`: sorted, so that equal indexes give equal bytes."""
        data: dict[str, object] = {"labels": None if self.labels is None else sorted(map(list, self.labels.items()))}
        if self.classes or self.labels:  # [] says that lists are vectors, though each may be one-hot
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

    def joined(self, other: DatasetIndex) -> DatasetIndex:
        """The index of the images of both, which have the same classes."""
        return DatasetIndex(
            labels=None if self.labels is None else {**self.labels, **(other.labels or {})},
            classes=self.classes,
            subgroups={**self.subgroups, **other.subgroups},
            selections={name: paths + other.selections.get(name, ()) for name, paths in self.selections.items()},
        )

    def class_of(self, name: str) -> str | None:
        """Class name of the image at path `name`, or None."""
        label = self.labels.get(name) if self.labels else None
        return self.classes[label] if isinstance(label, int) else None

    def missing(self, names: Sequence[str]) -> str | None:
        """A sentence on those of the images that have no label; None where there are none, or no labels at all."""
        labels = self.labels
        without = [name for name in names if name not in labels] if labels is not None else []
        if not without:
            return None
        counts = f"{len(without)} of {len(names)} images"
        if self.origin != BY_FOLDER:
            return f"{counts} have no label: {show_paths(without)}"
        return f"{counts} lie in no class folder, the others do ({show_paths(self.classes)}): {show_paths(without)}"

    def describe(self, names: Sequence[str], path: Path) -> list[str]:
        """Sentences on the labels of the images: how many, where from, of how many classes, and what is odd.

        Args:
            names: paths of the images.
            path: names the set.
        """
        return [f"{path}: {sentence}" for sentence in (self._on_labels(names) if self.labels else self.notes)]

    def _on_labels(self, names: Sequence[str]) -> list[str]:
        assert self.labels is not None
        labels = [self.labels[name] for name in names if name in self.labels]
        first = next(iter(self.labels.values()))
        classes = "1 class" if len(self.classes) == 1 else f"{len(self.classes)} classes"
        kind = f"vectors of {len(first)} numbers" if isinstance(first, tuple) else classes
        origin = f" {self.origin}" if self.origin else ""
        sentences = [f"labels: {len(labels)} of {len(names)} images{origin}, {kind}", *self.notes]
        if missing := self.missing(names):
            sentences.append(missing)
        counts = Counter(labels) if self.classes else {}
        empty = [name for i, name in enumerate(self.classes) if not counts[i]]
        if empty:
            sentences.append(f"no image is of {'class' if len(empty) == 1 else 'classes'} {show_paths(empty)}")
        return sentences

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


def _parse(text: str | bytes, where: str) -> dict[str, Any]:
    """The file's object; one of paths and labels alone is taken for its "labels"."""
    try:
        data = json.loads(text.removeprefix("\ufeff") if isinstance(text, str) else text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not valid JSON ({error}); repair the file or remove it") from error
    if not isinstance(data, dict):
        raise ValueError(
            f'{where}: expected an object like {{"labels": [["a.png", 0], ...]}}, got {type(data).__name__}'
        )
    return data if not data or _FIELDS.intersection(data) else {"labels": data}


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's dict; json would keep the last of several values of one key."""
    data = dict(pairs)
    for key, value in pairs if len(data) < len(pairs) else ():
        if data[key] != value:
            raise ValueError(f"{shown(key)} stands there several times, with {shown(value)} and {shown(data[key])}")
    return data


def _values(labels: object, where: str) -> dict[str, object]:
    """Clean path -> what stands for its label."""
    if labels is None:
        return {}
    pairs: object = list(labels.items()) if isinstance(labels, dict) else labels
    values: dict[str, object] = {}
    for pair in pairs if isinstance(pairs, list) else [pairs]:
        path, value = pair if isinstance(pair, (list, tuple)) and len(pair) == 2 else (None, None)
        if not isinstance(path, str):
            raise ValueError(f'{where}: each of "labels" must be [path, label], got {shown(pair)}')
        if value is not None:
            _enter(values, _clean(path), value, where)
    return values


def _matched(
    values: Mapping[str, object], rule: PathRule | None, names: Sequence[str], where: str, place: str
) -> tuple[dict[str, object], tuple[str, ...]]:
    """image -> what stands for its label, and sentences on what did not match, or did so in other words."""
    found: dict[str, object] = {}
    folder = posixpath.dirname(place)
    gone: list[str] = []
    renamed: tuple[str, str] | None = None
    for path, value in values.items():
        image = None if rule is None else rule.image_of(path)
        if image is None:
            gone.append(path)
            continue
        if (
            renamed is None
            and image != path
            and composed(image) not in (composed(path), composed(posixpath.join(folder, path)))
        ):
            renamed = path, image
        _enter(found, image, value, where)
    if gone and not found:
        raise ValueError(
            f"{where}: 0 of {len(values)} labels match the images: it has {show_paths(gone[:1])}, the set has "
            f"{show_paths(names[:1])}; write the paths of the images, relative to {INDEX_NAME}"
        )
    notes = []
    if renamed is not None:
        notes.append(f"{place}: {show_paths(renamed[:1])} is taken to mean {show_paths(renamed[1:])}, and so on")
    if gone:
        what = (
            "1 label is of an image that is not there"
            if len(gone) == 1
            else f"{len(gone)} labels are of images that are not there"
        )
        notes.append(f"{place}: {what}: {show_paths(gone)}")
    return found, tuple(notes)


def _enter(values: dict[str, object], path: str, value: object, where: str) -> None:
    """values[path] = value; another value for the same path is an error."""
    if path in values and values[path] != value:
        raise ValueError(
            f"{where}: {show_paths([path])} has two labels, {shown(values[path])} and {shown(value)}; remove one"
        )
    values[path] = value


def _image(rule: PathRule | None, path: str) -> str | None:
    return None if rule is None else rule.image_of(_clean(path))


def _clean(path: str) -> str:
    """The path with `/` between folders, without what leads nowhere and spaces at its end."""
    path = clean_name(path.rstrip())
    return posixpath.normpath(path) if "../" in path else path


def _names(value: object, field: str, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError(f'{where}: "{field}" must hold lists of names, got {shown(value)}')
    return tuple(value)
