"""dataset.json: what it says, what it must not say, and choosing images by it."""

from __future__ import annotations

import json

import pytest

from fastgan.data.index import DatasetIndex

INDEX = DatasetIndex(
    labels={"a.png": 0, "b.png": 0, "c.png": 1, "d.png": 2},
    classes=("Smileys", "people", "flags"),
    subgroups={"a.png": "face-smiling", "b.png": "face-tongue", "c.png": "hands"},
    selections={"best": ("b.png", "d.png")},
)
NAMES = ["a.png", "b.png", "c.png", "d.png", "unlabelled.png"]


def test_json_round_trip_is_exact_and_ordered():
    text = INDEX.to_json()
    assert DatasetIndex.from_json(text, "x") == INDEX
    shuffled = DatasetIndex(
        labels=dict(reversed(list(INDEX.labels.items()))),
        classes=INDEX.classes,
        subgroups=dict(reversed(list(INDEX.subgroups.items()))),
        selections={"best": ("d.png", "b.png")},
    )
    assert shuffled.to_json() == text


def test_published_form_is_understood():
    index = DatasetIndex.from_json('{"labels": [["00000/img00000000.png", 6], ["00000\\\\img1.png", 0]]}', "x")
    assert index.labels == {"00000/img00000000.png": 6, "00000/img1.png": 0}
    assert index.classes == tuple("0123456")
    assert DatasetIndex.from_json('{"labels": null}', "x") == DatasetIndex()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "not valid JSON"),
        ("[]", "expected an object"),
        ('{"labels": 3}', "each of"),
        (
            '{"labels": [["a.png", 0.5]]}',
            r'must be a class number from 0 to 1048575, a class name or a list of numbers, got \["a.png", 0.5\]',
        ),
        ('{"labels": [["a.png", -1]]}', "a label must be a class number"),
        ('{"labels": [["a.png", true]]}', "a label must be a class number"),
        ('{"labels": [["a.png"]]}', r'each of "labels" must be \[path, label\], got \["a.png"\]'),
        ('{"labels": [["a.png", 2]], "classes": ["x"]}', "labels reach class 2 but only 1 classes are named"),
    ],
)
def test_unusable_file_is_named(text, complaint):
    with pytest.raises(ValueError, match=f"^set/dataset.json: .*{complaint}"):
        DatasetIndex.from_json(text, "set/dataset.json")


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        (["smileys"], {"a.png": 0, "b.png": 0}),
        (["FLAGS", "smileys"], {"a.png": 1, "b.png": 1, "d.png": 0}),
        (["smileys/face-tongue"], {"b.png": 0}),
        (["smileys/face-*"], {"a.png": 0, "b.png": 0}),
        (["best", "smileys"], {"a.png": 1, "b.png": 0, "d.png": 0}),
    ],
)
def test_selection(wanted, chosen):
    assert INDEX.select(NAMES, wanted) == chosen


def test_unknown_class_lists_the_known_ones():
    with pytest.raises(
        ValueError, match="no class is named 'cats'; there are: best, flags, people, people/hands, smil"
    ):
        INDEX.select(NAMES, ["smileys", "cats"])
    with pytest.raises(ValueError, match="there are: none"):
        DatasetIndex().select(NAMES, ["smileys"])


def test_renaming_keeps_what_belongs_to_the_kept():
    index = INDEX.renamed({"b.png": "b.webp", "c.png": "c.webp"})
    assert json.loads(index.to_json()) == {
        "labels": [["b.webp", 0], ["c.webp", 1]],
        "classes": ["Smileys", "people", "flags"],
        "subgroups": {"b.webp": "face-tongue", "c.webp": "hands"},
        "selections": {"best": ["b.webp"]},
    }


@pytest.mark.parametrize(
    ("names", "classes", "labels"),
    [
        (["cat/1.png", "dog/2.png", "cat/x/3.png"], ("cat", "dog"), [0, 1, 0]),
        (["set/v1/cat/1.png", "set/v1/dog/2.png"], ("cat", "dog"), [0, 1]),
        (["10/a.png", "9/a.png"], ("10", "9"), [0, 1]),
        (["cat/1.png", "2.png"], ("cat",), [0, None]),
        (["all/1.png", "all/2.png"], (), None),
        (["1.png"], (), None),
        ([], (), None),
    ],
)
def test_sub_folders_are_classes(names, classes, labels):
    index = DatasetIndex.of_folders(names)
    assert index.classes == classes
    assert (index.labels and [index.labels.get(name) for name in names]) == labels


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "dataset.json: not valid JSON"),
        ('{"classes": 3}', 'dataset.json: "classes" must hold lists of names, got 3'),
        ('{"classes": "ab"}', 'dataset.json: "classes" must hold lists of names, got "ab"'),
        ('{"subgroups": ["face"]}', r'dataset.json: "subgroups" must be an object of paths and names, got \["face"\]'),
        ('{"selections": [1]}', r'dataset.json: "selections" must be an object of names and paths, got \[1\]'),
        ('{"selections": {"best": 1}}', 'dataset.json: "selections" must hold lists of names, got 1'),
        # One name a class would be kept: a thousand million millions of them.
        ('{"labels": [["a.png", 1000000000000000]]}', "must be a class number from 0 to 1048575"),
    ],
)
def test_slips_in_the_file_are_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DatasetIndex.from_json(text, "dataset.json")
