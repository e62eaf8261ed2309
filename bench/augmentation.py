"""What augmentation costs of a training step on this CPU: python bench/augmentation.py [--json FILE].

StyleGAN2 at 64x64 as `bench/training_step.py` has it: the phases of a step without augmentation, with ADA's bgc at
p = 0.6, and with DiffAugment, in turns. Exits with 1 where ADA costs more than its target.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from training_step import Game

from fastgan.bench.machine import describe_machine
from fastgan.bench.timing import interleaved
from fastgan.ops.allocation import tune_cpu_allocator

TARGET = 0.08  # of a step
SIZES = {"resolution": 64, "batch": 8, "channel_base": 8192, "channel_max": 256}
AUGMENTATIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "ada": {"augment": "fixed", "augment_p": 0.6},  # p of ada moves
    "diffaug": {"augment": "diffaug"},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=30.0, help="spent on each phase, at least five rounds")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    tune_cpu_allocator()
    machine = describe_machine(torch.device("cpu"))
    print(f"{machine['device']}, {given.threads} threads, load average before: {machine['load_average']}", flush=True)
    games = {name: Game("stylegan2", "native", "nchw", **SIZES, **how) for name, how in AUGMENTATIONS.items()}
    intervals = next(iter(games.values())).intervals
    steps = dict.fromkeys(games, 0.0)
    phases: dict[str, dict[str, Any]] = {}
    for phase, interval in intervals.items():
        times = interleaved({name: game.phases[phase] for name, game in games.items()}, seconds=given.seconds)
        phases[phase] = {name: asdict(time) for name, time in times.items()}
        for name, time in times.items():
            steps[name] += time.median / interval
        print(f"{phase:12}", *(f"{name} {time.median:.1f} ms" for name, time in times.items()), flush=True)
    costs = {name: step / steps["none"] - 1 for name, step in steps.items()}
    print("step        ", *(f"{name} {step:.1f} ms ({costs[name]:+.1%})" for name, step in steps.items()))
    print(f"{'pass' if costs['ada'] < TARGET else 'FAIL'}: ADA costs {costs['ada']:.1%}, target {TARGET:.0%}")
    if given.json:
        record = {"machine": machine, "sizes": SIZES, "phases": phases, "steps": steps, "costs": costs}
        given.json.write_text(json.dumps(record | {"load_after": os.getloadavg()[0]}, indent=1) + "\n")
    return 0 if costs["ada"] < TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
