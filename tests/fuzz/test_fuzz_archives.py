"""Zips and tars as anyone may have made or damaged them: images, each once, or an error that names the file."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgan.data.opening import open_store
from tests.data.making import flat
from tests.fuzz.limits import bounded

PARTS = st.sampled_from(
    [
        "a",
        "b",
        "cat",
        "..",
        ".",
        "",
        "7",
        "0",
        "C:",
        "é",
        "\udce9",
        "\0",
        "\n",
        "x y",
        "__MACOSX",
        ".hid",
        "dataset",
        "seg",
    ]
)
ENDINGS = st.sampled_from(["", ".png", ".PNG", ".jpg", ".seg.png", ".cls", ".json", ".txt", ".0.png", ".tif", ".xyz"])
NAMES = st.builds(
    lambda parts, separator, ending: separator.join(parts) + ending,
    st.lists(PARTS, min_size=1, max_size=4),
    st.sampled_from(["/", "\\", "//"]),
    ENDINGS,
)
CONTENTS = st.sampled_from(
    [
        flat(100),
        flat(200, "JPEG"),
        flat(3, "WEBP"),
        b"",
        b"1",
        b"cat",
        b'{"label": 1}',
        b"[[",
        bytes(5000),
        b"GIF89a",
        b"\xff\xfe1",
    ]
)
FILES = st.lists(st.tuples(NAMES, CONTENTS), min_size=1, max_size=6)
# (where in the file, as a share of it, how many bytes go, what comes for them)
DAMAGE = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from([0, 1, 1, 2, 4, 8, 100]), st.binary(max_size=8)), max_size=4
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archives")


def damaged(data: bytes, damage: list[tuple[float, int, bytes]], cut: float) -> bytes:
    for place, gone, come in damage:
        start = int(place * len(data))
        data = data[:start] + come + data[start + gone :]
    return data[: int(cut * len(data))]


def read_all(path: Path) -> None:
    with bounded():
        try:
            store = open_store(path)
        except ValueError as error:
            assert str(path) in str(error) and len(str(error)) < 2000, error
            return
        with store:
            assert len(set(store.names)) == len(store.names) > 0
            assert all(not name.startswith("/") and ".." not in name.split("/") for name in store.names)
            for name in store.names:
                try:
                    image = store.decode(name)
                except ValueError as error:
                    assert str(path) in str(error), error
                else:
                    assert image.mode == "RGB" and min(image.size) > 0
            assert all(note.startswith(f"{path}: ") for note in store.notes)


@settings.get_profile("fuzz")
@given(
    files=FILES,
    compression=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]),
    flags=st.sampled_from([0, 0, 0, 1, 0x20, 0x40, 0x800]),
    damage=DAMAGE,
    cut=st.sampled_from([1.0, 1.0, 1.0, 0.9, 0.5]),
)
def test_zip(folder, files, compression, flags, damage, cut) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in files:
            entry = zipfile.ZipInfo("x")
            entry.filename, entry.compress_type = name.replace("\udce9", "é"), compression
            archive.NameToInfo.pop(entry.filename, None)
            archive.writestr(entry, data)
    data = bytearray(buffer.getvalue())
    start = data.find(b"PK\x01\x02")
    data[start + 8] |= flags & 255
    path = folder / "a.zip"
    path.write_bytes(damaged(bytes(data), damage, cut))
    read_all(path)


KINDS = st.sampled_from(
    [tarfile.REGTYPE] * 6 + [tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, tarfile.CONTTYPE]
)
FORMATS = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


@settings.get_profile("fuzz")
@given(
    files=st.lists(st.tuples(NAMES, CONTENTS, KINDS, NAMES), min_size=1, max_size=6),
    form=FORMATS,
    damage=DAMAGE,
    cut=st.sampled_from([1.0, 1.0, 1.0, 0.9, 0.5]),
)
def test_tar(folder, files, form, damage, cut) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, data, kind, target in files:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            member.size = len(data) if kind in (tarfile.REGTYPE, tarfile.CONTTYPE) else 0
            archive.addfile(member, io.BytesIO(data))
    path = folder / "a.tar"
    path.write_bytes(damaged(buffer.getvalue(), damage, cut))
    read_all(path)


FIELDS = st.sampled_from([(100, 8), (124, 12), (136, 12), (148, 8), (156, 1), (257, 8), (345, 155), (0, 100)])


@settings.get_profile("fuzz")
@given(changes=st.lists(st.tuples(st.integers(0, 7), FIELDS, st.binary(max_size=12)), min_size=1, max_size=3))
def test_tar_headers(folder, changes) -> None:
    """Headers whose checksums are right, whatever they hold."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("a/0.png", "a/é.png", f"{'long' * 40}/1.png"):
            member = tarfile.TarInfo(name)
            member.size = len(flat(100))
            archive.addfile(member, io.BytesIO(flat(100)))
    data = bytearray(buffer.getvalue())
    for block, (place, size), value in changes:
        start = block * 512
        if start + 512 > len(data):
            continue
        data[start + place : start + place + size] = value[:size].ljust(size, b"\0")
        data[start + 148 : start + 156] = b" " * 8
        data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + 512])
    path = folder / "b.tar"
    path.write_bytes(data)
    read_all(path)
