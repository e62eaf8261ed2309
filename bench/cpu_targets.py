"""Times the operators on this CPU against their targets: python bench/cpu_targets.py [--json FILE].

A target is a ratio of medians taken in one run whose calls take turns: bias_act against clones of the tensors that it
reads, upfirdn2d against a clone of half of all bytes that it reads and writes, and against the fastest plain torch
composition; filtered_lrelu, as layers of StyleGAN3 have it, against the fastest of those; the layers of StyleGAN2,
modulation to clamp, and their convolution alone against torch's convolution in the faster of both memory formats. The
allocator is tuned first: fresh pages would otherwise cost every call more than its arithmetic. Exits with 1 if a target
is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fastgan.bench.conv2d_layer import cases as layer_cases
from fastgan.bench.filtered_lrelu import cases as filtered_cases
from fastgan.bench.timing import Timing, interleaved, quickest
from fastgan.bench.upfirdn2d_compositions import COMPOSITIONS
from fastgan.ops import bias_act, conv2d_resample, native, setup_filter, upfirdn2d
from fastgan.ops.allocation import tune_cpu_allocator

SHAPE = (8, 64, 64, 64)
FORMATS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}
LAYER_SHAPE = (4, 128, 64, 64)
BIAS_ACT_LIMIT, UPFIRDN2D_LIMIT, COMPOSITION_LIMIT = 1.3, 2.0, 1.0
LAYER_LIMIT, CONVOLUTION_LIMIT = 1.05, 0.7
FILTERED_SHAPE, FILTERED_LIMIT = (4, 64, 54, 54), 0.2
ARGUMENTS = {
    "up 2": {"up": 2, "padding": [2, 1, 2, 1], "gain": 4},
    "down 2": {"down": 2, "padding": 1},
    "filter": {"padding": [2, 1, 2, 1]},
}


@dataclass(frozen=True)
class Row:
    """One line of the table; times in milliseconds."""

    case: str
    against: str
    ours: Timing
    baseline: Timing
    ratio: float
    target: float

    @property
    def passed(self) -> bool:
        return self.ratio <= self.target


def step(call: Callable[[], Tensor], wanted: list[Tensor], dy: Tensor | None) -> Callable[[], object]:
    """The call alone without gradients, or followed by its backward from dy."""

    def forward() -> object:
        with torch.no_grad():
            return call()

    return forward if dy is None else lambda: torch.autograd.grad(call(), wanted, dy)


def copies(*sizes: int) -> Callable[[], object]:
    """Clones of float32 tensors with the given numbers of elements, all alive at the end."""
    sources = [torch.randn(size) for size in sizes]
    return lambda: [source.clone() for source in sources]


def bias_act_rows(layout: str, seconds: float) -> list[Row]:
    x = torch.randn(SHAPE).contiguous(memory_format=FORMATS[layout]).requires_grad_()
    b = torch.randn(SHAPE[1]).requires_grad_()
    rows = []
    for name, dy in (("forward", None), ("forward+backward", torch.randn_like(x))):
        call = step(lambda: bias_act(x, b, act="lrelu"), [x, b], dy)
        sizes = [x.numel()] if dy is None else [x.numel()] * 2
        times = interleaved({"ours": call, "clone": copies(*sizes)}, seconds=seconds, least_rounds=30)
        rows.append(row(f"bias_act lrelu {layout} {name}", times, "clone", BIAS_ACT_LIMIT))
    return rows


def upfirdn2d_rows(kind: str, layout: str, seconds: float) -> list[Row]:
    x = torch.randn(SHAPE).contiguous(memory_format=FORMATS[layout]).requires_grad_()
    f = setup_filter([1, 3, 3, 1])
    sources = {name: x.detach().contiguous(memory_format=form).requires_grad_() for name, form in FORMATS.items()}
    rows = []
    for name in ("forward", "forward+backward"):
        y = upfirdn2d(x, f, **ARGUMENTS[kind]).detach()
        dy = None if name == "forward" else torch.randn_like(y)
        moved = (x.numel() + y.numel()) // 2
        calls = {
            "ours": step(lambda: upfirdn2d(x, f, **ARGUMENTS[kind]), [x], dy),
            "copy": copies(moved) if dy is None else copies(moved, moved),
        }
        for way, composition in COMPOSITIONS[kind].items():
            for source_layout, source in sources.items():
                calls[f"{way} {source_layout}"] = step(lambda c=composition, s=source: c(s), [source], dy)
        fastest = quickest({key: call for key, call in calls.items() if key not in ("ours", "copy")})
        calls = {key: calls[key] for key in ("ours", "copy", fastest)}
        times = interleaved(calls, seconds=seconds, least_rounds=30)
        case = f"upfirdn2d {kind} {layout} {name}"
        rows.append(row(case, times, "copy", UPFIRDN2D_LIMIT))
        rows.append(row(case, times, fastest, COMPOSITION_LIMIT))
    return rows


def filtered_rows(kind: str, seconds: float) -> list[Row]:
    """A non-linearity of StyleGAN3 between its filters, forward, and with the gradients of x and b."""
    case = next(case for case in filtered_cases(FILTERED_SHAPE) if case.kind == kind)
    i = case.inputs(torch.float32, "nchw", torch.device("cpu"))
    wanted, rows = list(i.leaves("x", "b").values()), []
    for name, dy in (("forward", None), ("forward+backward", i.dy)):
        ours = step(lambda: case.function(i), wanted, dy)
        ways = {way: step(lambda call=call: call(i), wanted, dy) for way, call in case.compositions.items()}
        fastest = quickest(ways)
        times = interleaved({"ours": ours, fastest: ways[fastest]}, seconds=seconds, least_rounds=5)
        rows.append(row(f"filtered_lrelu {kind} {name}", times, fastest, FILTERED_LIMIT))
    return rows


def layer_rows(kind: str, seconds: float) -> list[Row]:
    """A whole layer forward and backward, all its gradients wanted; for "3x3", its convolution alone, forward."""
    case = next(case for case in layer_cases(LAYER_SHAPE) if case.kind == ("G 3x3" if kind == "3x3" else kind))
    i = case.inputs(torch.float32, "nchw", torch.device("cpu"))
    x, w = i.x, i.leaves("w")["w"]
    wanted = list(i.leaves("x", "b", "w", "styles", "noise").values())
    if kind == "3x3":
        what, limit, ours = "3x3 forward", CONVOLUTION_LIMIT, step(lambda: conv2d_resample(x, w, padding=1), [], None)
    else:
        what, limit, ours = f"{kind} forward+backward", LAYER_LIMIT, step(lambda: case.function(i), wanted, i.dy)
    torch_forms: dict[str, Callable[[], object]] = {}
    for layout, form in FORMATS.items():
        leaves = [t.detach().contiguous(memory_format=form).requires_grad_() for t in (x, w, i.dy)]
        dy = None if kind == "3x3" else leaves[2]
        torch_forms[f"F.conv2d {layout}"] = step(lambda of=leaves: F.conv2d(of[0], of[1], padding=1), leaves[:2], dy)
    fastest = quickest(torch_forms)
    times = interleaved({"ours": ours, fastest: torch_forms[fastest]}, seconds=seconds, least_rounds=30)
    return [row(f"conv2d_layer {what}", times, fastest, limit)]


def row(case: str, times: dict[str, Timing], against: str, target: float) -> Row:
    ours, baseline = times["ours"], times[against]
    return Row(case, against, ours, baseline, ours.median / baseline.median, target)


def machine() -> dict[str, Any]:
    names = [line.split(":")[1].strip() for line in cpuinfo() if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "native": native.info,
        "load_average": round(load_average(), 2),
        "shape": list(SHAPE),
        "layer_shape": list(LAYER_SHAPE),
    }


def load_average() -> float:
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def show(rows: list[Row], about: dict[str, Any], tuned: bool) -> None:
    print(f"{about['processor']}, {about['threads']} threads, torch {about['torch']}, {native.info}")
    print(f"float32 {SHAPE}, layers {LAYER_SHAPE}, filtered_lrelu {FILTERED_SHAPE}")
    print(f"allocator tuned: {tuned}; milliseconds: median (20th to 80th percentile)")
    load, threads = about["load_average"], about["threads"]
    print(
        f"load average before: {load}"
        + (" - BUSY: these ratios are not to be quoted\n" if load > threads / 4 else "\n")
    )
    for r in rows:
        ours, base = (f"{t.median:7.3f} ({t.low:.3f} to {t.high:.3f})" for t in (r.ours, r.baseline))
        verdict = "pass" if r.passed else "FAIL"
        print(f"{verdict} {r.case:43} {ours:26}  {r.against:40} {base:26}  ratio {r.ratio:5.2f}  target {r.target}")
    print(f"\n{sum(r.passed for r in rows)} of {len(rows)} targets met")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the table to this file too")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch and of the operators")
    parser.add_argument("--seconds", type=float, default=1.0, help="spent on each measurement")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if native.unavailable is not None:
        sys.exit(f"nothing to time: {native.unavailable}")
    tuned = tune_cpu_allocator()
    about = machine()
    rows: list[Row] = []
    for layout in FORMATS:
        if options.only in f"bias_act {layout}":
            rows += bias_act_rows(layout, options.seconds)
        for kind in ARGUMENTS:
            if options.only in f"upfirdn2d {kind} {layout}":
                rows += upfirdn2d_rows(kind, layout, options.seconds)
    for kind in ("T", "T up 2", "R", "R up 2"):
        if options.only in f"filtered_lrelu {kind}":
            rows += filtered_rows(kind, options.seconds)
    for kind in ("3x3", "G 3x3", "D 3x3"):
        if options.only in f"conv2d_layer {kind}":
            rows += layer_rows(kind, options.seconds)
    show(rows, about, tuned)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        record = {"machine": about, "allocator_tuned": tuned, "rows": [{**asdict(r), "passed": r.passed} for r in rows]}
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0 if all(r.passed for r in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
