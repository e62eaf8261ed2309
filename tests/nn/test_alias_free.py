"""Layers of the alias-free generator against what they should be, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from fastgan.nn.alias_free import AliasFreeLayer, AliasFreeToRGB, FourierFeatures
from fastgan.nn.signals import Signal, signals
from fastgan.ops import filtered_lrelu, modulated_conv2d

FLOW = signals((32, 32), 14, 64, 8, 3)


def test_a_wave_by_hand() -> None:
    """One frequency (1, 2), phase 0.1, at the pixel in row 3, column 5 of 6 by 6 at rate 4."""
    features = FourierFeatures(Signal(3.0, 1.0, 8, (6, 6), 1), 4)
    features.freqs.copy_(torch.tensor([[1.0, 2.0]]))
    features.phases.fill_(0.1)
    features.weight.data.fill_(2.0)
    x, y = (5 + 0.5 - 3) / 8, (3 + 0.5 - 3) / 8
    value = features(torch.randn(1, 4))[0, 0, 3, 5].item()
    assert value == pytest.approx(2 * math.sin(2 * math.pi * (x + 2 * y + 0.1)), abs=1e-6)


def test_w_turns_and_moves_the_waves_and_the_transform_comes_before() -> None:
    """The bias asks for cos : sin = 3 : 4 and a translation of (1, 2)/5: M = R T U, by homogeneous matrices."""
    features = FourierFeatures(Signal(8.0, 1.0, 64, (5, 7), 3), 4).double()
    features.freqs.copy_(torch.tensor([[1.0, 2.0], [-3.0, 0.5], [0.0, 4.0]]))
    features.weight.data.copy_(torch.eye(3).double() * math.sqrt(3))
    features.affine.bias.data.copy_(torch.tensor([3.0, 4.0, 1.0, 2.0]))  # type: ignore[union-attr]
    R = torch.tensor([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, 1]], dtype=torch.float64)
    T = torch.tensor([[1, 0, -0.2], [0, 1, -0.4], [0, 0, 1]], dtype=torch.float64)
    rows = [[[0.5, 0.1, 0.3], [0, 1, 0], [0, 0, 1]], [[1, 0, 0], [0.2, 1, -0.7], [0, 0, 1]]]
    U = torch.tensor(rows, dtype=torch.float64)
    y, x = torch.meshgrid(torch.arange(5) - 2.0, torch.arange(7) - 3.0, indexing="ij")
    places = torch.stack([x / 64, y / 64, torch.ones(5, 7)]).double().flatten(1)  # [3, 35]
    moved = (R @ T @ U @ places)[:, :2]  # [2, 2, 35]
    waves = torch.sin(2 * math.pi * (features.freqs @ moved + features.phases[:, None])).unflatten(2, (5, 7))
    torch.testing.assert_close(features(torch.zeros(2, 4).double(), U), waves, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(features(torch.zeros(2, 4).double(), U[0])[1], waves[0], rtol=1e-9, atol=1e-9)


def test_waves_that_a_transform_makes_too_fine_fade() -> None:
    """Cut-off 2, rate 16: amplitude 1 up to 2, half at 5, none from 8 on."""
    features = FourierFeatures(Signal(2.0, 1.0, 16, (64, 64), 1), 4)
    features.freqs.copy_(torch.tensor([[1.0, 0.0]]))
    features.weight.data.fill_(1.0)
    for scale, amplitude in ((1, 1.0), (2, 1.0), (5, 0.5), (8, 0.0), (20, 0.0)):
        x = features(torch.zeros(1, 4), torch.diag(torch.tensor([scale, scale, 1.0])))
        assert x.square().mean().mul(2).sqrt().item() == pytest.approx(amplitude, abs=0.02)


def test_frequencies_fill_the_disc_evenly_and_phases_a_turn() -> None:
    torch.manual_seed(0)
    features = FourierFeatures(Signal(2.0, 6.0, 16, (36, 36), 20_000), 1)
    radius = features.freqs.norm(dim=1)
    for share in (0.25, 0.5, 0.75, 1.0):  # of the radius; the area goes with its square
        assert (radius <= 2 * share).float().mean().item() == pytest.approx(share**2, abs=0.01)
    assert features.freqs.mean(dim=0).abs().max() < 0.03
    counts = torch.histc(features.phases, 4, -0.5, 0.5) / 20_000
    torch.testing.assert_close(counts, torch.full([4], 0.25), rtol=0, atol=0.015)


@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize("i", [2, 5, 13])
def test_a_layer_is_its_parts_and_fits_the_next(i: int, kernel_size: int) -> None:
    torch.manual_seed(0)
    before, after = FLOW[i - 1], FLOW[i]
    layer = AliasFreeLayer(before, after, 4, kernel_size=kernel_size, clamp=2.0).double()
    layer.bias.data.normal_()
    layer.magnitude_ema.fill_(4.0)
    x, w = torch.randn(2, before.channels, *before.size).double(), torch.randn(2, 4).double()
    y = layer(x, w)
    assert y.shape == (2, after.channels, *after.size)
    plain = modulated_conv2d(x / 2, layer.weight, layer.affine(w), padding=kernel_size - 1)
    up, down, padding = layer.crossing.up, layer.crossing.down, layer.crossing.padding
    expected = filtered_lrelu(plain, layer.fu, layer.fd, layer.bias, up, down, padding, clamp=2.0)
    torch.testing.assert_close(y, expected, rtol=1e-6, atol=1e-7)  # normalising weights and styles cancels


def test_weights_and_styles_of_any_size_come_to_the_same() -> None:
    """ε of the demodulation is nothing to weights and styles of unit mean square, however small they are before."""
    layer = AliasFreeLayer(FLOW[0], FLOW[1], 4)
    x, w = torch.randn(2, 8, 36, 36), torch.randn(2, 4)
    y = layer(x, w)
    layer.weight.data.mul_(1e-6)
    layer.affine.weight.data.mul_(1e-5)
    layer.affine.bias.data.mul_(1e-5)  # type: ignore[union-attr]
    torch.testing.assert_close(layer(x, w), y)


@pytest.mark.parametrize("i", range(14))
def test_the_filters_move_no_wave(i: int) -> None:
    """A wave of one cycle through up- and down-sampling and the crop alone: smaller or larger, never elsewhere."""
    before, after = FLOW[max(i - 1, 0)], FLOW[i]
    layer = AliasFreeLayer(before, after, 4, kernel_size=1)
    up, down, padding = layer.crossing.up, layer.crossing.down, layer.crossing.padding
    wave = torch.sin(_angles(before))[None, None]
    passed = filtered_lrelu(wave, layer.fu, layer.fd, None, up, down, padding, gain=1.0, slope=1.0)
    inside = (slice(8, -8), slice(8, -8))
    angles, passed = _angles(after)[inside].flatten(), passed[0, 0][inside].flatten()
    parts = torch.stack([angles.sin(), angles.cos()], dim=1)
    gain, moved = torch.linalg.lstsq(parts, passed[:, None]).solution.flatten()
    torch.testing.assert_close(parts[:, 0] * gain, passed, rtol=0, atol=5e-5)
    assert moved.abs() < 1e-5 and 0.8 < gain < 1.02


def _angles(signal: Signal) -> torch.Tensor:
    y, x = ((torch.arange(length) + 0.5 - length / 2) / signal.rate for length in signal.size)
    return 2 * math.pi * (x + 0.5 * y[:, None]) + 0.3


def test_filters_are_radial_where_the_signal_is_not_critically_sampled() -> None:
    dims = []
    for before, after in zip((FLOW[0], *FLOW), FLOW[:-1], strict=False):
        layer = AliasFreeLayer(before, after, 4, kernel_size=1, radial=True)
        assert layer.fu is not None and layer.fd is not None and layer.fu.ndim == 1
        dims.append(layer.fd.ndim)
    assert dims == [2] * 12 + [1, 1]


@pytest.mark.parametrize("make", [lambda: AliasFreeLayer(FLOW[0], FLOW[1], 4), lambda: AliasFreeToRGB(8, 3, 4)])
def test_the_average_of_the_input_follows_when_asked(make) -> None:
    """Half-life 20,000 images: β = 0.5^(N/20000); x² is 9, and what is divided is what has followed."""
    layer, x, w = make(), torch.full([5, 8, 36, 36], 3.0), torch.zeros(5, 4)
    average = layer.magnitude_ema
    before = layer(x, w)
    assert average.item() == 1
    after = layer(x, w, update_emas=True)
    beta = 0.5 ** (5 / 20_000)
    assert layer.magnitude_ema is average and average.item() == pytest.approx(beta + (1 - beta) * 9, rel=1e-6)
    if isinstance(layer, AliasFreeToRGB):
        torch.testing.assert_close(after, before / average.sqrt())


def test_to_rgb_by_hand() -> None:
    """Two channels of 1 and 2, weights 3 and 4, styles 1, x² on average 4: (3·1 + 4·2)/√2/2 + 0.5."""
    layer = AliasFreeToRGB(2, 1, 4)
    layer.weight.data.copy_(torch.tensor([3.0, 4.0]).view(1, 2, 1, 1))
    layer.bias.data.fill_(0.5)
    layer.magnitude_ema.fill_(4.0)
    y = layer(torch.tensor([1.0, 2.0]).view(1, 2, 1, 1), torch.zeros(1, 4))
    assert y.item() == pytest.approx(11 / math.sqrt(2) / 2 + 0.5)


def test_filters_stay_in_float32_in_half_precision_and_follow_to_float64() -> None:
    layer = AliasFreeLayer(FLOW[0], FLOW[1], 4)
    taps = layer.fu
    assert taps is not None
    half = layer.half().fu
    assert half is not None and half.dtype == torch.float32 and torch.equal(half, taps)
    assert layer.weight.dtype == torch.float16
    wide = layer.double().fd
    assert wide is not None and wide.dtype == torch.float64
