"""Times a training step on this CPU, operator by operator: python bench/training_step.py [--cfg FAMILY] [--json FILE].

StyleGAN2 or 3 of 64x64 images with 8192 / resolution channels, at most 256, and 8 images a step, R1 every 16th step and
StyleGAN2's path lengths every 4th, on packaged images: the default providers against `provider("reference")`, each in
both memory formats. Every phase of a step (an update of G, of D, a lazy penalty, the moving average) is run by the
training loop's own pieces, all four in turns; a step is the sum of the medians, each divided by its interval. The
profiler then tells how a phase divides between kinds of operators, by the time that each spends itself. G's forward
without gradients is timed beside them.

Compared are the faster memory formats of both. Exits with 1 where a ratio is below its target.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import torch

from fastgan.bench.machine import describe_machine
from fastgan.bench.memory import silent
from fastgan.bench.timing import Timing, interleaved
from fastgan.config.options import replace
from fastgan.data import load_dataset
from fastgan.losses.objective import Term
from fastgan.models.registry import build, family
from fastgan.ops import native, provider
from fastgan.ops.allocation import tune_cpu_allocator
from fastgan.train.games.noise import play
from fastgan.train.players import Player
from fastgan.train.state import TrainState
from fastgan.train.step import others_frozen, update

TARGETS = {"stylegan2": {"step": 1.5}, "stylegan3-t": {"step": 2.5, "forward": 3.5}, "stylegan3-r": {}}
FORWARD = "G forward"
LAYOUTS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}
PROVIDERS: dict[str, Callable[[], AbstractContextManager]] = {
    "native": nullcontext,  # what an operator takes where none is named
    "reference": lambda: provider("reference"),
}
# Kind of operator -> names; the outermost of an operator and its callers that has a kind of the first four decides.
KINDS = {
    "FIR": r"fastgan::(upfirdn2d|filtered_lrelu)|aten::pad$|aten::constant_pad_nd",
    "convolutions": r"aten::\w*conv|fastgan::conv2d_(?!layer|epilogue|style)",
    "small matrices": r"aten::(linear|addmm|mm|bmm|matmul|baddbmm)$",
    "optimizer": r"Optimizer\.|aten::(_fused_adam_|lerp_|_foreach_\w+|linalg_vector_norm)$",
    "element-wise": r"fastgan::(bias_act|conv2d_epilogue|conv2d_style)|"
    r"aten::(mul|add|sub|div|neg|addcmul|clamp\w*|leaky_relu\w*|where|sum|mean|square|sqrt|rsqrt|pow|softplus\w*|sigmoid\w*"
    r"|normal|threshold\w*|gt|lt|ge|le|eq|ne|logical_\w+|bitwise_\w+)_?$",
}
OWNERS = ("FIR", "convolutions", "small matrices", "optimizer")


class Game:
    """Both networks and all that trains them, as a run has them; `more` are training options.

    Attributes:
        phases: call by name.
        forward: a call of G without gradients.
        intervals: steps from one call of a phase to the next.
        state: of the training.
    """

    def __init__(
        self,
        cfg: str,
        served_by: str,
        layout: str,
        resolution: int,
        batch: int,
        channel_base: int,
        channel_max: int,
        **more: Any,
    ):
        last = layout == "channels_last"
        options = replace(family(cfg).options(), "training", batch=batch, channels_last=last, **more)
        torch.manual_seed(options.seed)
        sizes = {"resolution": resolution, "channel_base": channel_base, "channel_max": channel_max}
        _, G, D = build(cfg, **sizes)
        for network in (G, D):
            network.to(memory_format=LAYOUTS[layout])  # type: ignore[call-overload]
        images = load_dataset("emoji64", resolution=(resolution, resolution)).unlabelled()
        self.state = TrainState(play({"G": G, "D": D}, options, {"image": images}, torch.device("cpu")))
        self._provider = PROVIDERS[served_by]
        self._batches: dict[str, list] = {}
        self.phases: dict[str, Callable[[], None]] = {}
        self.intervals: dict[str, int] = {}
        for player in self.state.game.players:
            for terms in player.stages(0):
                name = terms[0].name
                self.phases[name] = lambda player=player, terms=terms: self._update(player, terms)
                self.intervals[name] = terms[0].interval
        self.phases["average"], self.intervals["average"] = self._average, 1
        z = torch.randn(batch, G.z_dim)
        self.forward = lambda: self._forward(G, z)

    def _update(self, player: Player, terms: tuple[Term, ...]) -> None:
        """One stage of a player; a lazy one takes the batch of the stage before it."""
        if terms[0].interval == 1:
            self._batches[player.name] = [player.source.next() for _ in range(player.accumulate)]
        with self._provider(), others_frozen(player, self.state.game.players):
            update(player, terms, self._batches[player.name], self.state)

    def _forward(self, G: torch.nn.Module, z: torch.Tensor) -> None:
        with self._provider(), torch.no_grad():
            G(z)

    def _average(self) -> None:
        for schedule in self.state.game.schedules:
            schedule.set(self.state.images)
        self.state.images += self.state.game.images_per_step
        for average in self.state.game.averages.values():
            average.update()


def kind_of(event: Any) -> str:
    """The kind of operator that a profiled event's own time belongs to.

    The reference's FIR is a padding and a convolution whose channels see themselves alone; a convolution of 1x1 may be
    a product of matrices inside of its operator.
    """
    chain = [event]
    while chain[-1].cpu_parent is not None:
        chain.append(chain[-1].cpu_parent)
    inside = any(caller.name.startswith("fastgan::conv2d_layer") for caller in chain)
    for caller in reversed(chain):
        kind = _kind_by_name(caller.name)
        kind = kind if kind in OWNERS else None
        if kind == "convolutions" and caller.name.startswith("aten"):
            depthwise = any(len(shape) == 4 and shape[1] == 1 for shape in caller.input_shapes or ())
            return "FIR" if depthwise else kind
        if kind is not None:
            return "convolutions" if kind == "small matrices" and inside else kind
    return _kind_by_name(event.name)


@cache
def _kind_by_name(name: str) -> str:
    return next((kind for kind, names in KINDS.items() if re.match(names, name)), "rest")


def shares(call: Callable[[], object]) -> dict[str, float]:
    """Kind of operator -> share of a call's time."""
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with silent(), torch.profiler.profile(activities=cpu, record_shapes=True) as profiled:
        call()
    times: Counter[str] = Counter()
    for event in profiled.events() or ():
        times[kind_of(event)] += event.self_cpu_time_total
    total = sum(times.values())
    return {kind: times[kind] / total for kind in (*KINDS, "rest")}


