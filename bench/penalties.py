"""Times gradient penalties of StyleGAN2's discriminator on this CPU: python bench/penalties.py [--json FILE].

D of 64x64 images with 8192 / resolution channels, at most 256, and 8 images: a penalty and the gradients of all of D's
parameters, as the training loop takes them. In turns: the default providers with autograd through the gradient, in both
memory formats; the same as one compiled graph (`losses.explicit`); and autograd through `provider("reference")`, in
both formats. Exits with 1 where the faster of ours is less than 1.5 times as fast as the faster of the reference.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path

import torch

from fastgan.bench.machine import describe_machine
from fastgan.bench.timing import interleaved
from fastgan.choices import PENALTIES, chosen
from fastgan.losses import Evaluated, Labelled, Penalty
from fastgan.losses.explicit import explicit
from fastgan.models.registry import build
from fastgan.ops import native, provider
from fastgan.ops.allocation import tune_cpu_allocator

TARGET = 1.5
LAYOUTS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}
REFERENCE = "reference"
OURS = ("native", "native, explicit")


def calls(name: str, batch: int, sizes: dict[str, int], with_explicit: bool) -> dict[str, Callable[[], None]]:
    """The penalty with its backward pass, by who serves it and the memory format."""
    penalty: Penalty = chosen(PENALTIES, name)
    made: dict[str, Callable[[], None]] = {}
    for layout, memory_format in LAYOUTS.items():
        torch.manual_seed(0)
        D = build("stylegan2", **sizes)[2].to(memory_format=memory_format)  # type: ignore[call-overload]
        side = sizes["resolution"]
        real, fake = (Labelled(torch.randn(batch, 3, side, side).to(memory_format=memory_format), None) for _ in "ab")

        def value(x: torch.Tensor, D=D) -> torch.Tensor:
            return penalty(Evaluated(x, D(x, None)))

        compiled = explicit(value)
        for by, form in ((OURS[0], value), (OURS[1], compiled), (REFERENCE, value)):
            if by == OURS[1] and (layout == "channels_last" or not with_explicit):
                continue  # channels_last is no better than NCHW here, and takes minutes to compile
            context = (lambda: provider("reference")) if by == REFERENCE else nullcontext

            def call(
                context: Callable[[], AbstractContextManager] = context, form=form, D=D, real=real, fake=fake
            ) -> None:
                with context():
                    x = penalty.place(real, lambda: fake).images.detach().requires_grad_(True)
                    form(x).mean().backward(inputs=list(D.parameters()))
                for parameter in D.parameters():
                    parameter.grad = None

            made[f"{by} {layout}"] = call
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch and of the operators")
    parser.add_argument("--seconds", type=float, default=60.0, help="spent on each penalty, at least five rounds")
    parser.add_argument("--penalties", nargs="+", choices=PENALTIES, default=["r1", "wgan-gp"])
    parser.add_argument("--no-explicit", action="store_true", help="leave the compiled form out")
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
    sizes = {name: getattr(options, name) for name in ("resolution", "channel_base", "channel_max")}
    print(f"{sizes}, batch {options.batch}; allocator tuned: {tuned}; milliseconds: median (20th to 80th percentile)\n")
    results, passed = {}, True
    for name in options.penalties:
        timings = interleaved(calls(name, options.batch, sizes, not options.no_explicit), seconds=options.seconds)
        for title, t in timings.items():
            print(f"{name:10}{title:30}{t.median:10.1f} ({t.low:.1f} to {t.high:.1f})", flush=True)
        best = {
            by: min(t.median for title, t in timings.items() if title.rpartition(" ")[0] == by)
            for by in (OURS[0], REFERENCE)
        }
        ratio = best[REFERENCE] / best[OURS[0]]
        passed = passed and ratio >= TARGET
        verdict = "pass" if ratio >= TARGET else "FAIL"
        print(f"{verdict} {name}: {ratio:.2f} times as fast as the reference; target {TARGET}\n")
        results[name] = {"ratio": ratio, "timings": {title: asdict(t) for title, t in timings.items()}}
    if options.json:
        record = {"machine": machine, "sizes": sizes, "batch": options.batch, "target": TARGET, "penalties": results}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(record | {"allocator_tuned": tuned, "passed": passed}, indent=1) + "\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
