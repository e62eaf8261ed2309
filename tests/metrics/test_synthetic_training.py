"""What a classifier learns of sets made so that the answer is known."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from fastgan.metrics.synthetic_training import share, synthetic_training

Set = tuple[Tensor, Tensor]
COLOURS = torch.tensor([[200, 60, 60], [60, 200, 60], [60, 60, 200], [160, 160, 40]])


def colours(count: int, seed: int, noise: float = 40) -> Set:
    """Images of 8x8 whose class is their colour, beneath noise."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(len(COLOURS), (count,), generator=draw)
    pixels = COLOURS[labels][:, :, None, None] + noise * torch.randn(count, 3, 8, 8, generator=draw)
    return pixels.clamp(0, 255).to(torch.uint8), labels


def test_colours_are_learnt_and_shuffled_labels_are_not() -> None:
    real, test = colours(160, 0), colours(300, 1)
    images, labels = colours(160, 2)
    figures = synthetic_training((images, labels), real, test)
    assert figures["tstr"] > 0.98 and figures["trtr"] > 0.98
    shuffled = labels[torch.randperm(160, generator=torch.Generator().manual_seed(3))]
    figures = synthetic_training((images, shuffled), real, test)
    assert figures["tstr_low"] < 0.25 < figures["tstr_high"] and figures["trtr"] > 0.98


def test_a_class_that_is_made_as_another_is_not_learnt() -> None:
    real, test = colours(160, 0), colours(400, 1)
    images, labels = colours(160, 2)
    merged = images.clone()
    merged[labels == 1] = merged[labels == 0][torch.arange(int((labels == 1).sum())) % int((labels == 0).sum())]
    others = (test[1] != 1).double().mean().item()
    figures = synthetic_training((merged, labels), real, test)
    assert figures["tstr"] <= others + 0.02 and figures["trtr"] > 0.98


def test_the_same_images_give_the_same_figures_and_nothing_is_drawn_from_torch() -> None:
    made, real, test = colours(50, 2, noise=150), colours(50, 0, noise=150), colours(200, 1, noise=150)
    state = torch.get_rng_state()
    first = synthetic_training(made, real, test)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(5)
    with torch.no_grad():
        assert synthetic_training(made, real, test) == first
    assert 0.3 < first["tstr"] < 0.99  # so that equal figures are no matter of course
    assert synthetic_training(real, made, test)["tstr"] == first["trtr"]  # one classifier for both


def test_numbers_of_classes_need_not_follow_each_other_and_large_images_are_averaged() -> None:
    def large(of: Set) -> Set:
        return of[0].repeat_interleave(5, 2), 10 * of[1] - 7

    real, test, made = colours(80, 0), colours(60, 1), colours(80, 2)
    figures = synthetic_training(large(made), large(real), large(test))
    assert figures["tstr"] > 0.95 and figures["trtr"] > 0.95


def test_images_of_a_pixel() -> None:
    labels = torch.arange(40) % 2
    images = (labels * 200).to(torch.uint8)[:, None, None, None]
    assert synthetic_training((images, labels), (images, labels), (images, labels))["tstr"] == 1


@pytest.mark.parametrize(("hits", "count"), [(0, 10), (3, 10), (10, 10), (180, 200)])
def test_intervals_are_those_of_wilson(hits: int, count: int) -> None:
    found, expected = share(hits, count), stats.binomtest(hits, count).proportion_ci(method="wilson")
    assert found.value == hits / count
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_errors() -> None:
    real, test = colours(20, 0), colours(20, 1)
    images, labels = real
    with pytest.raises(ValueError, match="generated must be as many images as real, 20, got 19"):
        synthetic_training((images[1:], labels[1:]), real, test)
    with pytest.raises(ValueError, match="test must be of the classes of real, 0, 1, 2, 3; got also 4, 9"):
        synthetic_training(real, real, (test[0][:3], torch.tensor([9, 4, 0])))
    with pytest.raises(ValueError, match="generated must be of the classes of real, 0, 1; got also 2"):
        few = labels.clamp_max(1)
        synthetic_training((images, labels.clamp_max(2)), (images, few), (images, few))
    with pytest.raises(ValueError, match="real must be of at least 2 classes, got 1"):
        synthetic_training(real, (images, torch.zeros_like(labels)), test)
    with pytest.raises(ValueError, match=r"images of test must be \[N, C, H, W\], N at least 1, got \[0, 3, 8, 8\]"):
        synthetic_training(real, real, (test[0][:0], test[1][:0]))
    with pytest.raises(ValueError, match=r"images of test must be of \[C, H, W\]=\[3, 8, 8\].* got \[3, 8, 7\]"):
        synthetic_training(real, real, (test[0][..., 1:], test[1]))
    with pytest.raises(ValueError, match=r"labels of generated must have shape \[20\], one an image, got \[19\]"):
        synthetic_training((images, labels[1:]), real, test)
    with pytest.raises(TypeError, match="images of real must be a tensor of torch.uint8, got torch.float32"):
        synthetic_training(real, (images.float(), labels), test)
    with pytest.raises(TypeError, match="labels of test must be a tensor of torch.int64, got torch.int32"):
        synthetic_training(real, real, (test[0], test[1].int()))
    assert math.isfinite(share(1, 1).low)
