"""Programs that were written for the published operators."""

from __future__ import annotations

import inspect
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from fastgan.interop import ops

DOUBLE: dict[str, Any] = {"dtype": torch.float64}


def test_signatures_are_the_published_ones() -> None:
    names = {
        ops.bias_act: "x b=None dim=1 act='linear' alpha=None gain=None clamp=None impl='cuda'",
        ops.upfirdn2d: "x f up=1 down=1 padding=0 flip_filter=False gain=1 impl='cuda'",
        ops.setup_filter: "f device='cpu' normalize=True flip_filter=False gain=1 separable=None",
        ops.filter2d: "x f padding=0 flip_filter=False gain=1 impl='cuda'",
        ops.upsample2d: "x f up=2 padding=0 flip_filter=False gain=1 impl='cuda'",
        ops.downsample2d: "x f down=2 padding=0 flip_filter=False gain=1 impl='cuda'",
        ops.conv2d_resample: "x w f=None up=1 down=1 padding=0 groups=1 flip_weight=True flip_filter=False",
        ops.grid_sample: "input grid",
        ops.modulated_conv2d: "x weight styles noise=None up=1 down=1 padding=0 resample_filter=None demodulate=True "
        "flip_weight=True fused_modconv=True",
        ops.modulated_conv2d_stylegan3: "x w s demodulate=True padding=0 input_gain=None",
        ops.no_weight_gradients: "disable=True",
    }
    assert {function.__name__ for function in names} == set(ops.__all__)
    for function, expected in names.items():
        given = inspect.signature(function).parameters.values()
        assert " ".join(p.name + ("" if p.default is p.empty else f"={p.default!r}") for p in given) == expected


@pytest.mark.parametrize("impl", ["ref", "cuda"])
def test_bias_act_by_its_formula(impl: str) -> None:
    x, b = torch.randn(2, 3, 4, **DOUBLE), torch.randn(3, **DOUBLE)
    y = ops.bias_act(x, b, 1, "lrelu", 0.1, 2.0, 1.5, impl)
    torch.testing.assert_close(y, (F.leaky_relu(x + b[:, None], 0.1) * 2).clamp(-1.5, 1.5))
    torch.testing.assert_close(ops.bias_act(x, act="swish", impl=impl), x * x.sigmoid() * math.sqrt(2))


def filtered(x: torch.Tensor, f: torch.Tensor) -> torch.Tensor:
    """The true convolution of each channel with a 2-D filter, where the footprint lies inside."""
    return F.conv2d(x.flatten(0, 1)[:, None], f.flip([0, 1])[None, None].to(x))[:, 0].unflatten(0, x.shape[:2])


@pytest.mark.parametrize("impl", ["ref", "cuda"])
def test_resampling_by_its_formula(impl: str) -> None:
    x, f = torch.randn(2, 3, 5, 6, **DOUBLE), torch.tensor([[1.0, 2.0, 3.0], [0.0, 4.0, 1.0]])
    zeros = torch.zeros(2, 3, 10, 12, **DOUBLE)
    zeros[:, :, ::2, ::2] = x
    expected = filtered(F.pad(zeros, [1, 2, 0, 1]), f)[:, :, ::3, ::3] * 0.5
    torch.testing.assert_close(ops.upfirdn2d(x, f, 2, 3, [1, 2, 0, 1], False, 0.5, impl), expected)
    torch.testing.assert_close(
        ops.upfirdn2d(x, f, 2, 3, [1, 2, 0, 1], True, 0.5, impl),
        ops.upfirdn2d(x, f.flip([0, 1]), 2, 3, [1, 2, 0, 1], gain=0.5),
    )
    g = ops.setup_filter([1, 3, 3, 1])
    assert g.shape == (4, 4) and g.device.type == "cpu" and g[0, 0] == 1 / 64
    torch.testing.assert_close(ops.filter2d(x, g, impl=impl), filtered(F.pad(x, [2, 1, 2, 1]), g))
    torch.testing.assert_close(ops.upsample2d(x, g, impl=impl), filtered(F.pad(zeros, [2, 1, 2, 1]), g) * 4)
    torch.testing.assert_close(ops.downsample2d(x, g, impl=impl), filtered(F.pad(x, [1, 1, 1, 1]), g)[:, :, ::2, ::2])


