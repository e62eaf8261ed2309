"""The folder of a run: its checkpoints, whole or not, and its one writer."""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from fastgan.checkpoint import CheckpointError, checkpoints, images_of, latest_checkpoint, load_checkpoint, load_tensors
from fastgan.config.data import DataOptions
from fastgan.train.config import RunConfig

# What a run writes, as `replacing` calls it until it is whole.
_OURS = re.compile(r"\.((checkpoint|grid)-[\d.]+\.(safetensors|png)|reals\.png|\w+\.(json|jsonl|html))\.partial")


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


def resume_command(path: Path, model: str = "") -> str:
    """The command that goes on from a checkpoint or a folder; a family of one's own is named again, to be imported."""
    return f"fastgan train --resume {shlex.quote(str(path))}" + (f" --cfg {shlex.quote(model)}" if ":" in model else "")


def branch_command(checkpoint: Path, model: str = "") -> str:
    """The command that begins a new run from a checkpoint; as for `resume_command`, a family of one's own is named."""
    own = f" --cfg {shlex.quote(model)}" if ":" in model else ""
    return f"fastgan train --branch {shlex.quote(str(checkpoint))} --outdir NEW{own}"


def data_of(checkpoint: Path) -> DataOptions | None:
    """What a checkpoint's run was trained on; None where it does not tell.

    Raises:
        CheckpointError, ValueError: it cannot be read; the message names it.
    """
    tree = load_tensors(checkpoint, "config", optional=True)
    return None if tree is None else RunConfig.from_json(tree, f"checkpoint {checkpoint}").data


def unwritable(outdir: Path, error: OSError, kimg: float, go_on: str) -> str:
    """What happened to a run whose folder could not be written, and how to go on, by the command `go_on`."""
    reached = f"cannot write {error.filename or outdir}: {error.strerror or error}. The run stopped at {kimg:g} kimg"
    newest = latest_checkpoint(outdir)
    if newest is None:
        return f"{reached}; {outdir} holds no checkpoint. Mend the cause, then start again"
    return f"{reached}; {newest} stands. Mend the cause, then: {go_on}"


def read_whole(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A checkpoint's tree and metadata, read from start to end.

    Raises:
        CheckpointError: it is damaged, or cannot be read; the message names it, and the newest whole one among the
            older ones beside it with the command that goes on from there. None is taken without being asked for.
    """
    try:
        return load_checkpoint(path)
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
