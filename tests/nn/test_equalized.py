from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from fastgan.nn import EqualizedConv2d, EqualizedLinear


def test_linear_scales_weight_and_bias():
    layer = EqualizedLinear(16, 3, lr_multiplier=0.01, bias_init=2.0).double()
    x = torch.randn(4, 16, dtype=torch.float64)
    expected = x @ layer.weight.t() * (0.01 / 4) + 2.0
    torch.testing.assert_close(layer(x), expected, rtol=1e-7, atol=1e-7)
    assert layer.bias is not None and layer.bias[0].item() == pytest.approx(200)


def test_linear_activation_by_hand():
    layer = EqualizedLinear(1, 2, act="lrelu")
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        layer.bias.fill_(0.5)
    y = layer(torch.ones(1, 1))  # pre-activations 1.5 and -0.5
    torch.testing.assert_close(y, torch.tensor([[1.5, -0.1]]) * math.sqrt(2))


@pytest.mark.parametrize("lr_multiplier", [1.0, 0.01])
def test_initial_output_variance_is_one(lr_multiplier):
    torch.manual_seed(0)
    y = EqualizedLinear(256, 256, lr_multiplier=lr_multiplier)(torch.randn(256, 256))
    assert y.std().item() == pytest.approx(1, abs=0.02)


def test_a_step_of_the_weight_moves_the_output_m_times_as_far():
    fast, slow = EqualizedLinear(8, 1), EqualizedLinear(8, 1, lr_multiplier=0.01)
    x = torch.ones(1, 8)
    for layer, m in ((fast, 1.0), (slow, 0.01)):
        before = layer(x).item()
        with torch.no_grad():
            layer.weight.add_(1.0)
            layer.bias.add_(1.0)
        assert layer(x).item() - before == pytest.approx(m * (math.sqrt(8) + 1), rel=1e-3)


@pytest.mark.parametrize("clamp", [None, 0.5], ids=["open", "clamped"])
def test_conv_matches_the_formula(clamp):
    layer = EqualizedConv2d(4, 3, 3, act="lrelu", gain=0.5, clamp=clamp).double()
    with torch.no_grad():
        layer.bias.normal_()
    x = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    y = F.leaky_relu(F.conv2d(x, layer.weight / 6, layer.bias, padding=1), 0.2) * math.sqrt(2) * 0.5
    if clamp is not None:
        assert y.abs().max() > 0.25
        y = y.clamp(-0.25, 0.25)
    torch.testing.assert_close(layer(x), y)


def test_gain_of_a_plain_layer_scales_its_output():
    torch.manual_seed(3)
    half = EqualizedConv2d(4, 3, 1, bias=False, down=2, gain=0.5)
    whole = EqualizedConv2d(4, 3, 1, bias=False, down=2)
    whole.load_state_dict(half.state_dict())
    x = torch.randn(1, 4, 8, 8)
    torch.testing.assert_close(half(x), whole(x) / 2)
    assert set(half.state_dict()) == {"weight"}


@pytest.mark.parametrize(("up", "down", "shape"), [(2, 1, (8, 12)), (1, 2, (2, 3))])
def test_conv_resamples(up, down, shape):
    y = EqualizedConv2d(2, 5, 3, act="lrelu", up=up, down=down)(torch.randn(1, 2, 4, 6))
    assert y.shape == (1, 5, *shape)


def test_errors():
    with pytest.raises(ValueError, match="kernel_size must be odd, got 4"):
        EqualizedConv2d(2, 2, 4)
