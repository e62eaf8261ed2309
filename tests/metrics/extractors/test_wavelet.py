"""Wavelet features: energy kept, colours apart, any size, each image by itself."""

from __future__ import annotations

import pytest
import torch

from fastgan.metrics.extractors import make_extractor
from fastgan.metrics.extractors.wavelet import haar


def images(count: int, height: int = 32, width: int = 32, channels: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8)


def test_haar_keeps_the_sum_of_squares_and_tells_directions() -> None:
    x = torch.randn(2, 3, 8, 6, dtype=torch.float64)
    low, bands = haar(x)
    assert low.shape == (2, 3, 4, 3) and bands.shape == (2, 9, 4, 3)
    torch.testing.assert_close(low.square().sum() + bands.square().sum(), x.square().sum())
    rows = torch.arange(8.0).remainder(2)[:, None].expand(1, 1, 8, 8)  # changes from row to row alone
    assert haar(rows)[1].flatten(2).norm(dim=2).tolist() == [[0, 4, 0]]


def test_a_plain_grey_image_is_its_brightness_and_nothing_else() -> None:
    features = make_extractor("wavelet")(torch.full((1, 3, 32, 32), 255, dtype=torch.uint8))
    assert features.shape == (1, 192 + 36 * 2) and features.dtype == torch.float32
    torch.testing.assert_close(features[0, :64], torch.full((64,), 3**0.5))
    assert features[0, 64:].abs().max() < 1e-5


def test_grey_images_are_as_their_colour_twins() -> None:
    grey, extractor = images(3, channels=1), make_extractor("wavelet")
    torch.testing.assert_close(extractor(grey), extractor(grey.expand(-1, 3, -1, -1)), rtol=0, atol=0)


@pytest.mark.parametrize(("height", "width", "levels"), [(8, 8, 0), (9, 30, 1), (33, 47, 3), (64, 32, 2)])
def test_any_size(height: int, width: int, levels: int) -> None:
    extractor, made = make_extractor("wavelet"), images(5, height, width)
    features = extractor(made)
    assert features.shape == (5, 192 + 36 * levels) and features.isfinite().all()
    torch.testing.assert_close(torch.cat([extractor(each[None]) for each in made]), features, rtol=1e-5, atol=1e-6)


def test_noise_and_blur_move_the_bands() -> None:
    extractor = make_extractor("wavelet")
    plain = torch.nn.functional.interpolate(images(8, 9, 9).float(), 32)  # squares whose edges lie within Haar's
    noisy = plain + 20 * torch.randn_like(plain)
    blurred = torch.nn.functional.avg_pool2d(plain, 7, 1, 3, count_include_pad=False)
    levels = [extractor(each.clamp(0, 255).to(torch.uint8))[:, 192:].mean() for each in (blurred, plain, noisy)]
    assert levels[0] < levels[1] < levels[2]


def test_images_that_are_too_small_are_told_of() -> None:
    with pytest.raises(ValueError, match=r"at least 8x8 pixels, got \[7, 9\]"):
        make_extractor("wavelet")(images(1, 7, 9))
    with pytest.raises(ValueError, match="extractor must be one of pixels, wavelet, .*got 'wavelets'"):
        make_extractor("wavelets")
