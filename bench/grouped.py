"""Times grouped 3x3 convolutions of R3GAN's shapes on this CPU: python bench/grouped.py [--json FILE].

Forward, forward and backward, and the gradient of a gradient's squared norm, as R1 takes it. The convolution alone: by
torch (oneDNN), group by group by conv2d_layer, and as products of unfolded images; then the layer with bias and leaky
ReLU: by torch, and `PlainConv2d`. Each in both memory formats, all in turns, after their results have been compared.
Exits with 1 where PlainConv2d, all shapes of a pass together, takes more than 1.1 times as long as torch's layer.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from fastgan.bench.machine import describe_machine
from fastgan.bench.timing import interleaved
from fastgan.nn.plain import PlainConv2d
from fastgan.ops import conv2d_resample, native
from fastgan.ops.allocation import tune_cpu_allocator

LIMIT = 1.1
GROUP = 16  # channels
# Images, channels inside a block, side: the default network's blocks, then those of 768 channels and of 128 pixels.
SHAPES = [(16, 64, 32), (16, 128, 16), (16, 256, 8), (16, 256, 4), (2, 1536, 16), (2, 384, 128)]
LAYOUTS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}
Form = Callable[[Tensor, PlainConv2d], Tensor]


def by_torch(x: Tensor, layer: PlainConv2d) -> Tensor:
    return F.conv2d(x, layer.weight, padding=1, groups=layer.groups)


def group_by_group(x: Tensor, layer: PlainConv2d) -> Tensor:
    pairs = zip(x.chunk(layer.groups, dim=1), layer.weight.chunk(layer.groups), strict=True)
    return torch.cat([conv2d_resample(each, w, padding=1) for each, w in pairs], dim=1)


def by_products(x: Tensor, layer: PlainConv2d) -> Tensor:
    n, _, h, w = x.shape
    columns = F.unfold(x, 3, padding=1).view(n, layer.groups, -1, h * w)
    return (layer.weight.view(1, layer.groups, GROUP, -1) @ columns).view(n, -1, h, w)


def torch_layer(x: Tensor, layer: PlainConv2d) -> Tensor:
    return F.leaky_relu(F.conv2d(x, layer.weight, layer.bias, padding=1, groups=layer.groups), 0.2)


FORMS: dict[str, Form] = {
    "convolution, torch": by_torch,
    "convolution, group by group": group_by_group,
    "convolution, products": by_products,
    "layer, torch": torch_layer,
    "layer, PlainConv2d": lambda x, layer: layer(x),
}


def forward(form: Form, x: Tensor, layer: PlainConv2d, dy: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return [form(x, layer)]


def backward(form: Form, x: Tensor, layer: PlainConv2d, dy: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(form(x, layer), [x, layer.weight], dy))


def second(form: Form, x: Tensor, layer: PlainConv2d, dy: Tensor) -> list[Tensor]:
    (dx,) = torch.autograd.grad(form(x, layer), x, dy, create_graph=True)
    return list(torch.autograd.grad(dx.square().sum(), [dy, layer.weight]))


PASSES = {"forward": forward, "forward+backward": backward, "double backward": second}


def calls(shape: tuple[int, int, int], name: str) -> dict[str, Callable[[], object]]:
    """The pass by each form in both memory formats; their results are those of torch."""
    n, channels, side = shape
    torch.manual_seed(0)
    layer = PlainConv2d(channels, channels, 3, groups=channels // GROUP, act="lrelu")
    made: dict[str, Callable[[], object]] = {}
    images, gradient = (torch.randn(n, channels, side, side) for _ in range(2))
    for layout, memory_format in LAYOUTS.items():
        x, dy = (t.to(memory_format=memory_format).requires_grad_() for t in (images, gradient))
        for title, form in FORMS.items():
            exact = PASSES[name](torch_layer if title.startswith("layer") else by_torch, x, layer, dy)
            for mine, theirs in zip(PASSES[name](form, x, layer, dy), exact, strict=True):
                if (mine - theirs).norm() > 1e-4 * theirs.norm():
                    sys.exit(f"{title}, {layout}, {name} at {shape} is wrong")
            made[f"{title}, {layout}"] = lambda form=form, x=x, dy=dy: PASSES[name](form, x, layer, dy)
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch and of the operators")
    parser.add_argument("--seconds", type=float, default=8.0, help="spent on each pass of each shape")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if native.unavailable is not None:
        sys.exit(f"nothing to time: {native.unavailable}")
    tuned = tune_cpu_allocator()
    machine = describe_machine(torch.device("cpu"))
    busy = (os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0) > options.threads / 4
    print(f"{machine['device']}, {options.threads} threads, torch {machine['torch']}; groups of {GROUP} channels")
    print(f"load average before: {machine['load_average']}" + (" - BUSY: ratios only" if busy else "") + "\n")
    results, totals = [], {(name, title): 0.0 for name in PASSES for title in FORMS}
    for shape in SHAPES:
        for name in PASSES:
            timings = interleaved(calls(shape, name), seconds=options.seconds)
            best = {title: min(timings[f"{title}, {layout}"].median for layout in LAYOUTS) for title in FORMS}
            ratios = {title: best[title] / best[f"{title.partition(',')[0]}, torch"] for title in FORMS}
            for title in FORMS:
                totals[name, title] += best[title]
            told = "  ".join(f"{title} {ratio:.2f}" for title, ratio in ratios.items() if not title.endswith("torch"))
            print(f"{'×'.join(map(str, shape)):12} {name:17} times torch's: {told}", flush=True)
            timed = {title: asdict(timing) for title, timing in timings.items()}
            results.append({"shape": list(shape), "pass": name, "ratios": ratios, "timings": timed})
    overall = {name: totals[name, "layer, PlainConv2d"] / totals[name, "layer, torch"] for name in PASSES}
    passed = max(overall.values()) <= LIMIT
    told = ", ".join(f"{name} {ratio:.2f}" for name, ratio in overall.items())
    print(f"\n{'pass' if passed else 'FAIL'} PlainConv2d, all shapes, times torch's layer: {told}; at most {LIMIT}")
    if options.json:
        record = {"machine": machine, "threads": options.threads, "group": GROUP, "busy": busy, "limit": LIMIT}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(
            record | {"allocator_tuned": tuned, "overall": overall, "passed": passed, "results": results}, indent=1
        )
        options.json.write_text(text + "\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
