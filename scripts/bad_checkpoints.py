"""What `fastgan` says of damaged checkpoints, run folders and disks: breaks a small run in each way, and asks it.

python scripts/bad_checkpoints.py        # a markdown table
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import shutil
import struct
import subprocess
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file

import fastgan.data
from fastgan.checkpoint import FORMAT_VERSION, save_checkpoint
from fastgan.cli.main import main as fastgan_main
from fastgan.train.folder import checkpoints, one_writer

TRAINING = [
    "--data", "emoji64", "--classes", "smileys/faces", "--max-images", "8", "--resolution", "8", "--batch", "8",
    "--cbase", "32", "--cmax", "4", "--map-depth", "1", "--set", "z_dim=4", "w_dim=4", "--tick", "1", "--snap", "1",
    "--keep", "0", "--device", "cpu", "--threads", "1",
]  # fmt: skip
PACKAGED = Path(fastgan.data.__file__).parent / "assets" / "emoji64.zip"
NOBODY = 65534


def said(arguments: list[str]) -> str:
    """The one line that a command prints as its error."""
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        status = fastgan_main(arguments)
    return errors.getvalue().strip() if status == 2 else f"(goes on; exit status {status})"


def resume(path: Path, *more: str) -> str:
    return said(["train", "--resume", str(path), "--kimg", "0.05", "--threads", "1", *more])


def begin(outdir: Path, *more: str) -> str:
    return said(["train", "--outdir", str(outdir), *TRAINING, "--kimg", "0.05", *more])


def generate(network: Path) -> str:
    return said(["generate", "--network", str(network), "--seeds", "0", "--outdir", str(network.parent / "out")])


# Ways to break a file.


def cut(path: Path, size: int) -> None:
    os.truncate(path, size if size >= 0 else path.stat().st_size + size)


def flip(path: Path, place: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def append(path: Path, data: bytes) -> None:
    path.write_bytes(path.read_bytes() + data)


def header_of(path: Path) -> tuple[dict, int]:
    """The header, and where it ends."""
    raw = path.read_bytes()
    end = 8 + struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8:end]), end


def flip_in_generator(path: Path) -> None:
    header, end = header_of(path)
    flip(path, end + next(entry["data_offsets"][0] for key, entry in header.items() if key.startswith("G_ema/")))


def newer(path: Path) -> None:
    """Gives the file the next format version, with a checksum that is right."""
    header, end = header_of(path)
    header["__metadata__"] |= {"fastgan_checkpoint": str(FORMAT_VERSION + 1), "header_crc32": "0" * 8}
    text = json.dumps(header).encode()
    start = struct.pack("<Q", len(text)) + text
    check = b'"header_crc32": "%08x"' % zlib.crc32(start)
    path.write_bytes(start.replace(b'"header_crc32": "00000000"', check) + path.read_bytes()[end:])


# Conditions of folders and disks.


def without_permission(path: Path, mode: int, ask: Callable[[], str]) -> str:
    """As a user for whom permissions count, which they do not for root."""
    before, root = path.stat().st_mode, os.geteuid() == 0
    path.chmod(mode)
    if root:
        os.seteuid(NOBODY)
    try:
        if not os.access(PACKAGED, os.R_OK, effective_ids=True):
            return "(not tried: the package lies where nobody but root may read)"
        return ask()
    finally:
        if root:
            os.seteuid(0)
        path.chmod(before)


def with_files_at_most(size: int, ask: Callable[[], str]) -> str:
    """As on a disk that is full: no file may grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        return ask()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def on_a_small_disk(run: Path) -> str:
    """A new run on a file system that is full before the run's end."""
    disk = run / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode != 0:
        return "(not tried: this process may not mount a file system)"
    try:
        return begin(disk / "run", "--tick", "0.008")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def while_held(run: Path) -> str:
    with one_writer(run):
        return resume(run)


def while_vanishing(run: Path) -> str:
    def remove() -> None:
        lines = (run / "stats.jsonl").read_text().count("\n")
        while (run / "stats.jsonl").read_text().count("\n") == lines:
            time.sleep(0.01)
        run.rename(run.with_name("gone"))

    remover = threading.Thread(target=remove)
    remover.start()
    try:
        return said(["train", "--resume", str(run), "--kimg", "1000", "--snap", "1000", "--tick", "0.008"])
    finally:
        remover.join()


def damaged(damage: Callable[[Path], None], ask: Callable[[Path], str] = resume) -> Callable[[Path], str]:
    """A case: the newest checkpoint is damaged, and the run is to go on."""

    def case(run: Path) -> str:
        damage(checkpoints(run)[-1])
        return ask(run)

    return case


def all_damaged(run: Path) -> str:
    for path in checkpoints(run):
        flip(path, -1)
    return resume(run)


def beside(write: Callable[[Path], object], ask: Callable[[Path], str] = resume) -> Callable[[Path], str]:
    """A case: a file that `write` makes is given instead of a checkpoint."""

    def case(run: Path) -> str:
        path = run / "network.safetensors"
        write(path)
        return ask(path)

    return case


def damaged_line(run: Path) -> str:
    lines = (run / "stats.jsonl").read_text().splitlines()
    (run / "stats.jsonl").write_text("\n".join(["nonsense", *lines[1:]]) + "\n")
    return resume(run)


def half_line(run: Path) -> str:
    append(run / "stats.jsonl", b'{"kimg": 0.04, "lo')
    return resume(run)


