"""Times training steps on a GPU: python bench/gpu_training.py [--json FILE] [--minutes N] [SIZE ...].

Every update of a step (of G, of D, a lazy penalty, the moving average) by the training loop's own pieces, one after the
other without waiting for the host, until the share of the time is over; a step is the sum of their times, each divided
by its interval. In turns: the networks on `provider("reference")`, eager and with G and D compiled (a penalty of a
compiled network is refused by torch), on the default providers' CUDA kernels (`provider("native")`), eager and replayed
as CUDA graphs. Told are seconds for 1000 images and the peak of allocated memory. The file is written anew after each
row. `--device cpu` with small `--batch` and `--resolution` tries it without a GPU; nothing is replayed there.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from fastgan.bench.machine import describe_machine
from fastgan.config.options import replace
from fastgan.data import ImageDataset
from fastgan.models.registry import build, family
from fastgan.ops import provider
from fastgan.train.games.noise import play
from fastgan.train.graphs import graphs_on
from fastgan.train.state import TrainState
from fastgan.train.step import others_frozen, update

_WARM_UP = 5  # calls before the first that is timed: the fourth is recorded


class Size(NamedTuple):
    """A family, the side of its images, images a step, and the channels' base."""

    family: str
    resolution: int
    batch: int
    channel_base: int


SIZES = {
    "stylegan2-256": Size("stylegan2", 256, 16, 16384),
    "stylegan3-t-256": Size("stylegan3-t", 256, 32, 32768),
    "stylegan3-r-256": Size("stylegan3-r", 256, 32, 32768),
    "stylegan2-1024": Size("stylegan2", 1024, 4, 32768),
}
# row -> provider, whether networks are compiled, whether updates are replayed
ROWS = {
    "native, graphs": ("native", False, True),
    "native": ("native", False, False),
    "reference": ("reference", False, False),
    "reference, compiled": ("reference", True, False),
}


def step(size: Size, row: str, device: torch.device, seconds: float) -> dict[str, Any]:
    """Milliseconds of each update, seconds for 1000 images, GiB at the peak."""
    named, compiled, replayed = ROWS[row]
    torch.manual_seed(0)
    options = replace(family(size.family).options(), "training", batch=size.batch)
    networks = build(size.family, resolution=size.resolution, channel_base=size.channel_base)[1:]
    for network in networks:
        network.to(device, memory_format=torch.channels_last)
        if compiled:
            network.compile()
    images = torch.randint(0, 256, (64, size.resolution, size.resolution, 3), dtype=torch.uint8)
    game = play(dict(zip("GD", networks, strict=True)), options, {"image": ImageDataset(images).to(device)}, device)
    state = TrainState(game, graphs=graphs_on(device, replayed))
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    updates, intervals = {}, {}
    for player in game.players:
        for terms in player.stages(0):

            def work(player=player, terms=terms) -> None:
                with others_frozen(player, game.players):
                    batches = [player.source.next()]
                    state.graphs(terms[0].name, partial(update, player, terms, state=state), batches)

            updates[terms[0].name], intervals[terms[0].name] = work, terms[0].interval
    averages = list(game.averages.values())
    updates["average"] = lambda: state.graphs("average", lambda _: [each.update() for each in averages] and None, [])
    took: dict[str, Any] = {}
    with provider(named):
        for name, work in updates.items():
            try:
                took[name] = milliseconds(work, device, seconds / len(updates))
            except RuntimeError as error:  # the message of torch.compile's refusal, or of too little memory
                took[name] = str(error).splitlines()[0]
    told: dict[str, Any] = {"updates": took, "notes": state.graphs.notes}
    if all(isinstance(each, float) for each in took.values()):
        told["s_per_kimg"] = sum(took[name] / intervals.get(name, 1) for name in took) / size.batch
    if cuda:
        told["peak_gib"] = torch.cuda.max_memory_allocated(device) / 2**30
    return told


def milliseconds(work: Any, device: torch.device, seconds: float) -> float:
    """Of one call among many that follow each other."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    for _ in range(_WARM_UP):
        work()
    wait()
    begin, calls = time.perf_counter(), 0
    while calls < 3 or time.perf_counter() - begin < seconds:
        for _ in range(3):
            work()
        calls += 3
        wait()
    return 1e3 * (time.perf_counter() - begin) / calls


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", metavar="SIZE", help=f"of {', '.join(SIZES)}; default: all")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=8.0, help="for all rows, compilation not counted")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    for name in ("resolution", "batch", "channel-base"):
        parser.add_argument(f"--{name}", type=int, help="in place of the size's own")
    options = parser.parse_args()
    for name in options.sizes:
        if name not in SIZES:
            parser.error(f"SIZE must be one of {', '.join(SIZES)}; got {name!r}")
    device, names = torch.device(options.device), options.sizes or list(SIZES)
    changed = {field: value for field in Size._fields if (value := getattr(options, field, None)) is not None}
    record: dict[str, Any] = {"machine": describe_machine(device), "complete": False, "sizes": {}}
    print(record["machine"]["device"], flush=True)
    for name in names:
        size = SIZES[name]._replace(**changed)
        rows = record["sizes"][name] = {"size": size._asdict(), "rows": {}}
        for row in options.rows:
            told = rows["rows"][row] = step(size, row, device, 60 * options.minutes / len(names) / len(options.rows))
            figure = f"{told['s_per_kimg']:.2f} s/kimg" if "s_per_kimg" in told else "no whole step"
            peak = f", {told['peak_gib']:.2f} GiB" if "peak_gib" in told else ""
            each = ", ".join(
                f"{n} {ms:.1f} ms" if isinstance(ms, float) else f"{n}: {ms}" for n, ms in told["updates"].items()
            )
            print(f"{name:18}{row:22}{figure}{peak}; {each}", flush=True)
            record["complete"] = name == names[-1] and row == options.rows[-1]
            if options.json:
                options.json.parent.mkdir(parents=True, exist_ok=True)
                options.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
