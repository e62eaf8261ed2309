"""The distance of power spectra sees what a frequency has too much or too little."""

from __future__ import annotations

import math

import pytest
import torch

from fastgan.metrics.spectrum import SPECTRUM, Spectrum


def spectrum(images: torch.Tensor, part: int = 4) -> torch.Tensor:
    kept = Spectrum(len(images))
    for each in images.split(part):
        kept.take(each)
    return kept.result()


def noise(count: int, deviation: float, side: tuple[int, int] = (32, 32)) -> torch.Tensor:
    return (torch.randn(count, 3, *side) * deviation + 128).round().clamp(0, 255).to(torch.uint8)


def test_twice_the_amplitude_is_6_db_at_every_frequency() -> None:
    torch.manual_seed(0)
    apart = spectrum(noise(64, 40)) - spectrum(noise(64, 20))
    assert apart.shape == (16,)
    torch.testing.assert_close(apart, torch.full_like(apart, 20 * math.log10(2)), rtol=0, atol=0.8)


def test_white_noise_is_as_strong_as_its_variance() -> None:
    torch.manual_seed(0)
    grey = noise(200, 30)[:, :1].expand(-1, 3, -1, -1)
    expected = 10 * math.log10((30 / 127.5) ** 2)
    assert spectrum(grey).mean().item() == pytest.approx(expected, abs=0.2)


def test_a_wave_stands_at_its_radius() -> None:
    wave = torch.sin(torch.arange(64) * 2 * math.pi * 10 / 64) * 100 + 128
    images = wave.round().to(torch.uint8).expand(2, 3, 40, 64).contiguous()
    found = spectrum(images)
    assert len(found) == 20 and found.argmax().item() + 1 == round(10 / 64 * 40)


def test_of_equal_sets_it_is_0_and_batches_change_nothing() -> None:
    images = noise(10, 30, (9, 12))
    figures = SPECTRUM.figures(spectrum(images), spectrum(images, part=3))
    assert figures["spectrum"] == pytest.approx(0, abs=1e-10) and figures["spectrum_high"] == pytest.approx(
        0, abs=1e-10
    )


def test_too_few_images_or_pixels_are_told_of() -> None:
    with pytest.raises(ValueError, match="3 images must be taken in, got 0"):
        Spectrum(3).result()
    with pytest.raises(ValueError, match="at least 2x2 pixels"):
        spectrum(torch.zeros(1, 1, 1, 1, dtype=torch.uint8))
