"""Diversity of generated images: sets made with so many different images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastgan.data import load_dataset
from fastgan.metrics import diversity


def faces(count: int = 48, size: int = 32) -> Tensor:
    dataset = load_dataset("emoji64", resolution=(size, size))
    return dataset.read(torch.arange(count) * len(dataset) // count).permute(0, 3, 1, 2)


def both(real: Tensor, fake: Tensor) -> tuple[float, float]:
    figures = diversity(real, fake)
    assert list(figures) == ["diversity/ratio", "diversity/alike"]
    return figures["diversity/ratio"], figures["diversity/alike"]


def test_a_set_beside_itself_is_as_diverse() -> None:
    images = faces()
    assert both(images, images) == (1.0, pytest.approx(0, abs=0.05))
    assert both(images, images.flip(0))[0] == pytest.approx(1.0)


def test_one_image_has_no_diversity_and_only_twins() -> None:
    images = faces()
    assert both(images, images[5:6].expand_as(images)) == (0.0, 1.0)


def test_one_image_with_noise_is_nearly_as_bad() -> None:
    images, generator = faces(), torch.Generator().manual_seed(0)
    noise = torch.randint(-8, 9, images.shape, generator=generator)
    ratio, alike = both(images, (images[5:6] + noise).clamp(0, 255).to(torch.uint8))
    assert ratio < 0.15 and alike == 1


def test_two_images_far_apart_are_told_by_their_twins() -> None:
    images = faces()
    far = torch.cat([torch.zeros_like(images[:24]), torch.full_like(images[:24], 255)])
    ratio, alike = both(images, far)
    assert ratio > 1 and alike == 1


def test_the_share_of_twins_is_that_of_images_made_again() -> None:
    images = faces()
    _, alone = both(images, images)
    _, alike = both(images, torch.cat([images[:36], images[30:36], images[30:36]]))
    assert alike - alone == pytest.approx(18 / 48, abs=0.05)


def test_images_of_different_details_alone_are_different() -> None:
    """Checks, and a flat grey of their mean colour: the thumbnails are the same."""
    grey = torch.full([1, 1, 32, 32], 128, dtype=torch.uint8)
    checks = (torch.arange(32)[:, None] + torch.arange(32)) % 2 * 100 + 78
    kinds = torch.cat([grey, checks.to(torch.uint8)[None, None]]).repeat(4, 1, 1, 1)
    assert both(kinds, kinds)[0] == 1
    assert both(kinds, grey.expand(8, 1, 32, 32)) == (0.0, 0.0)  # among reals with twins none are too near


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (3, 3, 9, 33), (5, 3, 64, 16)], ids=str)
def test_sizes(shape: tuple[int, ...]) -> None:
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    assert both(images, images) == (1.0, 0.0)


def test_as_many_are_compared_as_the_smaller_side_has() -> None:
    images = faces()
    assert diversity(images[:20], images[20:]) == diversity(images[:20], images[20:40])


def test_errors() -> None:
    images = faces(4, 8)
    with pytest.raises(TypeError, match=r"real must be uint8 images, got torch.float32"):
        diversity(images.float(), images)
    with pytest.raises(ValueError, match=r"fake must be \[N, C, H, W\] with at least two images, got \[1, 3, 8, 8\]"):
        diversity(images, images[:1])
    with pytest.raises(ValueError, match=r"fake must have images of shape \[3, 8, 8\] to match real, got \[3, 8, 4\]"):
        diversity(images, images[..., :4])
