"""The processes of a training on several devices of this machine: `fastgan train --gpus N` starts and ends them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store

from fastgan.checkpoint import latest_checkpoint
from fastgan.train.distributed import meeting
from fastgan.train.folder import resume_command
from fastgan.train.shares import Place
from fastgan.train.watch import FAILED

_POLL = 0.1  # seconds
_GRACE = 10.0  # seconds that the other ranks have to end by themselves when one has failed


def place_of(gpus: int | None) -> Place:
    """The place of this process among those that torchrun or `launch` has started.

    Raises:
        ValueError: --gpus is below 1, or contradicts what has started the process.
    """
    place = Place.told()
    if gpus is not None and gpus < 1:
        raise ValueError(f"--gpus must be at least 1, got {gpus}")
    if gpus is not None and place.world > 1 and gpus != place.local_world:
        raise ValueError(
            f"--gpus {gpus}: {place.local_world} processes have been started on this machine; leave --gpus out"
        )
    return place


def advice(outdir: Path, model: str, gpus: int | None, device: str | None) -> str:
    """How to go on when a rank is lost."""
    newest, command = latest_checkpoint(outdir), resume_command(outdir, model)
    if newest is None:
        return f"{outdir} holds no checkpoint yet: start again"
    if gpus is None:
        return f"{newest} stands. Go on by torchrun as before, with: {command.removeprefix('fastgan ')}"
    return f"{newest} stands. Go on with: {command} --gpus {gpus}" + (f" --device {device}" if device else "")


@contextmanager
def handing_on(processes: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Signals to this process go to `processes` instead, which have sessions of their own.

    Args:
        processes: may grow meanwhile.
    """

    def hand_on(signum: int, _: FrameType | None) -> None:
        for process in processes:
            process.send_signal(signal.SIGSTOP if signum == signal.SIGTSTP else signum)
        if signum == signal.SIGTSTP:
            os.kill(os.getpid(), signal.SIGSTOP)  # returns when this process is continued
            for process in processes:
                process.send_signal(signal.SIGCONT)

    with ExitStack() as stack:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                stack.callback(signal.signal, number, signal.signal(number, hand_on))
        yield


def launch(gpus: int, arguments: Sequence[str]) -> int:
    """Runs `fastgan` in as many processes, hands on the signals that it gets, and waits for them.

    A process that is killed is told to the others, which then end; whoever does not within ten seconds is killed.

    Args:
        gpus: how many.
        arguments: of each.

    Returns:
        the status of the first that failed; 0 if none did.
    """
    store = dist.TCPStore(  # type: ignore[attr-defined]
        "127.0.0.1", 0, is_master=True, wait_for_workers=False
    )
    known = PrefixStore(meeting(), store)
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port, "WORLD_SIZE": gpus, "LOCAL_WORLD_SIZE": gpus}
    told |= {"TORCHELASTIC_USE_AGENT_STORE": True, "TORCH_CPP_LOG_LEVEL": "ERROR"}  # stacks of what is told in words
    ranks: list[subprocess.Popen[bytes]] = []
    with handing_on(ranks):
        for rank in range(gpus):
            environment = os.environ | {name: str(value) for name, value in told.items()}
            environment |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            # A session of its own: the terminal's signals come from here alone, once.
            command = [sys.executable, "-m", "fastgan", *arguments]
            ranks.append(subprocess.Popen(command, env=environment, start_new_session=True))
        return _wait(ranks, known)


def _wait(ranks: Sequence[subprocess.Popen[bytes]], known: Store) -> int:
    """The status of the first that failed, when all have ended."""
    failed: subprocess.Popen[bytes] | None = None
    since, text = 0.0, ""
    while any(process.poll() is None for process in ranks):
        time.sleep(_POLL)
        if failed is None and (ended := [process for process in ranks if process.poll()]):
            failed, since = ended[0], time.monotonic()
            if failed.returncode < 0:
                rank, number = ranks.index(failed), -failed.returncode
                text = f"rank {rank} (process {failed.pid}) was killed by signal {number}"
                known.compare_set(FAILED, "", json.dumps({"ranks": [rank], "host": "", "text": text}))
        if failed is not None and time.monotonic() - since > _GRACE:
            for process in ranks:
                process.kill()
    statuses = [process.returncode for process in ranks if process.returncode]
    positive = [status for status in statuses if status > 0]
    if text and not positive:
        print(f"fastgan: error: {text}", file=sys.stderr)  # no rank is left to say so
    return positive[0] if positive else 128 - statuses[0] if statuses else 0
