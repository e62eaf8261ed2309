"""What extractors with networks have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastgan.metrics.extractors.network import NetworkExtractor, resized
from fastgan.metrics.extractors.weights import Weights


class Means(NetworkExtractor):
    name, dim, resize = "means", 3, "none"

    def _features(self, pixels: Tensor) -> Tensor:
        assert pixels.shape[1] == 3
        return self.network(pixels.mean(dim=(2, 3)))


def made() -> Means:
    linear = nn.Linear(3, 3, dtype=torch.float64)
    nn.init.eye_(linear.weight)
    nn.init.zeros_(linear.bias)
    network = nn.Sequential(linear, nn.Dropout())
    return Means(network, Weights({}, Path("folder/file.pth"), "0123"), torch.device("cpu"))


@pytest.mark.parametrize("shape", [(5, 3, 5, 7), (2, 1, 3, 3), (0, 3, 8, 8)], ids=str)
def test_images_of_any_number_pass_and_grey_ones_as_colour(shape: tuple[int, ...]) -> None:
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    found = made()(images)
    assert found.dtype == torch.float32 and found.device.type == "cpu" and not found.requires_grad
    torch.testing.assert_close(found, images.expand(-1, 3, -1, -1).float().mean(dim=(2, 3)))


def test_numbers_between_bytes_count() -> None:
    pixels = 300 * torch.rand(4, 3, 5, 7) - 20
    torch.testing.assert_close(made()(pixels), pixels.mean(dim=(2, 3)))


def test_features_that_are_kept_are_known_by_all_that_they_depend_on() -> None:
    assert made().identity == "means, none, sha256 0123"


def test_smaller_images_are_averages_and_larger_ones_are_interpolated() -> None:
    x = torch.randn(2, 3, 12, 12, dtype=torch.float64)
    triangle = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64) / 8
    rows = x[:, :, 1:-1].unfold(2, 4, 2) @ triangle  # output pixels 1 to 4 of 6: the border has other weights
    torch.testing.assert_close(resized(x, 6)[..., 1:5, 1:5], rows[..., 1:-1].unfold(3, 4, 2) @ triangle)
    between = 0.75 * x[..., :-1] + 0.25 * x[..., 1:]
    torch.testing.assert_close(resized(x, 24)[..., 1:-1:2][..., 0, :], between[..., 0, :])
    torch.testing.assert_close(resized(x, 12), x)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.zeros(2, 3, 4, 4).double(), TypeError, "images must be uint8 or float32, got torch.float64"),
        ([1], TypeError, "images must be uint8 or float32, got <class 'list'>"),
        (
            torch.zeros(3, 4, 4, dtype=torch.uint8),
            ValueError,
            r"must be \[n, C, H, W\] of 1 or 3 channels, got \[3, 4, 4\]",
        ),
        (torch.zeros(1, 2, 4, 4, dtype=torch.uint8), ValueError, r"got \[1, 2, 4, 4\]"),
        (torch.zeros(1, 3, 0, 4, dtype=torch.uint8), ValueError, r"got \[1, 3, 0, 4\]"),
    ],
    ids=["double", "list", "no batch", "two channels", "empty"],
)
def test_what_is_no_image_is_named(images: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        made()(images)
