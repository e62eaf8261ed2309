"""Histograms of classes, of images that can be told at a glance."""

from __future__ import annotations

import pytest
import torch

from fastgan.data import ImageDataset
from fastgan.metrics.by_class import class_shares
from fastgan.metrics.extractors import make_extractor


def shades(*levels: int) -> torch.Tensor:
    """Plain images with a little noise, uint8 [n, 8, 8, 3]."""
    noise = torch.randint(0, 4, (len(levels), 8, 8, 3))
    return (torch.tensor(levels)[:, None, None, None] + noise).to(torch.uint8)


def test_shares_are_those_of_the_nearest_real_images() -> None:
    labels = torch.tensor([0] * 6 + [1] * 3 + [2] * 3)
    reals = ImageDataset(shades(*[0] * 6, *[120] * 3, *[240] * 3), labels=labels, class_names=("dark", "grey", "light"))
    fakes = shades(*[2] * 5, *[235] * 15).permute(0, 3, 1, 2)
    found = class_shares(fakes.split(7), reals, make_extractor("wavelet"))
    assert found.generated.tolist() == [0.25, 0, 0.75] and found.real.tolist() == [0.5, 0.25, 0.25]
    assert (found.generated_images, found.real_images) == (20, 12)


def test_a_real_image_is_not_its_own_neighbour_and_its_twin_may_be() -> None:
    same = shades(0, 120).repeat(2, 1, 1, 1)  # each twice, once of either class
    reals = ImageDataset(same, labels=torch.tensor([0, 0, 1, 1]), class_names=("a", "b"))
    found = class_shares([same.permute(0, 3, 1, 2)], reals, make_extractor("wavelet"))
    assert found.real.tolist() == [0.5, 0.5]
    alone = ImageDataset(shades(0, 120), labels=torch.tensor([0, 1]), class_names=("a", "b"))
    assert class_shares([same.permute(0, 3, 1, 2)], alone, make_extractor("wavelet")).real.tolist() == [0.5, 0.5]


def test_a_set_without_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="must have classes"):
        class_shares([shades(0).permute(0, 3, 1, 2)], ImageDataset(shades(0, 9)), make_extractor("wavelet"))
