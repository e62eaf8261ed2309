"""What a metric costs beside its extractor, and its memory: python bench/metric_speed.py [--json FILE].

Told for each extractor: images a second of its own forward pass, of the moments that a Fréchet distance takes, of rows,
and of a whole kernel distance of 1024 images (real features known, drawing of images not counted), the ratios, and the
peak of memory with a quarter of the images and with all, each in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastgan.bench.machine import describe_machine
from fastgan.data import ImageDataset
from fastgan.metrics import Evaluation
from fastgan.metrics.extraction import BATCH, Key, extracted
from fastgan.metrics.extractors import make_extractor
from fastgan.metrics.samples import Rows, Streamed
from fastgan.ops.allocation import tune_cpu_allocator

COUNTS = {"wavelet": 16_384, "effnetlite0": 512}
DISTANCE = 1024  # images of a kernel distance, whose matrices grow by their square
SIDE = 64


def batches(count: int) -> Iterator[Tensor]:
    images = torch.randint(
        0, 256, (BATCH, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    for _ in range(count // BATCH):
        yield images


def seconds(name: str, count: int) -> dict[str, float]:
    """Of an image, best of three in turns: the extractor's own, with moments, with all rows, with a whole metric."""
    extractor = make_extractor(name)
    reals = ImageDataset(torch.cat(list(batches(DISTANCE))).permute(0, 2, 3, 1).contiguous())
    evaluation = Evaluation([f"kid_{name}"], reals, images=DISTANCE, extractors={name: extractor})
    evaluation.evaluate(batches)

    def forward() -> None:
        for images in batches(count):
            extractor(images)

    def kept(features: Any) -> None:
        extracted(batches(count), [Key(features, name, count)], {name: extractor})

    ways = {
        "forward": (forward, count),
        "moments": (lambda: kept(Streamed), count),
        "rows": (lambda: kept(Rows), count),
        f"kid_{name}": (lambda: evaluation.evaluate(batches), DISTANCE),
    }
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(3):
        for way, (run, images) in ways.items():
            begin = time.perf_counter()
            run()
            best[way] = min(best[way], (time.perf_counter() - begin) / images)
    return best


def peak(name: str, count: int) -> int:
    """Peak memory of a process that takes in the moments of so many images, MiB."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_moments, (name, count))


def _moments(name: str, count: int) -> int:
    tune_cpu_allocator()
    extracted(batches(count), [Key(Streamed, name, count)], {name: make_extractor(name)})
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--extractors", nargs="+", default=list(COUNTS), choices=COUNTS)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    tune_cpu_allocator()  # as `fastgan metrics` and `fastgan train` do
    results = {}
    for name in given.extractors:
        count = COUNTS[name]
        spent = seconds(name, count)
        found: dict[str, Any] = {f"{way} img/s": 1 / each for way, each in spent.items()}
        found |= {f"{way} / forward": spent["forward"] / each for way, each in spent.items() if way != "forward"}
        found |= {"images": count, "peak MiB, a quarter and all": [peak(name, count // 4), peak(name, count)]}
        results[name] = found
        print(name, json.dumps(found), flush=True)
    if given.json:
        about = {"command": "python bench/metric_speed.py", "side": SIDE, "results": results}
        given.json.write_text(json.dumps({"machine": describe_machine(torch.device("cpu")), **about}, indent=1) + "\n")


if __name__ == "__main__":
    main()
