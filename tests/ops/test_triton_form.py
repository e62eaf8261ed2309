"""What the tests of the operators leave open about Triton's kernels: tiles, offsets, the mask, and who may serve."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
import torch

from fastgan.ops import affine_warp, bias_act, interpolate, provider, squared_norm, triton_provider, upfirdn2d
from fastgan.ops.bias_act import triton_form
from fastgan.ops.bias_act.activations import ACTIVATIONS
from fastgan.ops.operator import OPERATORS, PROVIDERS
from tests.ops.cases import arranged, assert_close_to
from tests.ops.cases_affine_warp import colors, thetas
from tests.ops.cases_upfirdn2d import CASES


@pytest.fixture(params=["many-programs", "wide-offsets"])
def launches(request, interpreter, monkeypatch):
    """Launches as those of tensors too large for a test, with every sum and product of 32-bit integers checked."""
    from fastgan.kernels import affine_warp, gradient_penalty, launch

    if request.param == "many-programs":  # several tiles a program, several programs a sum
        for key, tile in launch.TILES.items():
            monkeypatch.setitem(launch.TILES, key, dataclasses.replace(tile, elements=64, programs=3))
        monkeypatch.setattr(launch, "_SUM_CHANNELS", 2)
        monkeypatch.setattr(launch, "_SUM_TERMS", 4)
    else:
        for module in (launch, affine_warp, gradient_penalty):
            monkeypatch.setattr(module, "WIDEST", 0)
    return lambda: interpreter.selected(overflow_checks=True)


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize("shape", [(2, 6, 5, 9), (2, 4, 6, 8), (3, 7, 2, 2)], ids=["odd", "even", "small"])
def test_bias_act(launches, shape, memory_format):
    x = arranged(torch.randn(shape, dtype=torch.float64), memory_format).requires_grad_()
    b = torch.randn(shape[1], dtype=torch.float64, requires_grad=True)

    def derivatives(act):
        y = bias_act(x, b, act=act, clamp=0.9)
        first = torch.autograd.grad(y.square().sum(), [x, b], create_graph=True)
        return y, *first, *torch.autograd.grad(first[0].square().sum(), [x, b])

    for act in ("lrelu", "swish"):
        with launches():
            mine = derivatives(act)
        with provider("reference"):
            exact = derivatives(act)
        for ours, true in zip(mine, exact, strict=True):
            assert_close_to(ours, true)


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize("case", ["up2", "crop-up", "up3-down2", "channels33"])
def test_upfirdn2d(launches, case, memory_format):
    shape, taps, arguments = CASES[case]
    x = arranged(torch.randn(shape, dtype=torch.float64), memory_format)
    f = torch.randn(taps)
    with launches():
        y = upfirdn2d(x, f, **arguments)
    with provider("reference"):
        assert_close_to(y, upfirdn2d(x, f, **arguments))


@pytest.mark.parametrize("name", ["turn", "a-point", "flip"])
def test_affine_warp(launches, name):
    x, dy = (torch.randn(1, 2, 4, 3, dtype=torch.float64) for _ in range(2))
    x = arranged(x, "channels_last").requires_grad_()

    def results():
        y = affine_warp(x, thetas([name], 1), color)
        return y, *torch.autograd.grad(y, x, dy)

    color = colors(1, 2)
    with launches():
        mine = results()
    with provider("reference"):
        exact = results()
    for ours, true in zip(mine, exact, strict=True):
        assert_close_to(ours, true)


@pytest.mark.parametrize("shape", [(2, 3, 9, 17), (5, 130), (1, 640)], ids=str)
def test_squared_norm_and_interpolate(launches, shape):
    x, fake, ddx = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for _ in range(3))
    dy = torch.randn(shape[0], dtype=torch.float64, requires_grad=True)

    def results():
        norms = squared_norm(x)
        (dx,) = torch.autograd.grad(norms, x, dy, create_graph=True)
        return norms, dx, *torch.autograd.grad(dx, [x, dy], ddx), interpolate(x, fake, dy)

    with launches():
        mine = results()
    with provider("reference"):
        exact = results()
    for ours, true in zip(mine, exact, strict=True):
        assert_close_to(ours, true)


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 4, 3, 3), (3, 5)], ids=str)
def test_mask_is_the_native_one(native_provider, interpreter, shape):
    x, b = 4 * torch.randn(shape), torch.randn(shape[1])
    settings = (1, triton_form.NUMBERING.index("lrelu"), 0.2, 1.5, 0.8, True)
    with interpreter.selected():
        mine = torch.ops.fastgan.bias_act_interpreter(x, b, *settings)[1]
    theirs = torch.ops.fastgan.bias_act_native(x, b, *settings)[1]
    assert mine.shape == theirs.shape
    bits = 2 * torch.arange(4)
    codes = [(mask[:, None] >> bits & 3).flatten()[: x.numel()] for mask in (mine, theirs)]
    assert torch.equal(*codes) and {0, 2, 3} <= set(codes[0].tolist())


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_not_a_number_comes_through(compiled_provider, act):
    x = torch.tensor([[float("nan"), float("inf"), -float("inf"), -0.0, 1.0]])
    for clamp in (None, 0.5):
        y = bias_act(x, act=act, clamp=clamp)
        with provider("reference"):
            torch.testing.assert_close(y, bias_act(x, act=act, clamp=clamp), equal_nan=True)


def test_triton_knows_every_activation():
    assert set(triton_form.NUMBERING) == set(ACTIVATIONS)


def test_refusals(triton_installed, monkeypatch):
    for name, operator in OPERATORS.items():
        with provider("triton"), pytest.raises(ValueError, match=f"{name} on cpu .* Triton kernels need a CUDA tensor"):
            operator.example()
    assert PROVIDERS["triton"].refusal("cuda", torch.float32) is None
    assert "no torch.int8 form" in str(PROVIDERS["triton"].refusal("cuda", torch.int8))
    operator = OPERATORS["bias_act"]
    assert operator.refusal is not None
    assert "do not know the activation 'mish'" in str(operator.refusal(operator.registered["triton"], "mish"))
    monkeypatch.setattr(triton_provider, "unavailable", "triton is not installed")
    with provider("triton"), pytest.raises(ValueError, match="triton is not installed"):
        bias_act(torch.zeros(1, 2))


def test_importing_the_package_leaves_triton_alone():
    code = "import sys, torch; old = 'triton' in sys.modules; import fastgan; assert ('triton' in sys.modules) == old"
    subprocess.run([sys.executable, "-c", code], check=True)
