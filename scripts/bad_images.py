"""What `fastgan` says of broken images and data sets: makes a set of each kind, and asks it.

python scripts/bad_images.py             # a markdown table
"""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from fastgan.cli.main import main as fastgan_main

NOISE = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)


def encoded(kind: str, pixels: np.ndarray = NOISE) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def bomb() -> bytes:
    """A PNG that claims 60,000 x 60,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    idat = b"IDAT" + b"\0" * 4
    chunks = b"".join(struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, idat))
    return b"\x89PNG\r\n\x1a\n" + chunks


def idx(pixels: np.ndarray) -> bytes:
    return b"\0\0\x08" + bytes([pixels.ndim]) + struct.pack(f">{pixels.ndim}I", *pixels.shape) + pixels.tobytes()


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def zipped(files: dict[str, bytes] | list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items() if isinstance(files, dict) else files:
            archive.NameToInfo.pop(name, None)  # it warns of names that come again
            archive.writestr(name, data)
    return buffer.getvalue()


def encrypted() -> bytes:
    """A zip that says of its entry that it is encrypted."""
    raw = bytearray(zipped({"a.png": encoded("PNG")}))
    raw[6] |= 1
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    return bytes(raw)


def damaged_entry() -> bytes:
    """A zip whose second image does not match its checksum."""
    raw = bytearray(zipped({"a.png": encoded("PNG"), "b.png": encoded("PNG")}))
    raw[raw.rindex(b"IEND") - 20] ^= 255
    place = raw.index(b"b.png") + 60
    raw[place] ^= 255
    return bytes(raw)


def image(name: str, data: bytes) -> Callable[[Path], Path]:
    """A folder with one good image, and this one."""

    def make(root: Path) -> Path:
        (root / "set").mkdir()
        (root / "set" / "good.png").write_bytes(encoded("PNG"))
        (root / "set" / name).write_bytes(data)
        return root / "set"

    return make


def file(name: str, data: bytes) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        (root / name).write_bytes(data)
        return root / name

    return make


def index(text: str) -> Callable[[Path], Path]:
    return image("dataset.json", text.encode())


def link(root: Path) -> Path:
    path = image("other.png", encoded("PNG"))(root)
    (path / "gone.png").symlink_to("nowhere.png")
    return path


def pipe(root: Path) -> Path:
    path = image("other.png", encoded("PNG"))(root)
    os.mkfifo(path / "pipe.png")
    return path


GREY, PNG = NOISE.transpose(2, 0, 1), encoded("PNG")
CASES: dict[str, Callable[[Path], Path | str]] = {
    "PNG cut off": image("bad.png", encoded("PNG")[:300]),
    "JPEG cut off": image("bad.jpg", encoded("JPEG")[:300]),
    "WebP cut off": image("bad.webp", encoded("WEBP")[:60]),
    "empty file": image("bad.png", b""),
    "a text named .png": image("bad.png", b"hello"),
    "bomb: a PNG of 3.6 gigapixels": image("bad.png", bomb()),
    "TIFF of floating-point numbers above 1": image("bad.tif", encoded("TIFF", np.full((16, 16), 100, np.float32))),
    "TIFF of 32-bit integers": image("bad.tif", encoded("TIFF", np.full((16, 16), 100, np.int32))),
    "HEIC without its decoder": image("bad.heic", b"\0\0\0\x18ftypheic" + bytes(50)),
    "image of another size": image("bad.png", encoded("PNG", NOISE[:9, :9])),
    "link to nowhere": link,
    "named pipe": pipe,
    "folder without images": lambda root: root,
    "folder of tables": lambda root: file("a.parquet", b"PAR1")(root).parent,
    "folder of zips": lambda root: file("a.zip", zipped({"a.png": encoded("PNG")}))(root).parent,
    "folder of a run": lambda root: [file(name, b"{}")(root) for name in ("config.json", "stats.jsonl")][0].parent,
    "path that is not there": lambda root: root / "nowhere",
    "link that leads nowhere": lambda root: (Path("set").symlink_to("nowhere"), root / "set")[1],
    "URL": lambda root: "https://example.org/set.zip",
    "pattern": lambda root: "shards/{000..010}.tar",
    "single image": file("a.png", encoded("PNG")),
    "compressed .tar": file("set.tar.gz", gzip.compress(tar({"a.png": encoded("PNG")}))),
    "7z archive": file("set.7z", b"7z\xbc\xaf\x27\x1c" + bytes(50)),
    "Parquet table": file("set.parquet", b"PAR1" + bytes(50)),
    "NumPy array": file("set.npy", b"\x93NUMPY\1\0" + bytes(50)),
    "film": file("set.mp4", b"\0\0\0\x18ftypisom" + bytes(50)),
    "web page": file("set.zip", b"<!DOCTYPE html><html>"),
    "text": file("set.csv", b"a.png,0\n"),
    "file of no bytes": file("set.zip", b""),
    "file of an unknown kind": file("set.dat", b"hello"),
    "zip with a name twice": file("set.zip", zipped([("a.png", encoded("PNG")), ("a.png", encoded("JPEG"))])),
    "encrypted zip": file("set.zip", encrypted()),
    "zip that is none": file("set.zip", b"hello"),
    "zip cut off": file("set.zip", zipped({"a.png": encoded("PNG")})[:-30]),
    "zip with a damaged entry": file("set.zip", damaged_entry()),
    "zip without images": file("set.zip", zipped({"a.txt": b"hello"})),
    "zip with a path out of it": file("set.zip", zipped({"/etc/a.png": encoded("PNG")})),
    "dataset.json that is no JSON": index("{"),
    "dataset.json that is a list": index("[]"),
    "dataset.json with a negative class": index('{"labels": [["good.png", -1]]}'),
    "dataset.json with too few class names": index('{"labels": [["good.png", 2]], "classes": ["cat"]}'),
    "dataset.json with a class that is not named": index('{"labels": [["good.png", "dog"]], "classes": ["cat"]}'),
    "dataset.json with labels of several kinds": lambda root: (
        index('{"labels": [["good.png", 1], ["bad.png", [0.5, 2]]]}')(root),
        (root / "set" / "bad.png").write_bytes(PNG),
    )[0],
    "dataset.json with a label that is no number": index('{"labels": [["good.png", [0.5, NaN]]]}'),
    "dataset.json with two labels for an image": index('{"labels": [["good.png", 1], ["./good.png", 0]]}'),
    "dataset.json for other images": index('{"labels": [["0.png", 1], ["1.png", 0]]}'),
    "dataset.json that fits in two ways": file(
        "set.zip", zipped({"k/0.png": PNG, "0.png": PNG, "dataset.json": b'{"labels": [["my/k/0.png", 0]]}'})
    ),
    "several dataset.json": file(
        "set.zip", zipped({"a/0.png": PNG, "a/dataset.json": b"{}", "b/1.png": PNG, "b/dataset.json": b"{}"})
    ),
    "idx file cut off": file("x-images-idx3-ubyte", idx(GREY)[:-1]),
    "idx file of labels": file("x-images-idx3-ubyte", idx(np.zeros(9, np.uint8))),
    "idx with too few labels": lambda root: (
        file("x-labels-idx1-ubyte", idx(np.zeros(2, np.uint8)))(root),
        file("x-images-idx3-ubyte", idx(GREY))(root),
    )[1],
    "idx.gz cut off": file("x-images-idx3-ubyte.gz", gzip.compress(idx(GREY))[:200]),
    "CIFAR file cut off": file("data_batch_1.bin", bytes(3000)),
    "CIFAR as pickles": lambda root: file("data_batch_1", b"\x80\x04")(root).parent,
    "shard cut off": file("set.tar", tar({"a.png": encoded("PNG")})[:700]),
    "shard compressed": file("set.tar", gzip.compress(tar({"a.png": encoded("PNG")}))),
    "shard with two images in a sample": file("set.tar", tar({"a.png": encoded("PNG"), "a.jpg": encoded("JPEG")})),
    "shard with a negative class": file("set.tar", tar({"a.png": encoded("PNG"), "a.cls": b"-1"})),
}  # fmt: skip


def image_cases() -> dict[str, str]:
    """What is broken -> what `fastgan train` prints, with the folder of the case left out."""
    messages, before = {}, Path.cwd()
    for name, make in CASES.items():
        with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
            os.chdir(folder)
            stack.callback(os.chdir, before)
            source = make(Path())
            errors, out = io.StringIO(), io.StringIO()
            arguments = ["train", "--data", str(source), "--outdir", "run", "-n", "--cbase", "32", "--cmax", "4"]
            with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(out):
                status = fastgan_main(arguments)
            messages[name] = errors.getvalue().strip() if status == 2 else f"(goes on; exit status {status})"
    return messages


def main() -> None:
    print("| what is broken | what `fastgan` prints |\n|---|---|")
    for name, message in image_cases().items():
        print(f"| {name} | `{message}` |")


if __name__ == "__main__":
    main()
