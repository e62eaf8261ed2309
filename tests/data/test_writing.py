"""Writing sets: whole or not at all, the same bytes every time, nothing overwritten by accident."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from fastgan.data.index import DatasetIndex
from fastgan.data.writing import write_dataset

IMAGES = [("a/1.png", b"one"), ("b.png", b"two")]
INDEX = DatasetIndex(labels={"a/1.png": 0, "b.png": 1}, classes=("x", "y"))


def contents(path: Path) -> dict[str, bytes]:
    if path.is_dir():
        return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(params=["folder", "zip"])
def dest(request, tmp_path) -> Path:
    return tmp_path / "new" / ("set.zip" if request.param == "zip" else "set")


def test_everything_is_written(dest):
    assert write_dataset(dest, IMAGES, INDEX, notices=[("NOTICE.txt", b"mit")]) == 2
    assert contents(dest) == {"NOTICE.txt": b"mit", "dataset.json": INDEX.to_json().encode(), **dict(IMAGES)}
    assert [path.name for path in dest.parent.iterdir()] == [dest.name]


def test_zip_bytes_are_reproducible_and_stored(tmp_path, monkeypatch):
    paths = [tmp_path / "one.zip", tmp_path / "two.zip"]
    for path, now in zip(paths, (1e9, 1.5e9), strict=True):
        monkeypatch.setattr("time.time", lambda now=now: now)
        write_dataset(path, IMAGES, INDEX)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with zipfile.ZipFile(paths[0]) as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


def test_failure_leaves_nothing(dest):
    def failing():
        yield IMAGES[0]
        raise ValueError("broken image")

    with pytest.raises(ValueError, match="broken image"):
        write_dataset(dest, failing(), INDEX)
    assert list(dest.parent.iterdir()) == []
    with pytest.raises(ValueError, match="nothing to write"):
        write_dataset(dest, [], INDEX)
    assert list(dest.parent.iterdir()) == []


def test_existing_set_is_replaced_only_by_force_and_only_when_done(dest):
    write_dataset(dest, IMAGES, INDEX)
    with pytest.raises(ValueError, match="exists; choose another destination or pass --force"):
        write_dataset(dest, IMAGES[:1], INDEX)

    def failing():
        yield IMAGES[0]
        raise ValueError("broken image")

    with pytest.raises(ValueError, match="broken image"):
        write_dataset(dest, failing(), INDEX, force=True)
    assert len(contents(dest)) == 3
    write_dataset(dest, IMAGES[:1], INDEX, force=True)
    assert set(contents(dest)) == {"dataset.json", "a/1.png"}
    assert [path.name for path in dest.parent.iterdir()] == [dest.name]


def test_empty_folder_is_filled(dest):
    dest.mkdir(parents=True)
    write_dataset(dest, IMAGES, INDEX)
    assert set(contents(dest)) == {"dataset.json", "a/1.png", "b.png"}


def test_folder_that_is_no_set_is_never_replaced(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(ValueError, match="exists and is not a data set of ours"):
        write_dataset(tmp_path / "home", IMAGES, INDEX, force=True)
    assert (tmp_path / "home" / "letter.txt").read_text() == "dear"
