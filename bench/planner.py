"""Compares the estimate of a step's peak memory with what a process takes: python bench/planner.py [--json FILE].

Of each case, a fresh process estimates, and another trains for two steps in which all stages are due, lazy penalties
too, and reads its largest resident size. Images are random. Exits with 1 where an estimate is further off than 15 %.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from fastgan.bench.machine import describe_machine
from fastgan.config.data import DataOptions
from fastgan.config.options import replace
from fastgan.data import Dataset, ImageDataset
from fastgan.models.registry import configure, family
from fastgan.ops.allocation import tune_cpu_allocator
from fastgan.train.config import RunConfig
from fastgan.train.game import game_of
from fastgan.train.loop import step
from fastgan.train.planner import Planner
from fastgan.train.state import TrainState

WITHIN = 0.15
_NARROW = {"channel_base": 2048, "channel_max": 128}
# Title -> family, its architecture, its training options.
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "StyleGAN2 32², narrow, batch 8": ("stylegan2", {"resolution": 32, **_NARROW}, {"batch": 8}),
    "StyleGAN2 32², narrow, batch 32": ("stylegan2", {"resolution": 32, **_NARROW}, {"batch": 32}),
    "StyleGAN2 32², batch 2": ("stylegan2", {"resolution": 32}, {"batch": 2}),
    "StyleGAN2 64², narrow, batch 16": ("stylegan2", {"resolution": 64, **_NARROW}, {"batch": 16}),
    "StyleGAN2 64², narrow, batch 32 in parts of 8": (
        "stylegan2",
        {"resolution": 64, **_NARROW},
        {"batch": 32, "batch_gpu": 8},
    ),
    "StyleGAN2 64², narrow, batch 16, channels_last": (
        "stylegan2",
        {"resolution": 64, **_NARROW},
        {"batch": 16, "channels_last": True},
    ),
    "StyleGAN3-T 32², narrow, batch 8": (
        "stylegan3-t",
        {"resolution": 32, "channel_base": 1024, "channel_max": 64},
        {"batch": 8},
    ),
    "DCGAN 64², narrow, batch 128": ("dcgan", {"resolution": 64, "channel_max": 256}, {"batch": 128}),
    "pix2pix 64², batch 4": ("pix2pix", {"resolution": 64}, {"batch": 4}),
    "CycleGAN 64², narrow, batch 2": (
        "cyclegan",
        {"resolution": 64, "channel_base": 16, "d_channel_base": 16},
        {"batch": 2},
    ),
}


def _prepared(title: str) -> tuple[RunConfig, dict[str, Dataset]]:
    name, architecture, training = CASES[title]
    of = family(name)
    architecture = dataclasses.asdict(configure(name, **architecture))
    config = RunConfig(name, architecture, DataOptions(), replace(of.options(), "training", **training))
    names = {"images": ("image",)}.get(of.data, ("a", "b"))
    size = architecture["resolution"]
    return config, {each: ImageDataset(torch.randint(0, 256, (64, *size, 3), dtype=torch.uint8)) for each in names}


def _estimated(title: str) -> int:
    return Planner(*_prepared(title), torch.device("cpu"), game_of).needed()


def _measured(title: str) -> int:
    state = TrainState(game_of(*_prepared(title), torch.device("cpu")))
    for _ in range(2):
        state.step = 0
        step(state)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _in_a_process(what: str, title: str) -> int:
    command = (sys.executable, __file__, "--only", what, title)
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main() -> int:
    """Prints a row a case; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", nargs=2, metavar=("WHAT", "CASE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only is not None:
        tune_cpu_allocator()
        what, title = options.only
        print({"estimated": _estimated, "measured": _measured}[what](title))
        return 0
    machine, rows = describe_machine(torch.device("cpu")), []
    print("| case | estimated, MiB | measured, MiB | off by |\n|---|---|---|---|")
    for title in CASES:
        row = {what: _in_a_process(what, title) for what in ("estimated", "measured")}
        off = row["estimated"] / row["measured"] - 1
        rows.append({"case": title, **row, "off": round(off, 4)})
        print(f"| {title} | {row['estimated'] >> 20:,} | {row['measured'] >> 20:,} | {off:+.1%} |", flush=True)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    return 1 if any(abs(row["off"]) > WITHIN for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
