"""Shards as the webdataset library writes and reads them."""

from __future__ import annotations

import gzip
import io
import os
import resource
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastgan.data import load_dataset
from fastgan.data.conversion import Conversion, convert
from fastgan.data.opening import open_store
from tests.data.making import in_memory

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (5, 6, 8, 3), np.uint8)


def png(i: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS[i]).save(buffer, "PNG")
    return buffer.getvalue()


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_labels_come_from_cls_or_json(tmp_path):
    write_tar(tmp_path / "a.tar", {"x.png": png(0), "x.cls": b"2", "y.left.png": png(1), "y.json": b'{"label": 0}'})
    write_tar(tmp_path / "b.tar", {"./d/x.png": png(2), "./d/x.cls": b"1\n"})
    data = in_memory(tmp_path)
    np.testing.assert_array_equal(data.images.numpy(), PIXELS[:3])
    assert data.labels.tolist() == [2, 0, 1] and data.class_names == ("0", "1", "2")
    single = in_memory(tmp_path / "b.tar")
    np.testing.assert_array_equal(single.images.numpy(), PIXELS[2:3])


def test_index_comes_before_labels_of_shards(tmp_path):
    index = b'{"labels": [["x.png", 0]], "classes": ["cat"]}'
    path = write_tar(tmp_path / "a.tar", {"dataset.json": index, "x.png": png(0), "x.cls": b"7"})
    data = load_dataset(path)
    assert data.labels.tolist() == [0] and data.class_names == ("cat",)


def test_what_webdataset_writes_is_read(tmp_path):
    webdataset = import_webdataset()
    with webdataset.ShardWriter(str(tmp_path / "s-%03d.tar"), maxcount=2, verbose=0) as sink:
        for i in range(5):
            sink.write({"__key__": f"k{i}", "png": PIXELS[i], "cls": i % 3})
    data = in_memory(tmp_path)
    np.testing.assert_array_equal(data.images.numpy(), PIXELS)
    assert data.labels.tolist() == [0, 1, 2, 0, 1]


def test_what_is_written_webdataset_reads(tmp_path):
    webdataset = import_webdataset()
    folder = tmp_path / "in"
    for i, group in enumerate(("cat", "cat", "dog", "dog", "eel")):
        (folder / group).mkdir(parents=True, exist_ok=True)
        (folder / group / f"{i}.v1.png").write_bytes(png(i))
    convert(folder, tmp_path / "out", Conversion(shard_size=2))
    shards = sorted(str(path) for path in (tmp_path / "out").glob("*.tar"))
    assert len(shards) == 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8").to_tuple("png", "cls"))
    np.testing.assert_array_equal(np.stack([image for image, _ in samples]), PIXELS)
    assert [label for _, label in samples] == [0, 0, 1, 1, 2]
    again = in_memory(tmp_path / "out")
    np.testing.assert_array_equal(again.images.numpy(), PIXELS)
    assert again.class_names == ("cat", "dog", "eel") and again.labels.tolist() == [0, 0, 1, 1, 2]


def import_webdataset():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("webdataset")


def test_broken_shards_are_named(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"x.png": png(0), "y.png": png(1)})
    whole = path.read_bytes()
    path.write_bytes(whole[:700])
    with pytest.raises(ValueError, match=r"a\.tar: cannot be read as a \.tar .*whole and not compressed"):
        load_dataset(path)
    path.write_bytes(gzip.compress(whole))
    with pytest.raises(ValueError, match=r"a\.tar: is a compressed \.tar; unpack it"):
        load_dataset(path)
    write_tar(path, {"x.png": png(0), "x.cls": b"-1"})
    with pytest.raises(ValueError, match=r'a\.tar: a label must be a class number .*, got \["x\.png", -1\]'):
        load_dataset(path)
    write_tar(path, {"x.png": png(0), "x.cls": b"20000000"})
    with pytest.raises(ValueError, match=r"a\.tar: a label must be a class number from 0 to 1048575"):
        load_dataset(path)
    write_tar(path, {"x.png": png(0), "x.cls": b"[" * 100_000})
    with pytest.raises(ValueError, match=r'a\.tar: a label must be a class number .*, got \["x\.png", "\[\[\['):
        load_dataset(path)
    write_tar(path, {"x.png": png(0), "x.cls": b"0", "y.png": png(1)})
    with pytest.raises(ValueError, match=r"a\.tar: 1 of 2 images have no label: y\.png; every image must have one"):
        load_dataset(path, labelled=True)
    write_tar(path, {"/x.png": png(0)})
    with pytest.raises(ValueError, match=r"a\.tar: holds '/x.png', a path that leads out of the set"):
        load_dataset(path)


def test_shard_cut_while_open_is_a_broken_image(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"x.png": png(0)})
    with (
        open_store(path) as store,
        pytest.raises(ValueError, match=r"a\.tar/x\.png: cannot be read \(the shard holds 88"),
    ):
        path.write_bytes(path.read_bytes()[:600])
        store.read("x.png")


def test_folder_of_images_and_shards_is_refused(tmp_path):
    write_tar(tmp_path / "a.tar", {"x.png": png(0)})
    (tmp_path / "x.png").write_bytes(png(0))
    with pytest.raises(ValueError, match=r"holds both images and \.tar files"):
        load_dataset(tmp_path)


def test_other_files_of_a_shard_do_not_matter(tmp_path):
    write_tar(
        tmp_path / "a.tar", {"x.png": png(0), "x.cls": b"1", "notes.json": b"[" * 100_000, "ann.json": b"1" * (2 << 20)}
    )
    write_tar(tmp_path / "b.tar", {"dataset.json": b"{", "y.png": png(1), "y.cls": b"0"})
    (tmp_path / "LICENSE").write_text("mine")
    data = load_dataset(tmp_path)
    assert data.labels.tolist() == [1, 0]
    convert(tmp_path, tmp_path.parent / "out", Conversion())
    assert (tmp_path.parent / "out" / "LICENSE").read_text() == "mine"


def test_more_shards_than_a_process_may_open(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    for i in range(60):
        write_tar(tmp_path / f"{i:02d}.tar", {"x.png": png(i % 5)})
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 30, limits[1]))
    try:
        assert len(load_dataset(tmp_path)) == 60
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
