"""Train on synthetic, test on real: what a classifier learns of generated images.

A generator that blurs its classes, or makes few kinds of images of each, teaches less than real images do. Sources:
Esteban et al. 2017, section 4; Ravuri & Vinyals 2019 (classification accuracy score).
"""

from __future__ import annotations

import math
import statistics
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastgan.metrics.comparison import Interval

_SIDE = 32  # pixels that the classifier sees of a side, at most
_STEPS, _BATCH, _RATE = 500, 64, 2e-3


class Classifier(nn.Sequential):
    """Logits [N, classes] of images [N, channels, *size]: three convolutions, each of which halves the sides."""

    def __init__(self, channels: int, size: tuple[int, int], classes: int) -> None:
        height, width = (-(-side // 8) for side in size)
        super().__init__(
            *(nn.Conv2d(channels, 32, 3, 2, padding=1), nn.ReLU()),
            *(nn.Conv2d(32, 64, 3, 2, padding=1), nn.ReLU()),
            *(nn.Conv2d(64, 64, 3, 2, padding=1), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(64 * height * width, classes)),
        )


def synthetic_training(
    generated: tuple[Tensor, Tensor],
    real: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    device: torch.device | str = "cpu",
) -> dict[str, float]:
    """Accuracy on real images of a classifier that was trained on generated ones, and of one that was on real ones.

    Both have the same first weights, the same 500 steps of 64 images, and see images of more than 32 pixels a side as
    means over areas. The same images give the same figures, on a CPU of the same number of threads to the bit.

    Args:
        generated: uint8 [N, C, H, W] and int64 [N], images and their classes.
        real: likewise, as many.
        test: likewise, [M, C, H, W] and [M], images that the generator was not trained on, of classes among those of
            `real`.
        device: where to train.

    Returns:
        "tstr" (trained on synthetic, tested on real) and "trtr", shares of `test`, each with "<figure>_low" and
        "<figure>_high", between which 95 % lie for other test images of the same kind: the chance of training is not in
        them.

    Raises:
        TypeError, ValueError: other tensors, sizes or classes, or too few images.
    """
    sets = {"real": real, "generated": generated, "test": test}
    for name, (images, labels) in sets.items():
        _check(name, images, labels, real[0])
    if len(generated[0]) != len(real[0]):
        raise ValueError(f"generated must be as many images as real, {len(real[0])}, got {len(generated[0])}")
    classes = real[1].unique()
    if len(classes) < 2:
        raise ValueError(f"real must be of at least 2 classes, got {len(classes)}")
    for name, (_, labels) in sets.items():
        if unknown := sorted(set(labels.tolist()) - set(classes.tolist())):
            raise ValueError(f"{name} must be of the classes of real, {_listed(classes)}; got also {_listed(unknown)}")
    pictures, numbers = _prepared(test[0], device), torch.searchsorted(classes, test[1])
    figures: dict[str, float] = {}
    for figure, (images, labels) in (("tstr", generated), ("trtr", real)):
        network = _trained(_prepared(images, device), torch.searchsorted(classes, labels), len(classes))
        with torch.no_grad():
            found = torch.cat([network(part).argmax(dim=1) for part in pictures.split(500)]).cpu()
        value, low, high = share(int((found == numbers).sum()), len(numbers))
        figures |= {figure: value, f"{figure}_low": low, f"{figure}_high": high}
    return figures


def share(hits: int, count: int) -> Interval:
    """hits / count, with the 95 % interval of a binomial's share. Source: Wilson 1927.

    Args:
        hits: of `count`.
        count: at least 1.
    """
    z, value = statistics.NormalDist().inv_cdf(0.975), hits / count
    middle = (value + z * z / (2 * count)) / (1 + z * z / count)
    width = z * math.sqrt(value * (1 - value) / count + (z / (2 * count)) ** 2) / (1 + z * z / count)
    return Interval(value, max(middle - width, 0.0), min(middle + width, 1.0))


def _trained(images: Tensor, labels: Tensor, classes: int) -> Classifier:
    """A classifier of images [N, C, H, W]; torch's own random numbers stay where they are."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        network = Classifier(images.shape[1], (images.shape[2], images.shape[3]), classes).float().to(images.device)
    draw = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(network.parameters(), _RATE)
    labels = labels.to(images.device)
    with torch.enable_grad(), torch.backends.cudnn.flags(deterministic=True, benchmark=False, allow_tf32=False):
        for step in range(_STEPS):
            optimizer.param_groups[0]["lr"] = _RATE * (1 - step / _STEPS)
            drawn = torch.randint(len(images), (_BATCH,), generator=draw).to(images.device)
            loss = F.cross_entropy(network(images[drawn]), labels[drawn])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network


def _prepared(images: Tensor, device: torch.device | str) -> Tensor:
    """float32 in [-1, 1], on the device, of 32 pixels a side at most."""
    size = (min(images.shape[2], _SIDE), min(images.shape[3], _SIDE))
    parts = [F.adaptive_avg_pool2d(part.float() / 127.5 - 1, size) for part in images.split(500)]
    return torch.cat(parts).to(device)


def _check(name: str, images: Any, labels: Any, like: Tensor) -> None:
    for what, tensor, dtype in (("images", images, torch.uint8), ("labels", labels, torch.int64)):
        if not isinstance(tensor, Tensor) or tensor.dtype != dtype:
            got = getattr(tensor, "dtype", type(tensor))
            raise TypeError(f"{what} of {name} must be a tensor of {dtype}, got {got}")
    if images.ndim != 4 or not len(images):
        raise ValueError(f"images of {name} must be [N, C, H, W], N at least 1, got {list(images.shape)}")
    if images.shape[1:] != like.shape[1:]:
        raise ValueError(
            f"images of {name} must be of [C, H, W]={list(like.shape[1:])} to match real, got {list(images.shape[1:])}"
        )
    if labels.shape != (len(images),):
        raise ValueError(f"labels of {name} must have shape [{len(images)}], one an image, got {list(labels.shape)}")


def _listed(classes: Any) -> str:
    return ", ".join(str(int(each)) for each in classes)