def measure(games: dict[str, Game], seconds: float) -> tuple[dict[str, dict[str, Timing]], dict[str, dict[str, float]]]:
    """Phase -> game -> its time, told as it goes; and game -> kind of operator -> milliseconds of a step."""
    intervals = next(iter(games.values())).intervals
    print(f"{'phase':24}" + "".join(f"{name:>26}" for name in games))
    timings: dict[str, dict[str, Timing]] = {}
    kinds: dict[str, dict[str, float]] = {name: dict.fromkeys((*KINDS, "rest"), 0.0) for name in games}

    def timed(phase: str, title: str, calls: dict[str, Callable[[], None]]) -> None:
        timings[phase] = interleaved(calls, seconds=seconds)
        cells = (f"{t.median:.1f} ({t.low:.1f} to {t.high:.1f})" for t in timings[phase].values())
        print(f"{title:24}" + "".join(f"{cell:>26}" for cell in cells), flush=True)

    timed(FORWARD, f"{FORWARD}, no part of it", {name: game.forward for name, game in games.items()})
    for phase, interval in intervals.items():
        title = phase if interval == 1 else f"{phase}, 1 step of {interval}"
        timed(phase, title, {name: game.phases[phase] for name, game in games.items()})
        for name, game in games.items():
            for kind, share in shares(game.phases[phase]).items():
                kinds[name][kind] += share * timings[phase][name].median / interval
    return timings, kinds


def show(kinds: dict[str, dict[str, float]]) -> None:
    """Milliseconds of a step, on average."""
    print("\na step, by kind of operator")
    for kind in (*KINDS, "rest"):
        cells = (f"{row[kind]:.1f} ({row[kind] / sum(row.values()):.0%})" for row in kinds.values())
        print(f"{kind:24}" + "".join(f"{cell:>26}" for cell in cells))
    print(f"{'step':24}" + "".join(f"{sum(row.values()):>26.1f}" for row in kinds.values()) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cfg", choices=TARGETS, default="stylegan2", help="model family")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch and of the operators")
    parser.add_argument("--seconds", type=float, default=20.0, help="spent on each phase, at least five rounds")
    for name, value in (("resolution", 64), ("batch", 8), ("channel-base", 8192), ("channel-max", 256)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if native.unavailable is not None:
        sys.exit(f"nothing to time: {native.unavailable}")
    tuned = tune_cpu_allocator()
    machine = describe_machine(torch.device("cpu"))
    print(f"{machine['device']}, {options.threads} threads, torch {machine['torch']}, {native.info}")
    busy = (os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0) > options.threads / 4
    print(f"load average before: {machine['load_average']}" + (" - BUSY: not to be quoted" if busy else ""))
    sizes = {name: getattr(options, name) for name in ("resolution", "batch", "channel_base", "channel_max")}
    print(
        f"{options.cfg}, {sizes}; allocator tuned: {tuned}; milliseconds: median (20th to 80th percentile)\n",
        flush=True,
    )
    games = {f"{by} {layout}": Game(options.cfg, by, layout, **sizes) for by in PROVIDERS for layout in LAYOUTS}
    timings, kinds = measure(games, options.seconds)
    show(kinds)
    skipped = sum(int(n) for g in games.values() for n in g.state.skipped.values())
    compared = {
        "step": {name: sum(row.values()) for name, row in kinds.items()},
        "forward": {name: timing.median for name, timing in timings[FORWARD].items()},
    }
    targets, ratios = TARGETS[options.cfg], {}
    for what, times in compared.items():
        ours, baseline = (min((n for n in times if n.startswith(by)), key=lambda n: times[n]) for by in PROVIDERS)
        ratios[what] = times[baseline] / times[ours]
        verdict = "pass" if ratios[what] >= targets.get(what, 0) else "FAIL"
        print(f"{verdict} {what}: {ours} is {ratios[what]:.2f} times as fast as {baseline}; target {targets.get(what)}")
    passed = all(ratios[what] >= target for what, target in targets.items())
    print(f"{skipped} updates left out")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        phases = {phase: {name: asdict(t) for name, t in times.items()} for phase, times in timings.items()}
        result = {"steps": compared["step"], "ratios": ratios, "targets": targets, "passed": passed, "skipped": skipped}
        record = {
            "machine": machine,
            "cfg": options.cfg,
            "allocator_tuned": tuned,
            "sizes": sizes,
            "phases": phases,
            "kinds": kinds,
            **result,
        }
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
