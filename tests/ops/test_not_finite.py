"""NaN, infinity and the places of a kink: every form of an operator does there what torch does."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from fastgan.ops import bias_act, conv2d_resample, exact_convolutions, modulated_conv2d
from fastgan.ops.bias_act.activations import ACTIVATIONS
from tests.ops.cases import DTYPE_IDS, DTYPES, arranged

# Beside each other in images of one pixel more than a packet, so that vectors and what is left of them are met.
VALUES = [float("nan"), 0.0, -0.0, -1.0, 1.0, 2.0, -2.0, float("inf"), -float("inf")]
TORCH = {
    "linear": lambda v: v,
    "relu": torch.relu,
    "lrelu": lambda v: F.leaky_relu(v, 0.25),
}


@pytest.fixture(params=DTYPES, ids=DTYPE_IDS)
def x(request):
    return torch.tensor(VALUES * 3, dtype=request.param)[None, None].repeat(2, 3, 1).requires_grad_()


def differentiated(function, x):
    y = function(x)
    return y.detach(), torch.autograd.grad(y, x, torch.full_like(y, 3.0))[0]


@pytest.mark.parametrize("clamp", [None, 0.0, 1.0])
@pytest.mark.parametrize("act", TORCH)
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_nan_zero_and_the_bound_as_in_torch(provider, x, act, clamp, memory_format):
    """The slope at NaN is relu's 1, lrelu's alpha, a clamp's 0; at 0 relu's 0; at the bound that of what is inside."""
    x = arranged(x.detach()[..., None], memory_format).requires_grad_()

    def by_torch(x):
        y = TORCH[act](x)
        return y if clamp is None else y.clamp(-clamp, clamp)

    ours = differentiated(lambda x: bias_act(x, act=act, alpha=0.25, gain=1.0, clamp=clamp), x)
    for mine, expected in zip(ours, differentiated(by_torch, x), strict=True):
        torch.testing.assert_close(mine, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("clamp", [None, 1.0])
@pytest.mark.parametrize("act", ACTIVATIONS)
def test_nan_in_is_nan_out(provider, x, act, clamp):
    y = bias_act(x, torch.tensor([1.0, float("nan"), 0.0]), act=act, clamp=clamp)
    assert y[:, 1].isnan().all() and y[:, ::2][x[:, ::2].isnan()].isnan().all()


@pytest.mark.parametrize("act", ["tanh", "sigmoid", "softplus", "swish"])
def test_the_slope_of_a_smooth_activation_at_nan_is_nan(provider, x, act):
    for clamp in (None, 1.0):
        _, dx = differentiated(lambda x, clamp=clamp: bias_act(x, act=act, clamp=clamp), x)
        assert dx[x.isnan()].isnan().all()


@pytest.mark.parametrize("clamp", [None, 1.0])
@pytest.mark.parametrize("act", TORCH)
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_a_layer_at_nan_as_in_torch(provider, act, clamp, memory_format):
    """By the gradient of the bias, which the slope at NaN reaches and NaN itself does not."""
    x, w = torch.ones(1, 16, 8, 8), torch.eye(16)[:, :, None, None]
    x[0, 3, 2, 5] = float("nan")
    x = arranged(x, memory_format)
    b = torch.full([16], 0.5, requires_grad=True)
    y = conv2d_resample(x, w, b=b, act=act, alpha=0.25, gain=1.0, clamp=clamp)
    v = F.conv2d(x, w) + b[:, None, None]
    expected = TORCH[act](v) if clamp is None else TORCH[act](v).clamp(-clamp, clamp)
    torch.testing.assert_close(y.detach(), expected.detach(), equal_nan=True)
    slopes = (torch.autograd.grad(result, b, torch.ones_like(y))[0] for result in (y, expected))
    torch.testing.assert_close(*slopes, equal_nan=True)


def broken(poison, layer):
    """How far from pixel (13, 14) a layer's result differs by more than rounding once that pixel is `poison`."""
    x = torch.randn(2, 16, 28, 28)
    clean = layer(x)
    x[0, 5, 13, 14] = poison
    differs = ~torch.isclose(layer(x), clean, rtol=1e-4, atol=1e-4)
    assert not differs[1].any(), "another image is touched"
    rows, columns = differs[0].any(dim=0).nonzero().t()
    return max((rows - 13).abs().max().item(), (columns - 14).abs().max().item())


LAYERS = {
    "conv2d_resample": lambda x, w: conv2d_resample(x, w, padding=1),
    "modulated_conv2d": lambda x, w: modulated_conv2d(x, w, torch.ones(2, 16), padding=1),
}


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e6])
@pytest.mark.parametrize("name", LAYERS)
def test_exact_convolutions_keep_a_bad_pixel_to_the_kernels_footprint(kernels, name, poison):
    w = torch.randn(16, 16, 3, 3)
    with kernels(), exact_convolutions():
        assert broken(poison, lambda x: LAYERS[name](x, w)) == 1


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e6])
@pytest.mark.parametrize("name", LAYERS)
def test_winograd_spreads_a_bad_pixel_by_three_at_most(native_provider, name, poison):
    w = torch.randn(16, 16, 3, 3)
    assert 1 < broken(poison, lambda x: LAYERS[name](x, w)) <= 3
