"""How metrics answer to known faults of images: python bench/metric_responses.py [--fashion FOLDER] [--json FILE].

One half of a set stands for the real images, the other half, made worse on purpose, for generated ones: noise, blur,
missing classes, a leak of real images. Sets: the packaged emoji at 64x64, and Fashion-MNIST in FOLDER at 32x32.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from fastgan.bench.machine import describe_machine
from fastgan.data import Dataset, ImageDataset, load_dataset
from fastgan.metrics import Evaluation
from fastgan.ops.allocation import tune_cpu_allocator

FIGURES = ("kid", "fd", "precision", "recall", "density", "coverage", "copies")


def noise(deviation: float) -> Callable[[Tensor], Tensor]:
    """Adds normal noise of so many grey levels."""

    def add(images: Tensor) -> Tensor:
        drawn = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
        return (images.float() + deviation * drawn).round().clamp(0, 255).to(torch.uint8)

    return add


def blur(side: int) -> Callable[[Tensor], Tensor]:
    """The mean over squares of so many pixels a side."""

    def average(images: Tensor) -> Tensor:
        padded = F.pad(images.float(), [side // 2] * 4, mode="replicate")
        return F.avg_pool2d(padded, side, stride=1).round().to(torch.uint8)

    return average


def halves(dataset: Dataset, most: int) -> tuple[Tensor, Tensor]:
    """Numbers of the images of two disjoint halves, at most so many in each."""
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(1))
    count = min(len(order) // 2, most)
    return order[:count], order[count : 2 * count]


def faults(dataset: Dataset, real: Tensor, other: Tensor) -> Iterator[tuple[str, Tensor]]:
    """(fault, uint8 images [n, C, H, W])."""

    def images(numbers: Tensor) -> Tensor:
        return dataset.read(numbers).permute(0, 3, 1, 2)

    yield "none", images(other)
    for deviation in (5, 15, 40):
        yield f"noise {deviation}", noise(deviation)(images(other))
    for side in (3, 5, 9):
        yield f"blur {side}", blur(side)(images(other))
    assert dataset.labels is not None
    classes = dataset.labels[other]
    for kept in (dataset.num_classes // 2, max(1, dataset.num_classes // 5)):
        stays = other[classes < kept]
        yield (
            f"{kept} of {dataset.num_classes} classes",
            images(stays.repeat(-(-len(other) // len(stays)))[: len(other)]),
        )
    yield "a quarter leaked", images(torch.cat([real[: len(real) // 4], other[len(real) // 4 :]]))


def responses(dataset: Dataset, extractor: str, most: int) -> dict[str, dict[str, float]]:
    """Fault -> figure -> value."""
    real, other = halves(dataset, most)
    names = [f"{name}_{extractor}" for name in ("kid", "fd", "pr", "dc", "copies")]
    evaluation = Evaluation(names, ImageDataset(dataset.read(real)), images=len(other))
    found = {}
    for fault, images in faults(dataset, real, other):
        figures = evaluation.evaluate(lambda count, images=images: images[:count].split(64))
        found[fault] = {figure: figures[f"{figure}_{extractor}"] for figure in FIGURES}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--fashion", type=Path)
    parser.add_argument("--extractors", nargs="+", default=["wavelet", "effnetlite0"])
    parser.add_argument("--most", type=int, default=900, help="images of each half")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    tune_cpu_allocator()
    sets = {"emoji64": load_dataset("emoji64")}
    if given.fashion is not None:
        file = given.fashion / "train-images-idx3-ubyte.gz"
        sets["Fashion-MNIST"] = load_dataset(file, resolution=(32, 32), labelled=True)
    results = {}
    for name, dataset in sets.items():
        for extractor in given.extractors:
            found = results[f"{name}, {extractor}"] = responses(dataset, extractor, given.most)
            table = Table("fault", *FIGURES, title=f"{name}, {extractor}, {given.most} images a half")
            for fault, figures in found.items():
                table.add_row(fault, *(f"{figures[figure]:.4g}" for figure in FIGURES))
            Console(width=120).print(table)
    if given.json:
        about = {"command": "python bench/metric_responses.py --fashion FOLDER", "most": given.most, "results": results}
        given.json.write_text(json.dumps({"machine": describe_machine(torch.device("cpu")), **about}, indent=1) + "\n")


if __name__ == "__main__":
    main()
