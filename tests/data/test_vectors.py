"""Label vectors, and labels of shards: read, written and told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fastgan.cli.main import main
from fastgan.data import load_dataset
from fastgan.data.conversion import Conversion, convert
from fastgan.data.opening import open_store
from tests.data.labelled import FORMS, Files, images, index, labels_of, notes
from tests.data.making import flat, in_folder, in_tar


@pytest.fixture(params=FORMS)
def make(request: pytest.FixtureRequest) -> Callable[[Path, Files], Path]:
    return FORMS[request.param]


def test_a_shard_brings_names_and_vectors(tmp_path):
    files = {"0.png": flat(100), "0.cls": b"dog", "1.png": flat(101), "1.cls": b"cat\n"}
    data = load_dataset(in_tar(tmp_path / "a.tar", files))
    assert labels_of(data) == {0: 1, 1: 0} and data.class_names == ("cat", "dog")
    files = {"0.png": flat(100), "0.json": b'{"label": [0.5, -2]}', "1.png": flat(101), "1.json": b'{"label": [1, 0]}'}
    assert labels_of(load_dataset(in_tar(tmp_path / "b.tar", files))) == {0: [0.5, -2], 1: [1, 0]}
    files = images("set/0.png", "set/1.png") | {"set/dataset.json": index([["0.png", 1], ["1.png", 0]])}
    assert labels_of(load_dataset(in_tar(tmp_path / "c.tar", files))) == {0: 1, 1: 0}


def test_labels_of_shards_may_leave_the_shards_out(tmp_path):
    in_tar(tmp_path / "shards.tar", images("a/0.png", "a/1.png"))
    in_folder(tmp_path / "set", {"dataset.json": index([["a/0.png", 1], ["a/1.png", 0]])})
    (tmp_path / "shards.tar").rename(tmp_path / "set" / "x.tar")
    assert labels_of(load_dataset(tmp_path / "set")) == {0: 1, 1: 0}


VECTORS = [["a/0.png", [0.1, -2.0, 3]], ["a/1.png", [0, 0, 1]], ["b/2.png", [7, 0.25, 0]]]


@pytest.mark.parametrize("dest", ["out", "out.zip", "shards"])
def test_vectors_go_along(make, tmp_path, dest):
    source = make(tmp_path / "in", images("a/0.png", "a/1.png", "b/2.png") | {"dataset.json": index(VECTORS)})
    data = load_dataset(source)
    assert data.labels is not None and data.labels.dtype == torch.float32
    assert data.labels.equal(torch.tensor([vector for _, vector in VECTORS])) and data.class_names == ()
    assert (data.num_classes, data.label_dim) == (0, 3)
    assert "labels: 3 of 3 images from dataset.json, vectors of 3 numbers" in notes(source)
    shards = 2 if dest == "shards" else None
    convert(source, tmp_path / dest, Conversion(resolution=(4, 4), shard_size=shards))
    again = load_dataset(tmp_path / dest)
    assert again.labels is not None and again.labels.equal(data.labels)
    convert(source, tmp_path / "one", Conversion(max_images=1))  # [0, 0, 1] alone would be a class
    convert(tmp_path / "one", tmp_path / "same", Conversion())
    assert load_dataset(tmp_path / "same").labels.tolist() == [pytest.approx([0.1, -2, 3])]  # type: ignore[union-attr]
    if shards:
        (tmp_path / dest / "dataset.json").unlink()
        assert load_dataset(tmp_path / dest).labels.equal(data.labels)  # type: ignore[union-attr]


def test_vectors_that_look_like_classes_stay_vectors_when_written(tmp_path):
    labels = [["0.png", [0, 1]], ["1.png", [1, 0]], ["2.png", [1, 1]]]
    source = in_folder(tmp_path / "in", images("0.png", "1.png", "2.png") | {"dataset.json": index(labels)})
    convert(source, tmp_path / "two", Conversion(max_images=2))
    assert load_dataset(tmp_path / "two").labels.tolist() == [[0, 1], [1, 0]]  # type: ignore[union-attr]


def test_names_as_labels_go_along(make, tmp_path):
    labels = [["0.png", "dog"], ["1.png", "cat"]]
    source = make(tmp_path / "in", images("0.png", "1.png") | {"dataset.json": index(labels)})
    convert(source, tmp_path / "out.zip", Conversion(class_folders=True, resolution=(4, 4)))
    data = load_dataset(tmp_path / "out.zip")
    assert labels_of(data) == {0: 1, 1: 0} and data.class_names == ("cat", "dog")
    with open_store(tmp_path / "out.zip") as store:
        assert store.names == ("cat/1.webp", "dog/0.webp")


def test_the_report_of_a_set_tells_of_its_labels(tmp_path, capsys):
    labels = index([*VECTORS, ["gone.png", [1, 2, 3]]])
    source = in_folder(tmp_path / "in", images("a/0.png", "a/1.png", "b/2.png") | {"dataset.json": labels})
    assert main(["dataset", "--source", str(source)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"note: {source}: labels: 3 of 3 images from dataset.json, vectors of 3 numbers" in said
    assert "1 label is of an image that is not there: gone.png" in said
    assert "label vectors: from [0, -2, 0] to [7, 0.25, 3]" in said
