"""dataset.json as anyone may have written it: an index and a data set, or an error that names the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgan.data import load_dataset
from fastgan.data.index import DatasetIndex
from fastgan.report import save_image
from tests.fuzz.documents import texts
from tests.fuzz.limits import bounded

INDEX = {
    "labels": [["a.png", 0], ["b.png", 1], ["sub/c.png", 1]],
    "classes": ["smileys", "food"],
    "subgroups": {"a.png": "face", "b.png": "fruit"},
    "selections": {"smileys/faces": ["a.png"]},
}
indexes = st.one_of(texts(INDEX), texts({"labels": {"a.png": 0, "b.png": 1, "sub/c.png": 2}}), texts({"labels": None}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data")
    (path / "sub").mkdir()
    for name in ("a.png", "b.png", "sub/c.png"):
        save_image(torch.rand(3, 8, 8) * 2 - 1, path / name)
    return path


@settings.get_profile("fuzz")
@given(text=indexes)
def test_index(text: str) -> None:
    with bounded():
        try:
            index = DatasetIndex.from_json(text, "dataset.json")
        except ValueError as error:
            assert str(error).startswith("dataset.json: ") and len(str(error)) < 1500
            return
        assert DatasetIndex.from_json(index.to_json(), "dataset.json") == index
        renamed = index.renamed({"a.png": "z.png"})
        assert renamed.class_of("z.png") == index.class_of("a.png")


@settings.get_profile("fuzz")
@given(
    text=indexes, classes=st.none() | st.lists(st.sampled_from(["smileys", "food", "*", "smileys/f*", "0"]), max_size=2)
)
def test_folder(folder: Path, text: str, classes: list[str] | None) -> None:
    (folder / "dataset.json").write_text(text, errors="surrogatepass")
    with bounded():
        try:
            dataset = load_dataset(folder, classes=classes)
        except ValueError as error:
            assert str(error).startswith((str(folder), "classes")), error
            return
        assert 1 <= len(dataset) <= 3 and (dataset.labels is None) == (dataset.num_classes == 0)
        assert json.dumps(dataset.class_names)
