"""Ranks that meet with accidents, three processes each, and what they say: `python -m tests.train.watched`.

Prints {accident: [exit statuses, what was said, seconds]}. The processes are forked: importing torch takes long.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta

import torch.distributed as dist

from fastgan.train import watch
from fastgan.train.watch import Watch

RANKS = 3


def steps(watched: Watch, count: int) -> None:
    """Steps in which this rank waits once for the others."""
    for _ in range(count):
        watched.step(begins=True)
        time.sleep(0.05)
        wait_for_all(watched)
        watched.step(begins=False)


def wait_for_all(watched: Watch) -> None:
    """As a collective does: RuntimeError where it takes too long."""
    with watched.waiting():
        key = f"place {watched._progress}"
        watched.store.add(key, 1)
        while watched.store.add(key, 0) < RANKS:
            time.sleep(0.02)


def ends(watched: Watch) -> None:
    steps(watched, 3)
    time.sleep(0.5 * watched.rank)
    watched.leave()


def is_killed(watched: Watch) -> None:
    steps(watched, 2)
    if watched.rank == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    steps(watched, 9)


def is_stopped(watched: Watch) -> None:
    steps(watched, 2)
    if watched.rank == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    steps(watched, 9)


def hangs(watched: Watch) -> None:
    steps(watched, 2)
    if watched.rank == 1:
        watched.step(begins=True)
        time.sleep(60)
    steps(watched, 9)


def waits_elsewhere(watched: Watch) -> None:
    steps(watched, 2)
    if watched.rank == 2:
        watched.step(begins=True)
        with watched.waiting():
            time.sleep(60)
    watched.step(begins=True)
    with watched.waiting():
        pass  # it comes through, as where a network has lost one rank alone
    wait_for_all(watched)


def all_wait(watched: Watch) -> None:
    steps(watched, 2)
    watched.step(begins=True)
    with watched.waiting():
        time.sleep(60)


def takes_long_outside_of_a_step(watched: Watch) -> None:
    steps(watched, 2)
    if watched.rank == 0:
        time.sleep(5)
    steps(watched, 2)
    watched.leave()


def fails(watched: Watch) -> None:
    steps(watched, 2)
    if watched.rank:
        told = watched.fail("the disk is full")
        if told:
            os.write(2, b"told\n")
        os._exit(2)
    steps(watched, 9)


def loses_the_store(watched: Watch) -> None:
    time.sleep(30)


def rank(number: int, port: int, accident: Callable[[Watch], None]) -> None:
    store = dist.TCPStore("127.0.0.1", port, timeout=timedelta(seconds=30))  # type: ignore[attr-defined]
    watched = Watch(dist.PrefixStore("ranks", store.clone()), number, RANKS)  # type: ignore[attr-defined]
    watched.advice = lambda: "Go on"
    accident(watched)


def forked(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        status = 70
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return child


def scene(accident: Callable[[Watch], None]) -> None:
    """The ranks, beside the store; writes their statuses and seconds to standard output."""
    told, tells = os.pipe()
    keeper = forked(lambda: keep(tells, 2.0 if accident is loses_the_store else 60.0))
    port = int(os.read(told, 9))
    children = [forked(lambda number=number: rank(number, port, accident)) for number in range(RANKS)]
    begin = time.monotonic()
    statuses: dict[int, int] = {}
    while not set(children) <= statuses.keys():
        child, status = os.wait()
        statuses[child] = os.waitstatus_to_exitcode(status)
        left = [each for each in children if each not in statuses]
        if accident is is_stopped and left == [children[1]]:
            os.kill(children[1], signal.SIGKILL)  # as what has started the ranks does
    seconds = time.monotonic() - begin
    if keeper not in statuses:
        os.kill(keeper, signal.SIGKILL)
        os.waitpid(keeper, 0)
    print(json.dumps([[statuses[child] for child in children], seconds]), flush=True)


def keep(tells: int, seconds: float) -> None:
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    os.write(tells, str(store.port).encode())
    time.sleep(seconds)


ACCIDENTS = (
    ends, is_killed, is_stopped, hangs, waits_elsewhere, all_wait, takes_long_outside_of_a_step, fails, loses_the_store,
)  # fmt: skip


def main() -> None:
    watch._POLL, watch._SILENT, watch._PATIENCE = 0.2, 10, 10  # 2 s each
    found = {}
    for accident in ACCIDENTS:
        with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as results:

            def work(accident: Callable = accident, said=said, results=results) -> None:
                os.dup2(said.fileno(), 2)
                os.dup2(results.fileno(), 1)
                sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
                scene(accident)

            os.waitpid(forked(work), 0)
            said.seek(0)
            results.seek(0)
            text = said.read().decode()
            statuses, seconds = json.loads(results.read())
            found[accident.__name__] = [statuses, text, seconds]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
