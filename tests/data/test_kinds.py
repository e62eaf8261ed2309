"""What is given for a set of images and is none: each says what it is and what to do."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from fastgan.data import load_dataset
from fastgan.data.opening import open_store
from tests.data.making import flat, in_folder, in_memory, in_tar, in_zip

HEIC = b"\0\0\0\x18ftypheic" + bytes(50)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.bin.xz", lzma.compress(b"x"), "is compressed by xz; unpack it"),
        ("a.tbz", bz2.compress(b"x"), "is compressed by bzip2; unpack it"),
        ("a.csv.gz", gzip.compress(b"x", mtime=0), r"is compressed by gzip; unpack it \(gunzip\)"),
        ("a.tar.zst", b"\x28\xb5\x2f\xfd" + bytes(20), "is compressed by zstd"),
        ("a.rar", b"Rar!\x1a\x07\x01\0", r"is a \.rar archive; unpack it \(unrar x\)"),
        ("a.zip", b"7z\xbc\xaf\x27\x1c" + bytes(20), r"a\.zip: is a \.7z archive; unpack it \(7z x\)"),
        ("a.tar", b"PAR1" + bytes(20), r"a\.tar: is a Parquet table; save its images"),
        ("a.h5", b"\x89HDF\r\n\x1a\n", "is an HDF5 file"),
        ("data.mdb", bytes(16) + b"\xde\xc0\xef\xbe", "is an LMDB data base"),
        ("a.pkl", b"\x80\x04\x95", "is a Python pickle, which could run any code"),
        ("a.safetensors", b"\x50\0\0\0\0\0\0\0{", "is a checkpoint .*--resume"),
        ("a.mp4", b"\0\0\0\x18ftypisom", "is a film; save its frames"),
        ("a.tfrecord", b"\x18\0\0\0\0\0\0\0abcd", "is a TFRecord file"),
        ("a.zip", b"<html>", r"a\.zip: is a web page; download the set itself"),
        ("a.zip", b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of git-lfs; fetch the file itself"),
        ("a.zip", b"", r"is empty \(0 bytes\); build or download it again"),
        ("a.zip", b"PK\x03\x04" + bytes(40), r"not a readable zip \(it is cut off: the list of its files"),
        ("model.bin", b"\x80\x02\x8a", "is a Python pickle"),
        ("a.png", flat(1), r"is a single image \(PNG\); give the folder that holds the images"),
        ("a.heic", HEIC, r"is a single image \(HEIC\)"),
        ("dataset.json", b"{}", "is a JSON text; give the folder"),
        ("files.txt", b"a.png\n", "is a text; give the folder or archive that holds the images"),
        ("what.ever", b"hello", "begins with b'hello'; give a folder, a zip or a .tar"),
    ],
)
def test_a_file_that_is_no_set_says_what_it_is(tmp_path, name, data, said):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=f"^{tmp_path}/{name}: .*{said.partition(': ')[2] or said}"):
        load_dataset(tmp_path / name)


def test_a_compressed_tar_says_how_to_unpack_it(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(in_tar(tmp_path / "a.tar", {"a.png": flat(1)}).read_bytes()))
    with pytest.raises(ValueError, match=r"a\.tar\.gz: is a compressed \.tar; unpack it \(tar xzf a\.tar\.gz\)"):
        load_dataset(tmp_path / "a.tar.gz")


def test_arrays_of_numpy_in_one_file_are_named(tmp_path):
    buffer = io.BytesIO()
    np.savez(buffer, images=np.zeros(3))
    (tmp_path / "a.npz").write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match=r"a\.npz: holds no images; passed over 1 file that is no image: 1 \.npy"):
        load_dataset(tmp_path / "a.npz")


def test_archives_are_known_by_content(tmp_path):
    in_zip(tmp_path / "a.dat", {"x.png": flat(1)})
    in_tar(tmp_path / "b", {"x.png": flat(2)})
    assert in_memory(tmp_path / "a.dat").images.unique().tolist() == [1]
    assert in_memory(tmp_path / "b").images.unique().tolist() == [2]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "holds no images and no other files; give the folder"),
        ({"data.zip": b""}, r"holds no images but an archive, data\.zip; give .*/data\.zip"),
        ({"a/x.zip": b"", "b/y.zip": b"", "r.txt": b""}, r"but 2 archives, a/x\.zip, b/y\.zip; give .*/a/x\.zip"),
        ({"train/0.tar": b""}, r"holds no images but an archive, train/0\.tar"),
        (
            {"data.mdb": bytes(16) + b"\xde\xc0\xef\xbe", "lock.mdb": b""},
            r"but 2 \.mdb; data\.mdb is an LMDB data base",
        ),
        ({"d/0.parquet": b"PAR1", "d/1.parquet": b"PAR1", "README.md": b""}, r"2 \.parquet; d/0\.parquet is a Parquet"),
        ({"a.unknown": b"x"}, r"holds no images but 1 \.unknown; give the folder that holds the images"),
    ],
)
def test_a_folder_without_images_says_what_it_holds(tmp_path, files, said):
    with pytest.raises(ValueError, match=f"^{tmp_path}: .*{said}"):
        load_dataset(in_folder(tmp_path, files))


def test_the_folder_of_a_run_is_no_set_of_images(tmp_path):
    in_folder(tmp_path, {"r/config.json": b"", "r/stats.jsonl": b"", "r/grid-000000.png": flat(1), "s/x.png": flat(2)})
    for path in (tmp_path, tmp_path / "r"):
        with pytest.raises(ValueError, match=rf"^{tmp_path}/r: is the folder of a run; --data takes images"):
            load_dataset(path)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("https://example.org/a.zip", "^https://example.org/a.zip: is a URL; download the set"),
        ("s3://bucket/set", "is a URL"),
        ("hf://datasets/mine", "is a URL"),
        ("~/set.zip", "~ stands for the home folder only where the shell sees it"),
        ("shards/{000..010}.tar", "patterns are not filled in"),
        ("photos/*.png", "patterns are not filled in"),
        ("", "the path of the data is empty"),
        ("nowhere", "nowhere: no such file or folder; .*emoji64"),
        (os.devnull, "is no regular file"),
    ],
)
def test_what_lies_nowhere_is_told(source, said):
    with pytest.raises(ValueError, match=said):
        load_dataset(source)


def test_a_link_to_nothing_is_told(tmp_path):
    (tmp_path / "set").symlink_to("nowhere")
    with pytest.raises(ValueError, match=r"/set: is a link to nowhere, which is not there; mend the link"):
        load_dataset(tmp_path / "set")


def test_no_permission_to_read_is_told():
    with tempfile.TemporaryDirectory() as folder, no_rights(Path(folder)):
        for name in ("a.zip", "set", "set/inside"):
            path = Path(folder) / name
            with pytest.raises(
                ValueError, match=rf"{name}: cannot be read \(Permission denied\); mend its permissions"
            ):
                open_store(path)


@contextmanager
def no_rights(folder: Path) -> Iterator[None]:
    """A file a.zip and a folder set/ in `folder`, and no right to read them, not even for root."""
    (folder / "a.zip").touch()
    (folder / "set").mkdir()
    folder.chmod(0o755)
    for name in ("a.zip", "set"):
        (folder / name).chmod(0)
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)
