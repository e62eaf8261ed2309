"""Copies of real images are found, and others are not called so."""

from __future__ import annotations

import pytest
import torch

from fastgan.data import ImageDataset, load_dataset
from fastgan.metrics import Evaluation
from fastgan.metrics.extractors import make_extractor
from fastgan.metrics.memorisation import copies, nearest, neighbours_of


def test_known_answers_on_a_line() -> None:
    real = torch.tensor([[0.0], [3.0], [9.0]])
    fake = torch.tensor([[0.9], [1.1], [7.5], [6.9], [-0.5]])
    # 0 and 3 are 3 from another, 9 is 6: nearer than 1, 1 and 2 are copies.
    assert copies(real, fake).tolist() == [True, False, True, False, True]
    near = nearest(fake, real, 2)
    assert near.indices.tolist() == [[0, 1], [0, 1], [2, 1], [2, 1], [0, 1]]
    torch.testing.assert_close(near.distances[2], torch.tensor([1.5, 4.5], dtype=torch.float64))


def test_reals_that_are_equal_count_as_one() -> None:
    real = torch.tensor([[0.0], [0.0], [3.0]])
    assert copies(real, torch.tensor([[0.5], [1.4], [2.9]])).tolist() == [True, False, True]
    with pytest.raises(ValueError, match="real must hold at least 2 different images, got 3 alike"):
        copies(torch.zeros(3, 2), torch.zeros(1, 2))


@pytest.mark.parametrize("metric", ["copies_wavelet", "copies_pixels"])
def test_a_leak_of_training_images_is_found(metric: str) -> None:
    data = load_dataset("emoji64", resolution=(32, 32))
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(1))
    train, rest = (ImageDataset(data.read(part)) for part in (order[:900], order[900:1700]))
    fresh = rest.read(torch.arange(400)).permute(0, 3, 1, 2)
    noise = torch.randn(100, 3, 32, 32, generator=torch.Generator().manual_seed(2)) * 4
    leaked = train.read(torch.arange(100)).permute(0, 3, 1, 2)
    leaked = (leaked.float() + noise).round().clamp(0, 255).to(torch.uint8)
    evaluation = Evaluation([metric], train, images=400)
    clean = evaluation.evaluate(lambda count: [fresh])[metric]
    found = evaluation.evaluate(lambda count: [torch.cat([leaked, fresh[100:]])])[metric]
    # The set has twins of its own, such as a gesture of a man and of a woman; a quarter is leaked.
    print(clean, found, evaluation.floors())
    assert clean < 0.05 and evaluation.floors()[metric] < 0.05
    assert found > clean + 0.15


def test_neighbours_are_shown_from_near_to_far() -> None:
    values = torch.arange(0, 250, 10, dtype=torch.uint8)
    data = ImageDataset(values[:, None, None, None].expand(-1, 8, 8, 3).contiguous())
    images = torch.full((2, 3, 8, 8), 32, dtype=torch.uint8)
    for extractor in ("wavelet", "pixels"):
        found = neighbours_of(images, data, make_extractor(extractor))
        assert found.shape == (2, 3, 3, 8, 8) and found[1, :, 0, 0, 0].tolist() == [30, 40, 20]
    with pytest.raises(ValueError, match="the 26 nearest images take at least 26, got 25"):
        neighbours_of(images, data, make_extractor("pixels"), k=26)


def test_pixels_of_large_images_are_averaged() -> None:
    extractor = make_extractor("pixels")
    assert extractor(torch.zeros(2, 3, 128, 64, dtype=torch.uint8)).shape == (2, 3 * 32 * 16)
    small = torch.randint(0, 256, (2, 1, 9, 5), dtype=torch.uint8)
    torch.testing.assert_close(extractor(small), small.float().flatten(1) / 127.5 - 1)
