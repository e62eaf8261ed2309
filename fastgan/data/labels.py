"""What may stand for a label: a class number, a class name, or a vector of numbers; one kind in all of a set."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

INDEX_NAME = "dataset.json"
# A name is kept for each class up to the largest number: a slip would fill the memory.
MOST_CLASSES = 2**20
# Names that a sentence lists, and the characters of each.
_SHOWN = 5
_LONGEST = 80
_LONGEST_NAME = 200
_LARGEST_FLOAT32 = 3.4028234e38

Label = int | tuple[float, ...]


def read_labels(
    values: Mapping[str, object], classes: Sequence[str] | None, where: str
) -> tuple[dict[str, Label], tuple[str, ...]]:
    """Labels as class numbers with class names, or as vectors without.

    | every value | labels |
    |---|---|
    | whole number (`3`, `3.0`) | class of this number |
    | text (`"3"`, `"cat"`) | class of this name among `classes`; else of this number; else of this name, sorted |
    | list of numbers, one 1 and else 0 | class of the place of the 1, unless `classes` is () |
    | list of numbers | vector |

    Args:
        values: path -> value; None for an image without a label.
        classes: names of classes 0, 1, ... if they are known; () says that lists are vectors.
        where: how errors name the file.
    Returns:
        path -> label, and one name a class; () for vectors.
    Raises:
        ValueError: values of other or of several kinds, vectors of several lengths, more classes than names.
    """
    given = {path: _plain(path, value, where) for path, value in values.items() if value is not None}
    if not given:
        return {}, tuple(classes or ())
    first = next(iter(given))
    kind = _kind(given[first])
    if other := next((path for path, value in given.items() if _kind(value) != kind), None):
        raise ValueError(
            f"{where}: labels must be of one kind and length, got {shown([first, values[first]])} "
            f"and {shown([other, values[other]])}"
        )
    texts = {path: value for path, value in given.items() if isinstance(value, str)}
    if texts:
        return _read_texts(texts, classes, where)
    labels: dict[str, Label] = {path: value for path, value in given.items() if not isinstance(value, str)}
    count = 0
    vectors = [label for label in labels.values() if isinstance(label, tuple)]
    if vectors:
        if classes == () or not all(map(_is_one_hot, vectors)):
            if classes:
                raise ValueError(f"{where}: label vectors have no classes, but {len(classes)} are named")
            return labels, ()
        labels = {path: vector.index(1) for path, vector in zip(labels, vectors, strict=True)}
        count = len(vectors[0])
    return labels, _names(labels, classes, where, count)


def show_paths(paths: Sequence[str]) -> str:
    """The first few of the paths, in words."""
    shown = [path[:_LONGEST].encode(errors="backslashreplace").decode() for path in paths[:_SHOWN]]
    return ", ".join([*shown, *["..."] * (len(paths) > _SHOWN)])


def _kind(value: Label | str) -> tuple[type, int]:
    return type(value), len(value) if isinstance(value, tuple) else 0


def _plain(path: str, value: object, where: str) -> Label | str:
    """The value as a class number, a text or a vector."""
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is int and 0 <= value < MOST_CLASSES:
        return value
    if isinstance(value, str) and 0 < len(value.strip()) <= _LONGEST_NAME:
        return value.strip()
    if isinstance(value, list) and value:
        vector = tuple(map(_number, value))
        if all(map(math.isfinite, vector)):
            return vector
    raise ValueError(
        f"{where}: a label must be a class number from 0 to {MOST_CLASSES - 1}, a class name or a list of numbers, "
        f"got {shown([path, value])}"
    )


def _number(value: object) -> float:
    """A float of what is a number in float32, else NaN."""
    if type(value) not in (int, float) or not -_LARGEST_FLOAT32 <= value <= _LARGEST_FLOAT32:  # type: ignore[operator]
        return math.nan
    return float(value)  # type: ignore[arg-type]


def _is_one_hot(vector: tuple[float, ...]) -> bool:
    return len(vector) > 1 and vector.count(1) == 1 and vector.count(0) == len(vector) - 1


def _read_texts(
    given: Mapping[str, str], classes: Sequence[str] | None, where: str
) -> tuple[dict[str, Label], tuple[str, ...]]:
    known, classes = set(given.values()), classes and [name.strip() for name in classes]
    if not known <= set(classes or ()):
        if all(_is_class_number(text) for text in known):
            labels: dict[str, Label] = {path: int(text) for path, text in given.items()}
            return labels, _names(labels, classes, where)
        if classes:
            path = next(path for path, text in given.items() if text not in classes)
            raise ValueError(f'{where}: {shown([path, given[path]])}: "classes" names no such class')
    names = tuple(classes or sorted(known))
    number = {name: i for i, name in reversed(list(enumerate(names)))}
    return {path: number[text] for path, text in given.items()}, names


def _is_class_number(text: str) -> bool:
    """Whether the text is how a class number is written: a name such as 007 is none."""
    return text.isascii() and text.isdecimal() and len(text) < 8 and text == str(int(text)) and int(text) < MOST_CLASSES


def _names(labels: Mapping[str, Label], classes: Sequence[str] | None, where: str, count: int = 0) -> tuple[str, ...]:
    """One name a class; `count` classes there are at least."""
    count = max(count, 1 + max(label for label in labels.values() if isinstance(label, int)))
    if classes and len(classes) < count:
        raise ValueError(f"{where}: labels reach class {count - 1} but only {len(classes)} classes are named")
    return tuple(classes or map(str, range(count)))


def shown(value: object) -> str:
    """The value as JSON, cut where it is long."""
    text = json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