def draw(folder: Path, count: int) -> Path:
    """Grey squares."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new("RGB", (8, 8), (20 * number + 40,) * 3).save(folder / f"{number:02d}.png")
    return folder


def on_own_images(change: Callable[[Path], object], *more: str) -> Callable[[Path], str]:
    """A case: `change` is done to the data between two parts of a run."""

    def case(run: Path) -> str:
        data, own = draw(run / "images", 8), run / "own"
        begin(own, "--data", str(data), "--classes", "--max-images", "100", "--kimg", "0.016")
        change(data)
        return resume(own, *(word.replace("RUN", str(run)) for word in more))

    return case


def branch(run: Path, *more: str, way: str = "--branch") -> str:
    return said(["train", way, str(run), "--outdir", str(run / "new"), "--kimg", "0.05", *more])


WEIGHTS = {"w": torch.zeros(2)}
CASES: dict[str, Callable[[Path], str]] = {
    "newest checkpoint empty": damaged(lambda path: cut(path, 0)),
    "newest checkpoint cut off in its header": damaged(lambda path: cut(path, 500)),
    "newest checkpoint cut off in its tensors": damaged(lambda path: cut(path, -1)),
    "one bit of a tensor flipped": damaged(lambda path: flip(path, -1)),
    "one bit of the header flipped": damaged(lambda path: flip(path, 300)),
    "bytes after the end": damaged(lambda path: append(path, b"x")),
    "all zeros": damaged(zero),
    "every checkpoint damaged": all_damaged,
    "written by a newer fastgan": damaged(newer),
    "not to be read (permissions)": lambda run: without_permission(checkpoints(run)[-1], 0o000, lambda: resume(run)),
    "a bit flipped, for generate": damaged(flip_in_generator, generate),
    "cut off, for generate": damaged(lambda path: cut(path, -1), generate),
    "a pickle of torch": beside(lambda path: torch.save(WEIGHTS, path)),
    "a text": beside(lambda path: path.write_text("no checkpoint, but long enough to be one")),
    "safetensors of another program": beside(lambda path: save_file(WEIGHTS, path)),
    "without a training state": beside(lambda path: save_checkpoint(path, {"G_ema": WEIGHTS}, metadata={})),
    "without a generator, for generate": beside(lambda path: save_checkpoint(path, {}, metadata={}), generate),
    "a path that is not there": lambda run: resume(run / "checkpoint-000099.safetensors"),
    "a folder without checkpoints": lambda run: resume(run.parent),
    "a folder without checkpoints, for generate": lambda run: generate(run.parent),
    "a new run in the folder of another": begin,
    "going on in the folder of another run": lambda run: resume(
        Path(shutil.copytree(run, run.with_name("other"))), "--outdir", str(run)
    ),
    "going on with other options": lambda run: resume(run, "--glr", "0.1"),
    "its data are gone": on_own_images(shutil.rmtree),
    "images added to its data": on_own_images(lambda data: draw(data, 11)),
    "an image replaced": on_own_images(lambda data: shutil.copy(data / "00.png", data / "01.png")),
    "other data at the place that is given": on_own_images(
        lambda data: draw(data.parent / "other", 5), "--data", "RUN/other"
    ),
    "branching with networks of other shapes": lambda run: branch(run, "--cmax", "8"),
    "branching with images of another size": lambda run: branch(run, "--resolution", "16"),
    "branching without anything left to train": lambda run: branch(run, "--kimg", "0.032"),
    "branching and going on": lambda run: branch(run, "--resume", "auto"),
    "transferring to networks of other shapes": lambda run: branch(run, "--cmax", "8", way="--resume-from"),
    "transferring to another family": lambda run: branch(run, "--cfg", "dcgan", way="--resume-from"),
    "another process writes to the folder": while_held,
    "a file where the folder should be": lambda run: begin(run / "config.json"),
    "a folder inside a file": lambda run: begin(run / "config.json" / "run"),
    "a folder that may not be made": lambda run: without_permission(run, 0o555, lambda: begin(run / "run")),
    "a folder that may not be written": lambda run: without_permission(run, 0o555, lambda: resume(run)),
    "the disk is full": on_a_small_disk,
    "a limit on the size of files": lambda run: with_files_at_most(30_000, lambda: resume(run)),
    "a limit on the size of files, a new run": lambda run: with_files_at_most(1, lambda: begin(run / "run")),
    "the folder vanishes while training": while_vanishing,
    "a damaged line in stats.jsonl": damaged_line,
    "half a line at the end of stats.jsonl": half_line,
}


def checkpoint_cases() -> list[tuple[str, str]]:
    """(what is broken, what fastgan prints) for each case; folders are named from "runs" on."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name).resolve()
        root.chmod(0o755)
        begin(root / "whole", "--kimg", "0.032", "--tick", "0.008")
        for kind, case in CASES.items():
            (root / "runs").mkdir()
            run = Path(shutil.copytree(root / "whole", root / "runs" / "mine"))
            found.append((kind, case(run).replace(f"{root}/", "")))
            shutil.rmtree(root / "runs")
    return found


if __name__ == "__main__":
    print("| what is broken | what `fastgan` prints |\n|---|---|")
    for kind, line in checkpoint_cases():
        print(f"| {kind} | `{line.replace('|', chr(92) + '|')}` |")
