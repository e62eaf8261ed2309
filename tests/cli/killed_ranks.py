"""Two ranks, one of which is killed at a random instant; the run goes on, and is compared with one left alone.

    python -m tests.cli.killed_ranks 20

The ranks are forked, beside the store in which they meet: starting Python and importing torch would be most of what is
killed.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: a forked child must not miss threads that its parent started
os.environ["TORCH_CPP_LOG_LEVEL"] = "ERROR"

import contextlib
import io
import json
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch.distributed as dist

from fastgan.cli.main import main as fastgan_main
from fastgan.train.distributed import meeting
from fastgan.train.watch import FAILED
from tests.cli.test_ranks import SHORT, assert_same_run
from tests.train.watched import forked

# Six steps of two micro-batches a rank, with a checkpoint after each.
TRAINING = [*SHORT, "--batch", "16", "--batch-gpu", "4", "--tick", "0.016", "--kimg", "0.096"]


def keep(tells: int) -> None:
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    os.write(tells, str(store.port).encode())
    time.sleep(300)


def tell(port: int, rank: int, process: int) -> None:
    """Of a rank that was killed before it has met the others, what has started them tells; later they find out."""
    store = dist.PrefixStore(meeting(), dist.TCPStore("127.0.0.1", port))  # type: ignore[attr-defined]
    if not store.check([f"rank/{rank}"]):
        verdict = {"ranks": [rank], "host": "", "text": f"rank {rank} (process {process} here) was killed"}
        store.compare_set(FAILED, "", json.dumps(verdict))


def training(outdir: Path, rank: int, port: int) -> None:
    with open(outdir.with_suffix(f".{rank}"), "w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
    told |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_USE_AGENT_STORE": True}
    os.environ |= {name: str(value) for name, value in told.items()}
    arguments = ["train", "--outdir", str(outdir), "--resume", "auto", *TRAINING]
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    status = fastgan_main(arguments)
    sys.stdout.flush()
    os._exit(status)


def live(outdir: Path, kills: Callable[[list[int]], int | None]) -> tuple[list[int], float]:
    """The statuses of two ranks, and the seconds from what `kills` does to them to their end."""
    told, tells = os.pipe()
    keeper = forked(lambda: keep(tells))
    port = int(os.read(told, 9))
    children = [forked(lambda rank=rank: training(outdir, rank, port)) for rank in range(2)]
    victim = kills(children)
    begin, statuses = time.monotonic(), [0, 0]
    for rank in (0, 1) if victim is None else (victim, 1 - victim):
        statuses[rank] = os.waitstatus_to_exitcode(os.waitpid(children[rank], 0)[1])
        if statuses[rank] == -signal.SIGKILL:
            teller = forked(lambda rank=rank: tell(port, rank, children[rank]))
            os.waitpid(teller, 0)
    seconds = time.monotonic() - begin
    os.kill(keeper, signal.SIGKILL)
    os.waitpid(keeper, 0)
    for each in (told, tells):
        os.close(each)
    if victim is not None and -signal.SIGKILL in statuses:
        said = outdir.with_suffix(f".{1 - victim}").read_text()
        named = rf"fastgan: error: rank {victim} \(process {children[victim]} .*(--resume {outdir}|[Ss]tart again)"
        if not re.search(named, said):
            raise SystemExit(f"rank {victim} was not named: {said}")
    return statuses, seconds


def run(points: int) -> int:
    chance, kills, identical, longest = random.Random(5), 0, 0, 0.0
    with tempfile.TemporaryDirectory() as name:
        alone, killed = Path(name) / "alone", Path(name) / "killed"
        with contextlib.redirect_stdout(io.StringIO()):  # the children need not import again what this process imports
            fastgan_main(["train", "--outdir", f"{name}/imports", *TRAINING, "--kimg", "0.016"])
        statuses, seconds = live(alone, lambda _: None)
        if statuses != [0, 0]:
            raise SystemExit(alone.with_suffix(".0").read_text())
        print(f"undisturbed: {seconds:.1f} s", flush=True)
        for point in range(points):
            moment, victim = chance.uniform(0, seconds), point % 2

            def kill(children: list[int], moment: float = moment, victim: int = victim) -> int:
                time.sleep(moment)
                os.kill(children[victim], signal.SIGKILL)
                return victim

            statuses, took = live(killed, kill)
            while -signal.SIGKILL not in statuses:  # it had ended before
                shutil.rmtree(killed)
                moment *= 0.7
                statuses, took = live(killed, lambda children, moment=moment: kill(children, moment))
            kills += -signal.SIGKILL in statuses
            longest = max(longest, took)
            again, _ = live(killed, lambda _: None)
            print(f"rank {victim} after {moment:.2f} s: {statuses}, ended {took:.1f} s later, then {again}", flush=True)
            if again != [0, 0]:
                raise SystemExit(killed.with_suffix(".0").read_text())
            assert_same_run(alone, killed)
            identical += 1
            shutil.rmtree(killed)
    print(f"{points} points, {identical} identical, {kills} kills, all ended within {longest:.1f} s")
    return 0 if longest < 60 else 1


if __name__ == "__main__":
    sys.exit(run(int(sys.argv[1])))