def test_a_filter_is_on_the_cpu_whatever_the_default_device() -> None:
    with torch.device("meta"):
        assert ops.setup_filter([1, 2, 1]).device.type == "cpu"


def test_conv2d_resample_correlates_with_a_filter_on_demand() -> None:
    x, w = torch.randn(2, 4, 8, 8, **DOUBLE), torch.randn(6, 2, 3, 3, **DOUBLE)
    f = ops.setup_filter([1.0, 2.0, 5.0])
    for one in (f, f[0]):
        flipped = one.flip(list(range(one.ndim)))
        y = ops.conv2d_resample(x, w, one, 1, 2, 1, 2, True, True)
        torch.testing.assert_close(y, ops.conv2d_resample(x, w, flipped, 1, 2, 1, 2))
        assert not torch.allclose(y, ops.conv2d_resample(x, w, one, 1, 2, 1, 2))
    full = filtered(F.pad(x, [2, 1, 2, 1]), f.flip([0, 1]))
    expected = F.conv2d(full, w, stride=2, groups=2)
    torch.testing.assert_close(ops.conv2d_resample(x, w, f, down=2, padding=1, groups=2, flip_filter=True), expected)
    assert torch.equal(
        ops.conv2d_resample(x, w, padding=1, groups=2, flip_filter=True), ops.conv2d_resample(x, w, padding=1, groups=2)
    )


def modulated(x, w, s, gain):
    """A filter for each sample, one at a time."""
    filters = w[None] * s[:, None, :, None, None]
    filters = filters * (filters.square().sum(dim=[2, 3, 4], keepdim=True) + 1e-8).rsqrt()
    filters = filters * gain.expand(s.shape)[:, None, :, None, None]
    return torch.cat([F.conv2d(x[n : n + 1], filters[n], padding=1) for n in range(len(x))])


@pytest.mark.parametrize("fused_modconv", [True, False])
def test_modulated_conv2d_of_stylegan2(fused_modconv: bool) -> None:
    x, w, s = torch.randn(2, 3, 6, 6, **DOUBLE), torch.randn(4, 3, 3, 3, **DOUBLE), torch.randn(2, 3, **DOUBLE)
    noise = torch.randn(2, 1, 6, 6, **DOUBLE)
    y = ops.modulated_conv2d(x, w, s, noise, 1, 1, 1, None, True, True, fused_modconv)
    torch.testing.assert_close(y, modulated(x, w, s, torch.ones(1, **DOUBLE)) + noise)
    y = ops.modulated_conv2d(
        x=x, weight=w, styles=s, padding=1, demodulate=False, flip_weight=False, fused_modconv=fused_modconv
    )
    expected = F.conv2d(x * s[:, :, None, None], w.flip([2, 3]), padding=1)
    torch.testing.assert_close(y, expected)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)], ids=str)
def test_modulated_conv2d_of_stylegan3(shape: tuple[int, ...]) -> None:
    x, w, s = torch.randn(2, 3, 6, 6, **DOUBLE), torch.randn(4, 3, 3, 3, **DOUBLE), torch.randn(2, 3, **DOUBLE)
    gain = torch.rand(shape, **DOUBLE) + 0.5
    torch.testing.assert_close(ops.modulated_conv2d_stylegan3(x, w, s, True, 1, gain), modulated(x, w, s, gain))
    small = ops.modulated_conv2d_stylegan3(x, w * 1e-6, s * 1e-3, padding=1, input_gain=gain)
    torch.testing.assert_close(small, modulated(x, w, s, gain))  # as large as with large weights
    plain = ops.modulated_conv2d_stylegan3(x, w, s, demodulate=False, padding=1)
    torch.testing.assert_close(plain, F.conv2d(x * s[:, :, None, None], w, padding=1))


