"""The folder of a run: how its files are numbered, its newest whole checkpoint, and its one writer."""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from fastgan.checkpoint import CheckpointError, load_checkpoint

_CHECKPOINT = re.compile(r"checkpoint-(\d{6,})(?:\.(\d{3}))?\.safetensors")
# What a run writes, as `replacing` calls it until it is whole.
_OURS = re.compile(r"\.((checkpoint|grid)-[\d.]+\.(safetensors|png)|reals\.png|\w+\.(json|jsonl|html))\.partial")


def numbered(images: int) -> str:
    """images in thousands, as names carry it: 42000 -> "000042", 42420 -> "000042.420".

    Example:
        >>> numbered(42000), numbered(42420)
        ('000042', '000042.420')
    """
    kimg, rest = divmod(images, 1000)
    return f"{kimg:06d}" + (f".{rest:03d}" if rest else "")


def images_of(path: Path) -> int | None:
    """Images seen at a checkpoint, from its name; None if the name is not one of a run's checkpoints."""
    match = _CHECKPOINT.fullmatch(path.name)
    return int(match[1]) * 1000 + int(match[2] or 0) if match else None


def checkpoints(outdir: Path) -> list[Path]:
    """The checkpoints in a run's folder, oldest first."""
    if not outdir.is_dir():
        return []
    found = [(images_of(path), path) for path in outdir.iterdir()]
    return [path for _, path in sorted((images, path) for images, path in found if images is not None)]


def latest_checkpoint(outdir: Path) -> Path | None:
    """The newest checkpoint in a run's folder, None if there is none."""
    return next(reversed(checkpoints(outdir)), None)


def checkpoint_at(path: Path, option: str) -> Path:
    """A checkpoint, or the newest in a run's folder; ValueError, which names the option, where there is none."""
    if path.is_dir():
        found = latest_checkpoint(path)
        if found is None:
            raise ValueError(f"{option}: {path} holds no checkpoint")
        return found
    if not path.exists():
        raise ValueError(f"{option}: {path} does not exist")
    return path


def resume_command(path: Path) -> str:
    """The command that goes on from a checkpoint or a folder."""
    return f"fastgan train --resume {shlex.quote(str(path))}"


def check_whole(path: Path) -> None:
    """Read a checkpoint from start to end.

    Raises:
        CheckpointError: it is damaged, or cannot be read; the message names it, and the newest whole one among the
            older ones beside it with the command that goes on from there. None is taken without being asked for.
    """
    try:
        load_checkpoint(path)
    except (CheckpointError, OSError) as error:
        if isinstance(error, OSError) and error.strerror:
            reason = f"checkpoint {path} cannot be read: {error.strerror}"
        else:
            reason = str(error)
        images = images_of(path)
        if images is None:  # not in a run's folder
            raise CheckpointError(reason) from error
        older = [other for other in checkpoints(path.parent) if (images_of(other) or 0) < images]
        whole = next((other for other in reversed(older) if _is_whole(other)), None)
        if whole is None:
            raise CheckpointError(f"{reason}. No older checkpoint beside it is whole") from error
        advice = f"the newest whole checkpoint before it is {whole}; to go on from there: {resume_command(whole)}"
        raise CheckpointError(f"{reason}; {advice}") from error


def _is_whole(path: Path) -> bool:
    try:
        load_checkpoint(path)
    except (CheckpointError, OSError):
        return False
    return True


def put_newer_aside(outdir: Path, images: int) -> None:
    """Rename every checkpoint of more than `images` images to NAME.aside: a run that goes on from an older one must not
    be taken up again from what it left behind, damaged or not.
    """
    for path in checkpoints(outdir):
        if (images_of(path) or 0) > images:
            path.rename(path.with_name(f"{path.name}.aside"))


@contextmanager
def one_writer(outdir: Path) -> Iterator[None]:
    """The folder is ours alone inside the block; the system frees it however the process ends.

    What earlier writers left unfinished is removed.

    Raises:
        ValueError: another process writes there; the message says which.
        OSError: the lock could not be written.
    """
    with _locked(outdir):
        for litter in outdir.glob(".*.partial"):
            if _OURS.fullmatch(litter.name):
                litter.unlink()
        yield


def _locked(outdir: Path) -> IO[str]:
    path = outdir / ".lock"
    # Neither emptied on opening nor ever removed: others may be reading or holding it.
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}".encode())
    except BlockingIOError:
        file.seek(0)
        holder = file.read() or "another process"
        file.close()
        raise ValueError(
            f"{outdir}: {holder} is writing there; wait for it, stop it, or choose another --outdir"
        ) from None
    except OSError as error:
        file.close()
        raise OSError(error.errno, error.strerror, str(path)) from error
    return file
