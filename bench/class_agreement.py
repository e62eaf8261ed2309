"""How often an independent classifier sees the class that was asked of a conditional generator.

    python bench/class_agreement.py --train train-images-idx3-ubyte.gz --test t10k-images-idx3-ubyte.gz \
        --network runs/one runs/two [--json FILE]

A small convolutional network learns the classes from the real training images; its accuracy on the real test images
bounds what can be asked of samples. Then each generator makes the same number of images of every class, untruncated.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastgan.data import Batches, Dataset, load_dataset
from fastgan.generate import Sampler
from fastgan.ops.allocation import tune_cpu_allocator


def classifier(channels: int, classes: int) -> nn.Module:
    """[N, C, 32, 32] -> [N, classes]: four convolutions and two linear layers."""
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
        nn.Conv2d(64, 64, 3, stride=2, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * 8 * 8, 128), nn.ReLU(), nn.Linear(128, classes),
    )  # fmt: skip


def learn(dataset: Dataset, epochs: int, batch: int = 128) -> nn.Module:
    """The classifier of a labelled set, learned with Adam and a learning rate that falls to zero."""
    network = classifier(dataset.channels, dataset.num_classes)
    source = Batches(dataset, batch, seed=0)
    steps = epochs * len(dataset) // batch
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(steps):
        images, labels = source.next().values()
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()
        schedule.step()
    return network.eval()


@torch.no_grad()
def predicted(network: nn.Module, images: Tensor) -> Tensor:
    """The class of each of uint8 [N, C, H, W]."""
    return torch.cat([network(part.float() / 127.5 - 1).argmax(1) for part in images.split(500)])


def agreement(network: nn.Module, sampler: Sampler, each: int) -> list[float]:
    """The share of `each` images of every class in which the classifier sees that class."""
    shares = []
    for index in range(sampler.G.num_classes):
        images = sampler.images(range(index * each, (index + 1) * each), class_index=index, batch_size=50)
        shares.append(float((predicted(network, images) == index).float().mean()))
    return shares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True, help="labelled set that the classifier learns from")
    parser.add_argument("--test", required=True, help="labelled set on which it is tested")
    parser.add_argument("--network", nargs="+", type=Path, required=True, help="checkpoints or folders of runs")
    parser.add_argument("--each", type=int, default=200, help="images of each class")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    tune_cpu_allocator()
    torch.manual_seed(0)
    began = time.monotonic()
    network = learn(load_dataset(options.train, resolution=(32, 32)), options.epochs)
    test = load_dataset(options.test, resolution=(32, 32))
    assert test.labels is not None
    seen = predicted(network, test.read(torch.arange(len(test))).permute(0, 3, 1, 2))
    accuracy = float((seen == test.labels).float().mean())
    print(f"classifier: {accuracy:.2%} of {len(test)} real test images, learned in {time.monotonic() - began:.0f} s")
    result: dict[str, Any] = {"torch": torch.__version__, "machine": platform.machine(), "real_accuracy": accuracy}
    for path in options.network:
        shares = agreement(network, Sampler.from_checkpoint(path), options.each)
        mean = sum(shares) / len(shares)
        result[path.name] = {"agreement": mean, "by_class": shares, "images_of_each_class": options.each}
        print(f"{path}: {mean:.2%} of {options.each} images a class; by class " + " ".join(f"{s:.0%}" for s in shares))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