@pytest.mark.parametrize(("dtype", "size"), [(torch.float16, 300.0), (torch.float16, 1e-4), (torch.float32, 0.0)])
def test_weights_that_are_large_small_or_zero_in_stylegan3(dtype: torch.dtype, size: float) -> None:
    x, w, s = torch.randn(1, 2, 4, 4), torch.ones(3, 2, 3, 3) * size, torch.rand(1, 2) + 0.5
    y = ops.modulated_conv2d_stylegan3(x.to(dtype), w.to(dtype), s.to(dtype), padding=1)
    exact = modulated(x.double(), w.sign().double(), s.double(), torch.ones(()))
    torch.testing.assert_close(y.double(), exact, rtol=1e-2, atol=1e-2 if dtype == torch.float16 else 1e-5)


def test_second_derivatives() -> None:
    x, w = torch.randn(2, 2, 5, 5, **DOUBLE, requires_grad=True), torch.randn(3, 2, 3, 3, **DOUBLE, requires_grad=True)
    s, gain = torch.randn(2, 2, **DOUBLE, requires_grad=True), torch.rand(2, 2, **DOUBLE)
    f = ops.setup_filter([1.0, 2.0, 5.0])
    for function, inputs in (
        (lambda x, s: ops.bias_act(x, s[0], act="tanh", impl="ref"), (x, s)),
        (lambda x: ops.upfirdn2d(x.square(), f, 2, 1, 1, impl="ref"), (x,)),
        (lambda x, w: ops.conv2d_resample(x, w, f, 1, 2, 1, flip_filter=True), (x, w)),
        (lambda x, w, s: ops.modulated_conv2d(x, w, s, padding=1), (x, w, s)),
        (lambda x, w, s: ops.modulated_conv2d_stylegan3(x, w, s, True, 1, gain), (x, w, s)),
    ):
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradgradcheck(function, inputs)


def test_r1_as_it_is_written_there() -> None:
    x, w = torch.randn(2, 2, 8, 8, **DOUBLE, requires_grad=True), torch.randn(1, 2, 3, 3, **DOUBLE, requires_grad=True)

    def penalty(**options) -> torch.Tensor:
        y = ops.bias_act(ops.conv2d_resample(x, w, padding=1), act="softplus")
        with ops.no_weight_gradients(**options):
            (gradient,) = torch.autograd.grad([y.sum()], [x], create_graph=True, only_inputs=True)
        return gradient.square().sum()

    (expected,) = torch.autograd.grad(penalty(), w)
    h = 1e-6 * torch.randn_like(w)
    with torch.no_grad():
        w += h
    above = penalty(disable=False)
    with torch.no_grad():
        w -= 2 * h
    torch.testing.assert_close((above - penalty()) / 2, (expected * h).sum(), rtol=1e-6, atol=0)


def test_what_does_not_fit_is_named() -> None:
    x, w, s = torch.randn(2, 3, 6, 6), torch.randn(4, 3, 3, 3), torch.randn(2, 3)
    with pytest.raises(ValueError, match="impl must be 'ref' or 'cuda', got 'fast'"):
        ops.bias_act(x, impl="fast")
    with pytest.raises(ValueError, match=r"input_gain must be \[\], \[I\]=\[3\] or \[N, I\]=\[2, 3\], got \[2, 1\]"):
        ops.modulated_conv2d_stylegan3(x, w, s, input_gain=torch.ones(2, 1))
    with pytest.raises(ValueError, match="up and down must not both exceed 1, got 2 and 2"):
        ops.conv2d_resample(x, w, up=2, down=2)
