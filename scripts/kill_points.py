"""Kill a tiny training at many instants, resume it, and compare what it ends with, bit for bit, with one left alone.

The training (conditional StyleGAN2 at 8x8 in bfloat16, R1 and path length every few steps and two other penalties at
each, noise on what D sees, two micro-batches a step, mirrored images, a metric, a grid and a checkpoint at every tick)
runs as `fastgan train --resume auto` in forked children. They kill themselves by SIGKILL, at the k-th call or return of
a function inside fastgan or at a named place (half way through a file, before and after it is synced and renamed,
inside lazy terms, between micro-batches), or are killed by the clock from outside. Others lose the reader of their
output (a broken pipe) and must go on, or their terminal (SIGHUP, and EIO from every write) and must stop with a
checkpoint. Compared are the final checkpoint (parameters,
averages, optimizers, statistics, random numbers, data cursor), every picture, config.json, the names of all files, and
stats.jsonl without its timings.

    python scripts/kill_points.py --points 120
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: a forked child must not miss threads that its parent started

import argparse
import contextlib
import io
import json
import pty
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from kill_places import BY_FUNCTION, PACKAGE, PLACES, RESUMING, Place

from fastgan.checkpoint import load_checkpoint
from fastgan.choices import METRICS
from fastgan.cli import train as cli_train
from fastgan.cli.main import main as fastgan_main
from fastgan.metrics import Metric
from fastgan.report import read_stats
from fastgan.train.folder import latest_checkpoint

TIMINGS = ("images_per_second", "seconds_per_kimg", "memory_gib")
TRAINING = [
    "--data", "emoji64", "--classes", "smileys/faces", "food", "--max-images", "37", "--resolution", "8", "--cond",
    "--mirror", "--batch", "32", "--batch-gpu", "16", "--cbase", "32", "--cmax", "4", "--map-depth", "1",
    "--penalties", "r1=1/2", "r2=0.5/1", "wgan-gp=1/1", "--augment", "instance-noise", "--precision", "bf16",
    "--pl-weight", "2", "--set", "z_dim=4", "w_dim=4", "pl_interval=3",
    "--kimg", "0.256", "--tick", "0.064", "--snap", "1", "--keep", "2", "--metrics", "brightness", "--device", "cpu",
    "--threads", "1",
]  # fmt: skip


class Killer:
    """A profile hook that counts events inside fastgan and matches of a place, and kills at the wanted one.

    Args:
        at: the event to die at, from 1; None counts only.
        place: the place to die at, at its `at`-th match; None counts any event.
        seen: counts of all places, filled where given.
        loses: "reader" or "terminal": what standard output is, and what goes away instead of the process.
    """

    def __init__(
        self, at: int | None, place: Place | None = None, seen: Counter | None = None, loses: str | None = None
    ):
        self.at, self.place, self.seen, self.count, self.loses = at, place, seen, 0, loses
        self.other_end = -1

    def connect(self) -> None:
        """Standard output <- a pipe or a terminal whose other end this process alone holds."""
        if self.loses is not None:
            self.other_end, ours = os.pipe() if self.loses == "reader" else pty.openpty()
            os.dup2(ours, 1)
            os.close(ours)
            sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - this process's own may have been a file's, which can be sought
            os.environ["TERM"] = "dumb"  # few words: nobody reads them

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if self.seen is not None:
            near = BY_FUNCTION.get(frame.f_code.co_name, ())
            self.seen.update(place.kind for place in near if place.matches(frame, event, argument))
        if self.place is not None:
            hit = self.place.matches(frame, event, argument)
        else:
            hit = frame.f_code.co_filename.startswith(PACKAGE)
        self.count += hit
        if hit and self.count == self.at:
            self.die(frame)

    def die(self, frame: FrameType) -> None:
        sys.setprofile(None)
        if self.loses is not None:
            os.close(self.other_end)
            if self.loses == "terminal":
                signal.raise_signal(signal.SIGHUP)
            return
        if self.place is not None and self.place.part is not None:
            if "line" in frame.f_locals:
                line = frame.f_locals["line"]
                os.write(frame.f_locals["descriptor"], line[: int(len(line) * self.place.part)])
            else:
                path = frame.f_locals["path"]
                os.truncate(path, int(path.stat().st_size * self.place.part))
        os.kill(os.getpid(), signal.SIGKILL)


class Brightness:
    """Features that cost little: the sum of all values."""

    def __init__(self, images: int, extractor: None) -> None:
        self.images, self.sum = images, 0.0

    def take(self, images: torch.Tensor) -> None:
        self.sum += images.double().sum().item()

    def result(self) -> float:
        return self.sum / self.images


BRIGHTNESS = Metric(Brightness, lambda real, fake: {"brightness": fake}, images=16)


def training(outdir: Path) -> int:
    """Starts the run, or goes on with it, as a user would, in a precision that is slow on a CPU."""
    cli_train.refusal = lambda precision, device: None
    return fastgan_main(["train", "--outdir", str(outdir), "--resume", "auto", *TRAINING])


def live(outdir: Path, hook: Killer | None = None, after: float | None = None, report: Path | None = None) -> int:
    """One process of the training, in a forked child: its wait status.

    Args:
        outdir: the run's folder.
        hook: watches the child.
        after: seconds after which the child is killed from outside.
        report: where the child leaves hook's counts.
    """
    child = os.fork()
    if child == 0:
        status = 70
        try:
            with open(outdir.with_suffix(".log"), "a") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            if hook is not None:
                hook.connect()
            sys.setprofile(hook)
            status = training(outdir)
            sys.setprofile(None)
            if hook is not None and report is not None:
                report.write_text(json.dumps({"events": hook.count, "places": hook.seen}))
        finally:
            sys.stdout.flush()
            os._exit(status)
    if after is not None:
        time.sleep(after)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def differences(a: Any, b: Any, where: str = "checkpoint") -> list[str]:
    """Places at which two trees differ, to the bit."""
    if type(a) is not type(b):
        return [f"{where}: {type(a).__name__} and {type(b).__name__}"]
    if isinstance(a, dict):
        if list(a) != list(b):
            return [f"{where}: keys differ"]
        return [each for key in a for each in differences(a[key], b[key], f"{where}/{key}")]
    if isinstance(a, (list, tuple)) and len(a) == len(b):
        return [each for i, (x, y) in enumerate(zip(a, b, strict=True)) for each in differences(x, y, f"{where}/{i}")]
    if isinstance(a, torch.Tensor):
        same = a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()
        return [] if same else [where]
    return [] if a == b else [f"{where}: {a!r} and {b!r}"]


def compare(alone: Path, killed: Path, stopped: bool = False) -> list[str]:
    """How the folders of two runs differ; [] where they are the same but for timings.

    Args:
        alone, killed: the folders.
        stopped: the second was stopped between two snapshots, and may keep the checkpoint of that moment.
    """
    names = [sorted(path.name for path in folder.iterdir()) for folder in (alone, killed)]
    if stopped:
        names = [[name for name in each if not name.startswith("checkpoint-")] for each in names]
    if names[0] != names[1]:
        return [f"files: {sorted(set(names[0]) ^ set(names[1]))}"]
    checkpoints = [latest_checkpoint(folder) for folder in (alone, killed)]
    if None in checkpoints:
        return ["no checkpoint"]
    trees = [load_checkpoint(path) for path in checkpoints if path is not None]
    found = differences(trees[0], trees[1])
    whole = [path for path in alone.iterdir() if path.suffix == ".png" or path.name == "config.json"]
    found += [f"{path.name}: bytes" for path in whole if (killed / path.name).read_bytes() != path.read_bytes()]
    lines = [read_stats(folder / "stats.jsonl") for folder in (alone, killed)]
    untimed = [[{k: v for k, v in line.items() if k not in TIMINGS} for line in each] for each in lines]
    return found + ([] if untimed[0] == untimed[1] else ["stats.jsonl"])


Life = Callable[[Path], int]  # one process of the run that is to be killed: its wait status
Point = tuple[str, list[Life]]  # its kind and its killed lives


def plan(points: int, events: int, seconds: float, seen: Counter, chance: random.Random) -> list[Point]:
    """The points to try.

    Args:
        points: how many.
        events, seconds: length of a run that nobody kills.
        seen: how often it comes by each place.
        chance: for the draws.
    """

    def at_event(low: int, high: int, loses: str | None = None) -> Life:
        at = chance.randint(low, high)
        return lambda outdir: live(outdir, Killer(at, loses=loses))

    def at_place(place: Place, times: int) -> Life:
        at = chance.randint(1, times)
        return lambda outdir: live(outdir, Killer(at, place))

    def by_clock() -> Life:
        after = chance.uniform(0, seconds)

        def life(outdir: Path) -> int:
            moment = after
            while not os.WIFSIGNALED(status := live(outdir, after=moment)):
                shutil.rmtree(outdir)  # it ended before
                moment *= 0.7
            return status

        return life

    tenth = max(1, points // 10)
    places = chance.sample(PLACES, len(PLACES))
    result = [(place.kind, [at_place(place, seen[place.kind])]) for place in (places * points)[: 3 * tenth]]
    result += [("by the clock, from outside", [by_clock()]) for _ in range(tenth)]
    result += [("two or three times", [at_event(1, events // 2) for _ in range(2 + i % 2)]) for i in range(tenth)]
    result += [("the reader of the output goes", [at_event(1, events, "reader")]) for _ in range(tenth)]
    result += [("the terminal vanishes", [at_event(1, events, "terminal")]) for _ in range(tenth)]
    for place in (RESUMING * points)[:tenth]:
        result.append(("again while resuming", [at_event(events // 2, events), at_place(place, 1)]))
    rest = points - len(result)  # one in each of as many equal stretches of the run
    stretches = [1 + i * events // rest for i in range(rest + 1)]
    return result + [("any event", [at_event(a, b - 1)]) for a, b in zip(stretches, stretches[1:], strict=False)]


def undisturbed(folder: Path) -> tuple[Path, int, float, Counter]:
    """A run left alone: its folder, its events, its seconds, and how often it came by each place."""
    alone, timed, counted, report = (folder / name for name in ("alone", "timed", "counted", "counts.json"))
    # In this process: the children need not import again what it imports.
    with contextlib.redirect_stdout(io.StringIO()):
        failed = training(alone) != 0
    if failed or len(os.listdir("/proc/self/task")) != 1:
        raise SystemExit("the undisturbed run failed, or left threads, which forked children would miss")
    start = time.monotonic()
    live(timed)
    seconds = time.monotonic() - start
    live(counted, Killer(None, seen=Counter()), report=report)
    if found := compare(alone, timed) + compare(alone, counted):
        raise SystemExit(f"two undisturbed runs differ: {found}")
    counts = json.loads(report.read_text())
    if missed := [place.kind for place in PLACES if not counts["places"].get(place.kind)]:
        raise SystemExit(f"the run never comes by: {', '.join(missed)}")
    return alone, counts["events"], seconds, Counter(counts["places"])


def try_point(lives: list[Life], alone: Path, killed: Path) -> tuple[int, list[str]]:
    """Kills the run, lets it end, and compares: the kills that struck, and the differences found."""
    ends = [os.waitstatus_to_exitcode(life(killed)) for life in lives]
    stopped = 128 + signal.SIGHUP
    strikes = sum(end != 0 for end in ends)
    if strange := [end for end in ends if end not in (0, stopped, -signal.SIGHUP, -signal.SIGKILL)]:
        return strikes, [f"ended with status {strange[0]}"]
    if (status := live(killed)) != 0:
        said = killed.with_suffix(".log").read_text().strip().splitlines()[-1:]
        return strikes, [f"the resumed run ended with wait status {status}: {' '.join(said)}"]
    return strikes, compare(alone, killed, stopped in ends)


def run(points: int, seed: int) -> int:
    """Tries all points and prints a table of them; the exit status: 0 if every one is identical."""
    METRICS["brightness"] = f"{__name__}:BRIGHTNESS"
    start = time.monotonic()
    tried, identical, strikes = Counter(), Counter(), Counter()
    with tempfile.TemporaryDirectory() as name:
        alone, events, seconds, seen = undisturbed(Path(name))
        print(f"undisturbed: {events} events, {seconds:.1f} s; points: {points}, seed {seed}", flush=True)
        for kind, lives in plan(points, events, seconds, seen, random.Random(seed)):
            killed = Path(name) / "killed"
            struck, found = try_point(lives, alone, killed)
            tried[kind] += 1
            strikes[kind] += struck
            identical[kind] += not found
            for each in found[:5]:
                print(f"{kind}: {each}", flush=True)
            shutil.rmtree(killed, ignore_errors=True)
            killed.with_suffix(".log").unlink()
    print(f"{'killed':44}{'points':>8}{'kills':>8}{'identical':>11}")
    for kind in sorted(tried):
        print(f"{kind:44}{tried[kind]:8}{strikes[kind]:8}{identical[kind]:11}")
    total = sum(tried.values()), sum(strikes.values()), sum(identical.values())
    print(f"{'all':44}{total[0]:8}{total[1]:8}{total[2]:11}   {time.monotonic() - start:.0f} s")
    return 0 if total[0] == total[2] else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Kill and resume a tiny training; compare it with one left alone.")
    parser.add_argument("--points", type=int, default=120, help="kill points")
    parser.add_argument("--seed", type=int, default=0, help="of their choice")
    sys.exit(run(**vars(parser.parse_args())))
