"""Speed of a training in several processes beside one with as many threads: python bench/ranks.py [--ranks 2].

StyleGAN2 at 64×64 on the packaged emoji, batch 16, R1 and path length included, on the CPU. The two trainings take
turns; printed are images a second of each turn, without its first tick, and the ratio of the medians. Figures of a
machine that does other work say little: the load average is printed too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from fastgan.report import read_stats

TRAINING = [
    "--data", "emoji64", "--max-images", "500", "--batch", "16", "--cbase", "4096", "--tick", "0.064",
    "--kimg", "0.384", "--device", "cpu", "--calibrate", "never",
]  # fmt: skip


def speeds(arguments: list[str]) -> list[float]:
    """Images a second of each tick of a training, but for the first."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "fastgan", "train", "--outdir", f"{folder}/run", *TRAINING, *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return [line["images_per_second"] for line in read_stats(Path(folder) / "run" / "stats.jsonl")][1:]


def main(ranks: int, turns: int) -> None:
    ways = {
        f"one process, {ranks} threads": ["--threads", str(ranks)],
        f"{ranks} processes of a thread": ["--gpus", str(ranks), "--threads", "1"],
    }
    found: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(turns):
        for way, arguments in ways.items():
            measured = speeds(arguments)
            found[way] += measured
            load = os.getloadavg()[0]
            print(
                f"turn {turn}, {way}: {' '.join(f'{each:.2f}' for each in measured)} img/s, load {load:.1f}", flush=True
            )
    one, several = (statistics.median(each) for each in found.values())
    print(f"medians: {one:.2f} and {several:.2f} img/s, ratio {several / one:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Several processes beside one with as many threads.")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    main(given.ranks, given.turns)
