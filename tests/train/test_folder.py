"""The folder of a run: names, the newest whole checkpoint, one writer."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fastgan.checkpoint import (
    CheckpointError,
    checkpoints,
    images_of,
    latest_checkpoint,
    numbered,
    save_checkpoint,
)
from fastgan.train.folder import (
    one_writer,
    put_newer_aside,
    read_whole,
    resume_command,
)


def save(outdir: Path, images: int) -> Path:
    path = outdir / f"checkpoint-{numbered(images)}.safetensors"
    save_checkpoint(path, {"w": torch.full((4,), float(images))}, metadata={})
    return path


def damage(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-2] ^= 4
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("images", "text"), [(0, "000000"), (8, "000000.008"), (40000, "000040"), (42420, "000042.420"), (10**9, "1000000")]
)
def test_numbers_are_thousands_and_can_be_read_back(images: int, text: str) -> None:
    assert numbered(images) == text
    assert images_of(Path(f"checkpoint-{text}.safetensors")) == images


def test_checkpoints_come_in_the_order_of_their_images(tmp_path: Path) -> None:
    order = [0, 8, 42000, 42420, 43000, 999999, 1000000, 10**9]
    paths = {images: save(tmp_path, images) for images in reversed(order)}
    for foreign in ("checkpoint-000050.safetensors.aside", ".checkpoint-000060.safetensors.partial",
                    "checkpoint-last.safetensors", "network.safetensors"):  # fmt: skip
        (tmp_path / foreign).touch()
    assert checkpoints(tmp_path) == [paths[images] for images in order]
    assert latest_checkpoint(tmp_path) == paths[10**9]
    assert latest_checkpoint(tmp_path / "nowhere") is None


def test_a_damaged_checkpoint_is_named_with_the_newest_whole_one(tmp_path: Path) -> None:
    outdir = tmp_path / "a run"
    outdir.mkdir()
    paths = [save(outdir, images) for images in (1000, 1500, 2000, 3000)]
    read_whole(paths[3])
    damage(paths[3])
    damage(paths[2])
    with pytest.raises(CheckpointError) as caught:
        read_whole(paths[3])
    assert str(caught.value) == (
        f"checkpoint {paths[3]} is damaged: the checksum of 'w' does not match; the newest whole checkpoint before it "
        f"is {paths[1]}; to go on from there: fastgan train --resume '{paths[1]}'"
    )
    for path in paths[:2]:
        damage(path)
    with pytest.raises(CheckpointError, match=r"does not match\. No older checkpoint beside it is whole$"):
        read_whole(paths[3])


def test_a_foreign_file_is_named_alone(tmp_path: Path) -> None:
    save(tmp_path, 1000)
    other = tmp_path / "network.safetensors"
    other.write_bytes(bytes(64))
    with pytest.raises(CheckpointError, match=r"network\.safetensors is not a fastgan checkpoint \(.*\)$"):
        read_whole(other)


def test_newer_checkpoints_are_put_aside(tmp_path: Path) -> None:
    paths = [save(tmp_path, images) for images in (1000, 2000, 3000)]
    put_newer_aside(tmp_path, 2000)
    assert checkpoints(tmp_path) == paths[:2]
    assert (tmp_path / "checkpoint-000003.safetensors.aside").exists()


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    with one_writer(tmp_path):
        message = rf"{tmp_path}: process {os.getpid()} on {socket.gethostname()} is writing there; wait for it"
        with pytest.raises(ValueError, match=message), one_writer(tmp_path):
            pass
    with one_writer(tmp_path):  # free again
        pass


def test_a_killed_writer_frees_the_folder(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom fastgan.train.folder import one_writer\n"
        "with one_writer(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    with pytest.raises(ValueError, match=f"process {process.pid} on "), one_writer(tmp_path):
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    with one_writer(tmp_path):
        pass


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    litter = tmp_path / ".checkpoint-000001.safetensors.partial"
    litter.write_bytes(b"half")
    with one_writer(tmp_path):
        assert not litter.exists()


def test_commands_can_be_pasted() -> None:
    assert resume_command(Path("runs/a b")) == "fastgan train --resume 'runs/a b'"
