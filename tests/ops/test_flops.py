"""torch's flop counter over compiled operators: the products of the reference, whatever computes them."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fastgan.models.registry import build
from fastgan.ops import exact_convolutions, provider, upfirdn2d
from tests.ops import cases_conv2d_layer, cases_upfirdn2d
from tests.ops.layers import inputs, layer

LAYERS = pytest.mark.parametrize("name", cases_conv2d_layer.CASES)


def products(call):
    """What the counter counts."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def both(call):
    """The counts with the provider of the test, and with the reference."""
    mine = products(call)
    with provider("reference"):
        return mine, products(call)


def passes(name, device="cpu"):
    """The forward pass of a layer, and both passes."""
    tensors, arguments = inputs(cases_conv2d_layer.CASES[name], torch.float32)
    tensors = {key: tensor.to(device).requires_grad_() for key, tensor in tensors.items()}
    arguments["f"] = None if arguments["f"] is None else arguments["f"].to(device)

    def forward():
        with torch.no_grad():
            layer(tensors, arguments)

    def backward():
        y = layer(tensors, arguments)
        torch.autograd.grad(y, list(tensors.values()), torch.ones_like(y))

    return forward, backward


@LAYERS
def test_a_layer_counts_as_the_reference_does(kernels, name):
    with kernels():
        for call in passes(name):
            mine, reference = both(call)
            assert mine == reference and (mine > 0 or name == "empty")


@LAYERS
def test_a_layer_without_values_counts_as_one_with(name):
    for call, on_meta in zip(passes(name), passes(name, "meta"), strict=True):
        assert products(call) == products(on_meta)


@LAYERS
def test_a_penalty_on_a_layer_counts_about_what_the_reference_does(kernels, name):
    """The algorithms differ: what one keeps the other finds anew, and torch counts the zeros of strided adjoints."""
    tensors, arguments = inputs(cases_conv2d_layer.CASES[name], torch.float32, requires_grad=True)

    def penalty():
        y = layer(tensors, arguments)
        (dx,) = torch.autograd.grad(y, tensors["x"], torch.ones_like(y), create_graph=True)
        if dx.requires_grad:
            torch.autograd.grad(dx.square().sum(), list(tensors.values()), allow_unused=True)

    with kernels():
        mine, reference = both(penalty)
    assert 0.4 * reference <= mine <= 1.34 * reference


@pytest.mark.parametrize("name", cases_upfirdn2d.CASES)
def test_upfirdn2d_counts_as_the_reference_does(kernels, name):
    shape, taps, arguments = cases_upfirdn2d.CASES[name]
    x, f = torch.randn(shape), None if taps is None else torch.rand(taps)
    with kernels():
        mine, reference = both(lambda: upfirdn2d(x, f, **arguments))
    assert mine == reference and (mine > 0 or name == "empty")


def test_the_gradient_of_upfirdn2d_counts_as_the_operator_that_it_is(native_provider):
    x = torch.randn(2, 3, 8, 6, requires_grad=True)
    y = upfirdn2d(x, torch.ones(2), down=2)
    mine = products(lambda: torch.autograd.grad(y, x, torch.ones_like(y)))
    assert mine == products(lambda: upfirdn2d(torch.ones_like(y), torch.ones(2), up=2, padding=[1, 0, 1, 0]))


def test_winograd_counts_as_the_convolution_that_it_computes(native_provider):
    tensors, arguments = inputs(((4, 16, 16, 16), 16, 3, {"b": True, "act": "lrelu"}), torch.float32)
    fast = products(lambda: layer(tensors, arguments))
    with exact_convolutions():
        assert products(lambda: layer(tensors, arguments)) == fast == 2 * 4 * 16 * 16 * 16 * 16 * 9


def test_networks_count_as_with_the_reference(native_provider):
    _, G, D = build("stylegan2", resolution=32, channel_base=512, z_dim=32, w_dim=32)
    z = torch.randn(4, 32)

    def step():
        D(G(z)).sum().backward()

    mine, reference = both(lambda: D(G(z).detach()))
    assert mine == reference
    mine, reference = both(step)
    assert abs(mine - reference) <= 0.01 * reference


_PROBED = "import fastgan.ops, importlib.util\nimportlib.util.find_spec('torch.utils.flop_counter')\n{}"


@pytest.mark.parametrize("order", ["import fastgan.ops\n{}", "{}\nimport fastgan.ops", _PROBED])
def test_the_counter_may_be_imported_before_or_after(order):
    code = order.format("from torch.utils.flop_counter import FlopCounterMode") + (
        "\nimport torch\nx, w = torch.ones(1, 2, 4, 4, device='meta'), torch.ones(3, 2, 1, 1, device='meta')"
        "\nwith FlopCounterMode(display=False) as counter: fastgan.ops.conv2d_resample(x, w)"
        "\nprint(counter.get_total_flops())"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(told) == 2 * 16 * 2 * 3
