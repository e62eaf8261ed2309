"""Labels as users write them: where dataset.json lies, how it names images, what stands for a label."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from fastgan.cli.main import main
from fastgan.data import load_dataset
from tests.data.labelled import FORMS, Files, images, index, labels_of, notes
from tests.data.making import in_folder, in_zip


@pytest.fixture(params=FORMS)
def make(request: pytest.FixtureRequest) -> Callable[[Path, Files], Path]:
    return FORMS[request.param]


LABELS = [["00000/0.png", 1], ["00000/1.png", 0], ["00001/2.png", 2], ["00001/3.png", 0]]
NAMES = [str(path) for path, _ in LABELS]
EXPECTED = {0: 1, 1: 0, 2: 2, 3: 0}


def test_a_zip_made_by_hand_keeps_its_labels(make, tmp_path):
    for depth, folder in enumerate(("", "set", "my/set")):
        files = images(*(f"{folder}/{name}".lstrip("/") for name in NAMES))
        files[f"{folder}/dataset.json".lstrip("/")] = index(LABELS)
        source = make(tmp_path / f"by-hand-{depth}", files)
        assert labels_of(load_dataset(source)) == EXPECTED
        place = f"{folder}/dataset.json".lstrip("/")
        assert notes(source) == f"{source}: labels: 4 of 4 images from {place}, 3 classes"


def test_a_zip_made_by_hand_with_what_macos_adds(tmp_path):
    files = images(*(f"set/{name}" for name in NAMES)) | {
        "set/dataset.json": index(LABELS),
        "__MACOSX/set/dataset.json": b"\0",
        "__MACOSX/set/._dataset.json": b"\0",
        "set/.DS_Store": b"\0",
    }
    assert labels_of(load_dataset(in_zip(tmp_path / "a.zip", files))) == EXPECTED


def test_labels_of_a_wrapped_folder_may_be_written_from_the_root(make, tmp_path):
    files = images(*(f"set/{name}" for name in NAMES))
    files["set/Dataset.JSON"] = index([[f"set/{name}", label] for name, label in LABELS])
    assert labels_of(load_dataset(make(tmp_path / "set", files))) == EXPECTED


def test_several_files_of_labels_are_named(make, tmp_path):
    files = images("a/0.png", "b/1.png") | {"a/dataset.json": index([["0.png", 1]]), "b/dataset.json": index(None)}
    with pytest.raises(ValueError, match=r"holds 2 files dataset\.json \(a/dataset\.json, b/dataset\.json\) and none"):
        load_dataset(make(tmp_path / "two", files))
    source = make(tmp_path / "three", files | {"dataset.json": index([["a/0.png", 1], ["b/1.png", 0]])})
    assert labels_of(load_dataset(source)) == {0: 1, 1: 0}
    assert "passed over a/dataset.json, b/dataset.json: the one at the root comes first" in notes(source)


WRITTEN = {
    "backslashes": lambda name: name.replace("/", "\\"),
    "dot": lambda name: f"./{name}",
    "dot in the middle": lambda name: name.replace("/", "/./"),
    "twice a slash": lambda name: name.replace("/", "//"),
    "prefix": lambda name: f"data/mine/{name}",
    "absolute": lambda name: f"/home/me/data/{name}",
    "drive": lambda name: f"C:\\Users\\me\\data\\{name}",
    "up and down": lambda name: f"../data/{name}",
    "a detour": lambda name: f"00000/../{name}",
    "machines": lambda name: f"/disk{name[6]}/{name}",
    "another ending": lambda name: name.replace(".png", ".jpeg"),
    "case": lambda name: name.replace(".png", ".PNG"),
    "space at the end": lambda name: f"{name} ",
    "carriage return": lambda name: f"{name}\r",
    "flat": lambda name: name.split("/")[1],
}


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
def test_labels_written_by_another_program_are_matched(make, tmp_path, written):
    labels = [[written(name), label] for name, label in LABELS]
    source = make(tmp_path / "set", images(*NAMES) | {"dataset.json": index(labels)})
    assert labels_of(load_dataset(source)) == EXPECTED


def test_a_zip_made_on_windows_keeps_its_labels(tmp_path):
    names = [name.replace("/", "\\") for name in NAMES]
    source = in_zip(tmp_path / "a.zip", images(*names) | {"dataset.json": index(LABELS)})
    assert labels_of(load_dataset(source)) == EXPECTED
    wrapped = images(*(f"set\\{name}" for name in names)) | {"set\\dataset.json": index(LABELS)}
    assert labels_of(load_dataset(in_zip(tmp_path / "b.zip", wrapped))) == EXPECTED


@pytest.mark.parametrize(("image", "label"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_zip_made_on_macos_keeps_the_labels_of_its_umlauts(tmp_path, image, label):
    names = ["Bäume/größe.png", "Bäume/Ålesund.png"]
    files = images(*(unicodedata.normalize(image, name) for name in names))
    labels = [[unicodedata.normalize(label, name), place] for place, name in enumerate(names)]
    source = in_zip(tmp_path / "a.zip", files | {"dataset.json": index(labels)})
    assert labels_of(load_dataset(source)) == {0: 0, 1: 1}
    assert "taken to mean" not in notes(source)


def test_a_match_by_other_words_is_told(make, tmp_path):
    source = make(tmp_path / "a", images("0.png", "1.png") | {"dataset.json": index([["x/0.png", 1], ["x/1.png", 0]])})
    assert "dataset.json: x/0.png is taken to mean 0.png, and so on" in notes(source)


def test_labels_that_match_nothing_are_an_error_and_nothing_is_dropped(make, tmp_path, capsys):
    source = make(tmp_path / "a", images("p.png", "q.png") | {"dataset.json": index([["0.png", 1], ["1.png", 0]])})
    message = "0 of 2 labels match the images: it has 0.png, the set has p.png; write the paths of the images"
    with pytest.raises(ValueError, match=message):
        load_dataset(source)
    for arguments in (["--dest", str(tmp_path / "out.zip")], []):
        assert main(["dataset", "--source", str(source), *arguments]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out.zip").exists()


def test_paths_that_could_mean_several_images_are_an_error(make, tmp_path):
    names = ("x/0.png", "x/x/0.png", "y/x/0.png")
    source = make(tmp_path / "a", images(*names) | {"dataset.json": index([["0.png", 0], ["x/0.png", 1]])})
    assert labels_of(load_dataset(source, classes=["1"])) == {0: 0}  # the image of just this path
    assert "1 label is of an image that is not there: 0.png" in notes(source)
    labels = [["b/0.png", 0]]
    source = make(tmp_path / "b", images("a/a/b/0.png", "c/b/0.png") | {"dataset.json": index(labels)})
    with pytest.raises(ValueError, match=r"dataset\.json: b/0\.png may mean c/b/0\.png or a/a/b/0\.png; write"):
        load_dataset(source)
    source = make(tmp_path / "c", images("k/0.png", "0.png") | {"dataset.json": index([["y/k/0.png", 0]])})
    with pytest.raises(ValueError, match=r"dataset\.json: y/k/0\.png may mean (k/)?0\.png or (k/)?0\.png; write the"):
        load_dataset(source)


def test_labels_of_a_larger_set_are_matched_to_the_images_that_are_there(make, tmp_path):
    labels = [[f"/data/{i:05d}/{j}.png", i] for i in range(4) for j in range(10 * i, 10 * i + 10)]
    source = make(tmp_path / "part", images("11.png", "2.png", "33.png") | {"dataset.json": index(labels)})
    assert labels_of(load_dataset(source)) == {0: 1, 1: 0, 2: 3}
    assert "37 labels are of images that are not there: /data/00000/0.png, /data/00000/1.png" in notes(source)


def test_two_labels_for_an_image_are_an_error(make, tmp_path):
    for number, labels in enumerate(
        (
            json.dumps([["0.png", 0], ["1.png", 1], ["./0.png", 1]]),
            '{"0.png": 0, "1.png": 1, "0.png": 1}',
        )
    ):
        text = f'{{"labels": {labels}}}'.encode()
        source = make(tmp_path / str(number), images("0.png", "1.png") | {"dataset.json": text})
        with pytest.raises(ValueError, match=r'dataset\.json: .*0\.png"? (has two labels|stands there several times)'):
            load_dataset(source)
    same = index([["0.png", 0], ["1.png", 1], ["./0.png", 0]])
    assert labels_of(load_dataset(make(tmp_path / "same", images("0.png", "1.png") | {"dataset.json": same})))


def test_labels_of_images_that_are_gone_are_told_and_make_no_class(make, tmp_path):
    labels = [["0.png", 0], ["1.png", 1], ["gone.png", 2]]
    source = make(tmp_path / "a", images("0.png", "1.png") | {"dataset.json": index(labels)})
    data = load_dataset(source)
    assert labels_of(data) == {0: 0, 1: 1} and data.class_names == ("0", "1") and data.empty_classes == ()
    assert "dataset.json: 1 label is of an image that is not there: gone.png" in notes(source)


def test_a_class_without_images_is_told(make, tmp_path):
    labels = {"dataset.json": index([["0.png", 1], ["1.png", 2]], classes=["cat", "dog", "eel", "fox"])}
    source = make(tmp_path / "a", images("0.png", "1.png") | labels)
    data = load_dataset(source)
    assert data.num_classes == 4 and data.empty_classes == (0, 3)
    assert "no image is of classes cat, fox" in notes(source)


KINDS = {
    "floats": ([0.0, 1.0, 2.0], [0, 1, 2], ("0", "1", "2")),
    "numbers as text": (["1", "0", "1"], [1, 0, 1], ("0", "1")),
    "names": (["dog", "cat ", "dog"], [1, 0, 1], ("cat", "dog")),
    "names with zeros": (["01", "10", "02"], [0, 2, 1], ("01", "02", "10")),
    "large numbers as names": (["4000000001", "7", "7"], [0, 1, 1], ("4000000001", "7")),
    "one-hot": ([[1, 0, 0], [0, 1.0, 0], [1, 0, 0]], [0, 1, 0], ("0", "1", "2")),
}


@pytest.mark.parametrize(("given", "labels", "classes"), KINDS.values(), ids=KINDS)
def test_labels_as_other_programs_write_them(make, tmp_path, given, labels, classes):
    names = ("0.png", "1.png", "2.png")
    text = index(list(zip(names, given, strict=True)))
    data = load_dataset(make(tmp_path / "a", images(*names) | {"dataset.json": text}))
    assert list(labels_of(data).values()) == labels and data.class_names == classes


FILES = {
    "an object of paths": json.dumps({"labels": {"0.png": 1, "1.png": 0}}).encode(),
    "the object alone": json.dumps({"0.png": 1, "1.png": 0}).encode(),
    "byte order mark": b"\xef\xbb\xbf" + index([["0.png", 1], ["1.png", 0]]),
    "UTF-16": json.dumps({"labels": [["0.png", 1], ["1.png", 0]]}).encode("utf-16"),
    "names among classes": index([["0.png", "b"], ["1.png", "a"]], classes=["a", "b"]),
    "names that are numbers": index([["0.png", "3"], ["1.png", "7"]], classes=["7", "3"]),
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_files_of_labels_as_other_programs_write_them(make, tmp_path, text):
    data = load_dataset(make(tmp_path / "a", images("0.png", "1.png") | {"dataset.json": text}))
    assert labels_of(data) == {0: 1, 1: 0} and data.num_classes == 2


@pytest.mark.parametrize(
    ("labels", "fields", "message"),
    [
        ([1, "cat"], {}, r'labels must be of one kind and length, got \["0.png", 1\] and \["1.png", "cat"\]'),
        ([[1, 2], [1, 2, 3]], {}, r'one kind and length, got \["0.png", \[1, 2\]\] and \["1.png", \[1, 2, 3\]\]'),
        ([1, True], {}, r'a label must be a class number .*, a class name or a list of numbers, got \["1.png", true\]'),
        ([[True, 0], [1, 0]], {}, r'got \["0.png", \[true, 0\]\]'),
        ([0.5, 1], {}, r'got \["0.png", 0.5\]'),
        ([0, float("nan")], {}, r'got \["1.png", NaN\]'),
        ([[0.5], [float("inf")]], {}, r'got \["1.png", \[Infinity\]\]'),
        ([[0.5], [1e39]], {}, r'got \["1.png", \[1e\+39\]\]'),
        ([[0.5], [10**400]], {}, r'got \["1.png", \[1000'),
        ([[0.5], ["1"]], {}, r'got \["1.png", \["1"\]\]'),
        ([[], []], {}, r'got \["0.png", \[\]\]'),
        (["", "a"], {}, r'got \["0.png", ""\]'),
        (["a", "b" * 1000], {}, r'got \["1.png", "bbb'),
        (["a", "b"], {"classes": ["a", "c"]}, r'\["1.png", "b"\]: "classes" names no such class'),
        ([[0.5], [1.5]], {"classes": ["a"]}, "label vectors have no classes, but 1 are named"),
        ([[0, 1], [1, 0]], {"classes": ["a"]}, "labels reach class 1 but only 1 classes are named"),
    ],
)
def test_what_is_no_label_is_named(tmp_path, labels, fields, message):
    text = index([["0.png", labels[0]], ["1.png", labels[1]]], **fields)
    with pytest.raises(ValueError, match=rf"a/dataset\.json: .*{message}"):
        load_dataset(in_folder(tmp_path / "a", images("0.png", "1.png") | {"dataset.json": text}))


def test_some_images_without_a_label_matter_with_cond_alone(make, tmp_path):
    labels = [["0.png", 0], ["1.png", 1], ["2.png", None]]
    source = make(tmp_path / "a", images("0.png", "1.png", "2.png", "3.png") | {"dataset.json": index(labels)})
    data = load_dataset(source)
    assert data.labels is None and data.label_dim == 0 and len(data) == 4
    assert f"{source}: 2 of 4 images have no label: 2.png, 3.png" in data.notes
    assert f"{source}: labels are not used, as not every image has one" in data.notes
    with pytest.raises(ValueError, match=r"2 of 4 images have no label: 2\.png, 3\.png; every image must have one to"):
        load_dataset(source, labelled=True)
    assert labels_of(load_dataset(source, classes=["1"], labelled=True)) == {1: 0}


def test_one_image_outside_the_class_folders_is_named(make, tmp_path):
    source = make(tmp_path / "a", images("a/0.png", "b/1.png", "b/2.png", "x.png"))
    assert load_dataset(source).labels is None
    message = r"1 of 4 images lie in no class folder, the others do \(a, b\): x\.png"
    assert any(message.replace("\\", "") in note for note in load_dataset(source).notes)
    with pytest.raises(ValueError, match=message):
        load_dataset(source, labelled=True)


def test_train_and_val_that_became_classes_are_told(make, tmp_path):
    source = make(tmp_path / "a", images("train/cat/0.png", "val/cat/1.png"))
    assert load_dataset(source).class_names == ("train", "val")
    assert "the folders train, val became classes; to use one alone, name it as the source" in notes(source)
    source = make(tmp_path / "b", images("b/Images/0.png", "b/masks/1.png"))
    assert "the folders Images, masks became classes" in notes(source)
    assert "became class" not in notes(make(tmp_path / "c", images("train/cat/0.png", "train/dog/1.png")))
