from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from fastgan.nn import SynthesisLayer, ToRGB
from fastgan.ops import conv2d_resample, modulated_conv2d, setup_filter

DOUBLE = torch.float64


def per_sample_weights(weight, styles, demodulate):
    w = weight[None] * styles[:, None, :, None, None]  # [N, O, I, kh, kw]
    return w * (w.square().sum(dim=[2, 3, 4], keepdim=True) + 1e-8).rsqrt() if demodulate else w


@pytest.mark.parametrize("demodulate", [True, False], ids=["demodulated", "raw"])
@pytest.mark.parametrize(
    ("up", "down", "flip"), [(1, 1, True), (2, 1, False), (1, 2, True)], ids=["same", "up", "down"]
)
def test_equals_one_convolution_a_sample(up, down, flip, demodulate):
    torch.manual_seed(0)
    x, styles = torch.randn(3, 4, 6, 8, dtype=DOUBLE), torch.randn(3, 4, dtype=DOUBLE)
    weight = torch.randn(5, 4, 3, 3, dtype=DOUBLE)
    f = setup_filter([1, 3, 3, 1], separable=True).double()
    options = {"up": up, "down": down, "padding": 1, "flip_weight": flip}
    y = modulated_conv2d(x, weight, styles, resample_filter=f, demodulate=demodulate, **options)
    w = per_sample_weights(weight, styles, demodulate)
    expected = torch.cat([conv2d_resample(x[n : n + 1], w[n], f, **options) for n in range(3)])
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)


def test_demodulation_by_hand():
    # weight [3, 4], styles (2, 1): modulated (6, 4), norm sqrt(52); input (1, 1).
    weight = torch.tensor([3.0, 4.0], dtype=DOUBLE).view(1, 2, 1, 1)
    y = modulated_conv2d(torch.ones(1, 2, 1, 1, dtype=DOUBLE), weight, torch.tensor([[2.0, 1.0]], dtype=DOUBLE))
    assert y.item() == pytest.approx(10 / math.sqrt(52), rel=1e-9)


def test_input_gain_is_not_demodulated():
    x, w, s = torch.randn(2, 3, 4, 4), torch.randn(4, 3, 3, 3), torch.randn(2, 3)
    doubled = modulated_conv2d(x, w, s, padding=1, input_gain=torch.tensor(2.0))
    torch.testing.assert_close(doubled, 2 * modulated_conv2d(x, w, s, padding=1))
    torch.testing.assert_close(modulated_conv2d(x, w, 2 * s, padding=1), doubled / 2)


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("shape", [(4, 4), (2, 1, 4, 4)], ids=str)
def test_noise_is_added_to_the_result(shape, demodulate):
    x, w, s, noise = torch.randn(2, 3, 4, 4), torch.randn(4, 3, 3, 3), torch.randn(2, 3), torch.randn(shape)
    y = modulated_conv2d(x, w, s, noise, padding=1, demodulate=demodulate)
    torch.testing.assert_close(y, modulated_conv2d(x, w, s, padding=1, demodulate=demodulate) + noise)


def test_keeps_channels_last():
    x, w, s = torch.randn(2, 4, 6, 6).to(memory_format=torch.channels_last), torch.randn(4, 4, 3, 3), torch.randn(2, 4)
    y = modulated_conv2d(x, w, s, torch.randn(6, 6), padding=1)
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y.contiguous().shape, x.shape)


def test_second_gradient():
    x = torch.randn(1, 2, 3, 3, dtype=DOUBLE, requires_grad=True)
    w = torch.randn(2, 2, 3, 3, dtype=DOUBLE, requires_grad=True)
    s = torch.randn(1, 2, dtype=DOUBLE, requires_grad=True)
    noise = torch.randn(1, 1, 3, 3, dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda *a: modulated_conv2d(*a, padding=1), (x, w, s, noise))


def test_synthesis_layer_by_its_formula():
    layer = SynthesisLayer(3, 4, 5, (4, 6)).double()
    with torch.no_grad():
        layer.noise_strength.fill_(0.7)
        layer.bias.normal_()
    x, w = torch.randn(2, 3, 4, 6, dtype=DOUBLE), torch.randn(2, 5, dtype=DOUBLE)
    styles = w @ layer.affine.weight.t() / math.sqrt(5) + 1
    rows = per_sample_weights(layer.weight, styles, True)
    y = torch.cat([F.conv2d(x[n : n + 1], rows[n], padding=1) for n in range(2)])
    y = F.leaky_relu(y + 0.7 * layer.noise_const + layer.bias[:, None, None], 0.2) * math.sqrt(2)
    torch.testing.assert_close(layer(x, w, "const"), y)


def test_upsampling_synthesis_layer_is_a_true_convolution():
    layer = SynthesisLayer(3, 4, 5, (8, 12), up=2).double()
    x, w = torch.randn(2, 3, 4, 6, dtype=DOUBLE), torch.randn(2, 5, dtype=DOUBLE)
    rows = per_sample_weights(layer.weight, layer.affine(w), True).flip([3, 4])  # conv2d correlates
    z = x.new_zeros(2, 3, 8, 12)
    z[:, :, ::2, ::2] = x
    f = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=DOUBLE) / 8
    fir = (4 * torch.outer(f, f))[None, None].expand(3, 1, 4, 4)
    z = F.conv2d(F.pad(z, [3, 2, 3, 2]), fir, groups=3)  # one pixel of padding for the kernel, [2, 1] for the FIR
    y = torch.cat([F.conv2d(z[n : n + 1], rows[n]) for n in range(2)])
    torch.testing.assert_close(layer(x, w, "none"), F.leaky_relu(y, 0.2) * math.sqrt(2))


def test_noise_modes():
    layer = SynthesisLayer(2, 2, 3, (4, 4))
    assert layer.noise_strength.item() == 0
    with torch.no_grad():
        layer.noise_strength.fill_(1.0)
    x, w = torch.randn(2, 2, 4, 4), torch.randn(2, 3)
    assert torch.equal(layer(x, w, "const"), layer(x, w, "const"))
    assert not torch.equal(layer(x, w, "random"), layer(x, w, "random"))
    assert not torch.equal(layer(x, w, "none"), layer(x, w, "const"))
    assert layer.noise(2, "random").shape == (2, 1, 4, 4)


def test_what_is_no_noise_is_named():
    layer = SynthesisLayer(2, 2, 4, (4, 4))
    with pytest.raises(ValueError, match="one for each of the 4 samples; got 1"):
        layer.noise(4, "random", [torch.Generator()])
    with pytest.raises(ValueError, match="noise_mode must be one of random, const, none; got 'foo'"):
        layer(torch.zeros(1, 2, 4, 4), torch.zeros(1, 4), "foo")


def test_to_rgb_scales_styles_and_does_not_demodulate():
    layer = ToRGB(4, 3, 5).double()
    with torch.no_grad():
        layer.bias.normal_()
    x, w = torch.randn(1, 4, 2, 2, dtype=DOUBLE), torch.randn(1, 5, dtype=DOUBLE)
    styles = (w @ layer.affine.weight.t() / math.sqrt(5) + 1) / 2
    expected = torch.einsum("oi,ni,nihw->nohw", layer.weight[:, :, 0, 0], styles, x) + layer.bias[:, None, None]
    torch.testing.assert_close(layer(x, w), expected)


def test_errors():
    with pytest.raises(ValueError, match=r"styles must have shape \[N, I\]=\[2, 3\], got \[2, 4\]"):
        modulated_conv2d(torch.zeros(2, 3, 4, 4), torch.zeros(5, 3, 3, 3), torch.zeros(2, 4))
