"""Zips and tars as people and programs make them: every image once, under its own class, or an error in words."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from fastgan.data import load_dataset
from fastgan.data.listing import clean_name
from fastgan.data.opening import open_store
from tests.data.making import flat, in_folder, in_memory, in_tar, in_zip

MAKERS = {".zip": in_zip, ".tar": in_tar}
archives = pytest.mark.parametrize("ending", MAKERS)


def values(path: Path, **options: object) -> list[int]:
    """The value of each image of a set of flat images, in the order of their names."""
    return load_dataset(path, **options).images[:, 0, 0, 0].tolist()  # type: ignore[arg-type]


def test_a_zip_made_on_windows_keeps_its_classes(tmp_path):
    path = in_zip(tmp_path / "a.zip", {"b\\": b"", "b\\x\\0.png": flat(1), "a\\1.png": flat(2), "a\\2.png": flat(3)})
    data = in_memory(path)
    assert data.images[:, 0, 0, 0].tolist() == [2, 3, 1]
    assert data.class_names == ("a", "b") and data.labels.tolist() == [0, 0, 1]


def test_a_zip_of_windows_unpacked_to_flat_names_keeps_its_classes(tmp_path):
    in_folder(tmp_path, {"b\\0.png": flat(1), "a\\1.png": flat(2)})
    data = in_memory(tmp_path)
    assert data.images[:, 0, 0, 0].tolist() == [2, 1] and data.class_names == ("a", "b")


@archives
def test_names_that_begin_with_a_dot_and_a_slash_are_read(tmp_path, ending):
    path = MAKERS[ending](tmp_path / f"a{ending}", {"./b/0.png": flat(1), "a//1.png": flat(2), "a/./2.png": flat(3)})
    assert values(path) == [2, 3, 1]
    assert clean_name(".hidden/./a.png") == ".hidden/a.png" and clean_name("a..b/c.png") == "a..b/c.png"


@archives
@pytest.mark.parametrize("name", ["/a.png", "../a.png", "a/../../b.png", "C:\\a.png", "..\\a.png"])
def test_paths_that_lead_out_of_the_archive_are_refused(tmp_path, ending, name):
    path = MAKERS[ending](tmp_path / f"a{ending}", {"b.png": flat(1), name: flat(2)})
    with pytest.raises(ValueError, match=rf"a\{ending}: holds '.*', a path that leads out of the set; build it again"):
        load_dataset(path)


@archives
def test_a_name_twice_with_other_content_is_an_error_that_names_it(tmp_path, ending):
    files = [("a/0.png", flat(1)), ("a/1.png", flat(2)), ("a/0.png", flat(3))]
    path = MAKERS[ending](tmp_path / f"a{ending}", files)
    with pytest.raises(ValueError, match=rf"a\{ending}: holds 'a/0\.png' several times, with different content; build"):
        load_dataset(path)


@archives
def test_a_name_twice_with_the_same_content_is_read_once(tmp_path, ending):
    files = [("a/0.png", flat(1)), ("a/1.png", flat(2)), ("a\\0.png", flat(1))]
    assert values(MAKERS[ending](tmp_path / f"a{ending}", files)) == [1, 2]


def test_an_encrypted_zip_says_so(tmp_path):
    path = in_zip(tmp_path / "a.zip", {"a.png": flat(1)})
    raw = bytearray(path.read_bytes())
    raw[6] |= 1
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"a\.zip: is encrypted; unpack it with its password and give the folder"):
        load_dataset(path)


def test_an_entry_that_unpacks_to_more_than_it_claims_is_not_unpacked(tmp_path):
    path = in_zip(tmp_path / "a.zip", {"a.png": bytes(1 << 28)}, zipfile.ZIP_DEFLATED)
    raw = bytearray(path.read_bytes())
    place = raw.index(b"PK\x01\x02") + 24
    raw[place : place + 4] = (100).to_bytes(4, "little")
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"a\.zip/a\.png: cannot be read \(Bad CRC-32"):
        load_dataset(path)


def test_links_inside_a_tar_stand_for_their_files(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, data, kind, target in (
            ("cat/0.png", flat(1), tarfile.REGTYPE, ""),
            ("cat/1.png", b"", tarfile.LNKTYPE, "cat/0.png"),
            ("dog/2.png", b"", tarfile.SYMTYPE, "../cat/0.png"),
            ("dog/3.png", b"", tarfile.SYMTYPE, "/etc/3.png"),
        ):
            member = tarfile.TarInfo(name)
            member.size, member.type, member.linkname = len(data), kind, target
            archive.addfile(member, io.BytesIO(data))
    assert values(tmp_path / "a.tar", skip_broken=True) == [1, 1, 1]
    with pytest.raises(ValueError, match=r"1 of 4 images cannot be used.*a\.tar/dog/3\.png: .*it is empty"):
        load_dataset(tmp_path / "a.tar")


def test_a_tar_whose_header_claims_a_huge_size_is_named(tmp_path):
    path = in_tar(tmp_path / "a.tar", {"a.png": flat(1)})
    data = bytearray(path.read_bytes())
    data[124:136] = b"\x80" + (1 << 80).to_bytes(11, "big")  # the size, as GNU tar writes large ones
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.tar: cannot be read as a \.tar"):
        load_dataset(path)


def test_masks_beside_images_of_a_shard_are_passed_over(tmp_path):
    files = {}
    for i in range(3):
        files |= {f"{i}.jpg": flat(100 * i, "JPEG"), f"{i}.seg.png": flat(7), f"{i}.cls": b"%d" % (i % 2)}
    files["9.seg.png"] = flat(7)  # of a sample whose image is lost
    path = in_tar(tmp_path / "a.tar", files)
    data = in_memory(path)
    assert data.images[:, 0, 0, 0].tolist() == [0, 100, 200] and data.labels.tolist() == [0, 1, 0]
    with open_store(path) as store:
        assert store.notes == (f"{path}: passed over images beside the image of their sample: 4 .seg.png",)


def test_a_shard_whose_names_hold_numbers_with_a_dot_keeps_its_labels(tmp_path):
    files = {}
    for i in range(4):
        files |= {f"d/22.{i}.png": flat(i), f"d/22.{i}.cls": b"%d" % (3 - i)}
    data = in_memory(in_tar(tmp_path / "a.tar", files))
    assert data.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3] and data.labels.tolist() == [3, 2, 1, 0]


def test_frames_of_one_sample_take_its_label(tmp_path):
    files = {"7.0.png": flat(0), "7.1.png": flat(1), "7.cls": b"5", "8.0.png": flat(2), "8.0.cls": b"1", "8.cls": b"0"}
    assert load_dataset(in_tar(tmp_path / "a.tar", files)).labels.tolist() == [5, 5, 1]


def test_two_images_of_one_sample_are_an_error(tmp_path):
    path = in_tar(tmp_path / "a.tar", {"0.jpg": flat(0, "JPEG"), "0.png": flat(7), "0.cls": b"1"})
    with pytest.raises(ValueError, match=r"a\.tar: '0\.jpg' and '0\.png' are of one sample, '0', and either could be"):
        load_dataset(path)
    pair = {f"{i}.{kind}.png": flat(i) for i in range(2) for kind in ("image", "mask")}
    with pytest.raises(ValueError, match=r"'0\.image\.png' and '0\.mask\.png' are of one sample, '0'"):
        load_dataset(in_tar(tmp_path / "b.tar", pair))


def test_a_tar_of_photographs_with_dots_in_their_names_is_read_whole(tmp_path):
    names = ["www.site_a.png", "www.site_b.png", "2020.01.02 sea.png", "dog.copy.png", "x.v1.png", "x.v2.png"]
    files = {name: flat(i) for i, name in enumerate(names)} | {"x.v1.cls": b"0", "x.v2.cls": b"0"}
    data = load_dataset(in_tar(tmp_path / "a.tar", files), classes=["0"])
    assert len(data) == 2
    with open_store(tmp_path / "a.tar") as store:
        assert store.names == tuple(sorted(names))
