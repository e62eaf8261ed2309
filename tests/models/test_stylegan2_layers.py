"""StyleGAN2 by fused layers and by composed ones: the same images and gradients; what a step computes and keeps."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from unittest import mock

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from fastgan.losses.penalties import PathLength, r1
from fastgan.models.stylegan2 import Discriminator, Generator, StyleGAN2Config
from fastgan.nn import EqualizedConv2d
from fastgan.ops import provider, providers
from fastgan.ops.operator import OPERATORS

provider_context = provider  # the fixture of the same name hides it inside tests
WEIGHT_GRADIENTS = ("aten::convolution_backward", "fastgan::conv2d_winograd_weight_gradient_native")
CONVOLUTIONS = ("aten::convolution", "aten::bmm", "fastgan::conv2d_winograd_native", *WEIGHT_GRADIENTS)


def networks(resolution=(16, 16), **options):
    cfg = StyleGAN2Config(
        resolution=resolution, channel_base=64, channel_max=8, mapping_layers=2, w_dim=8, z_dim=8, **options
    )
    G, D = Generator(cfg).eval(), Discriminator(cfg)
    for p in (*G.parameters(), *D.parameters()):
        if p.ndim < 2:  # noise strengths and biases, 0 at first
            torch.nn.init.normal_(p)
    return G, D


def composed() -> AbstractContextManager:
    """Layers of torch's convolutions and our other operators, as where no fused form is proven."""
    return mock.patch.dict(OPERATORS["conv2d_layer"].rows, clear=True)


def kernels(call: Callable[[], object], names: tuple[str, ...] = CONVOLUTIONS) -> int:
    """How many convolutions a call runs, forward and adjoint."""
    with profile(activities=[ProfilerActivity.CPU]) as log:
        call()
    return sum(row.count for row in log.key_averages() if row.key in names)


# As they are, bounded, and not square.
@pytest.mark.slow_interpreted
@pytest.mark.parametrize("options", [{}, {"conv_clamp": 1.0}, {"resolution": (8, 12)}], ids=["plain", "clamp", "8x12"])
def test_same_images_and_gradients(compiled_provider, options):
    G, D = (network.double() for network in networks(**options))
    z = torch.randn(2, 8, dtype=torch.float64)
    parameters = [*G.parameters(), *D.parameters()]

    def everything():
        img = G(z, noise_mode="const")
        loss = D(img).sum() + r1(D, img).sum()
        return img, *torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)

    mine = everything()
    with provider_context("reference"):
        reference = everything()
    for value, expected in zip(mine, reference, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)


def test_r1_of_a_chain_takes_the_least_convolutions(native_provider):
    """Forward, gradient for the input, its tangent and weight gradient: 4 a layer, but no tangent after the last."""
    layers = 3
    net = torch.nn.Sequential(*[EqualizedConv2d(4, 4, 3, act="lrelu") for _ in range(layers)])
    x = torch.randn(2, 4, 8, 8)
    penalty = lambda: r1(lambda x, c: net(x).sum(dim=[1, 2, 3])[:, None], x).sum()  # noqa: E731
    assert kernels(lambda: penalty().backward()) == 4 * layers - 1


def test_r1_takes_the_least_convolutions(native_provider):
    """Minibatch standard deviation has a second derivative: what lies before it gets an ordinary backward pass too."""
    _, D = networks()
    before, after = 1 + 3 * len(D.blocks), 1
    x = torch.randn(4, 3, 16, 16)
    assert kernels(lambda: r1(D, x).sum().backward()) == 4 * (before + after) + 2 * before


def test_path_length_takes_few_convolutions(native_provider):
    """Seven a layer: forward, gradient, tangent, weight gradient; the gradient again, which is not kept; backward."""
    G, _ = networks()
    ws = torch.randn(2, G.num_ws, 8)
    layers = len(G.synthesis.layers) + len(G.synthesis.to_rgb)
    assert kernels(lambda: PathLength()(G.synthesis, ws).sum().backward()) <= 7 * layers


def test_no_weight_gradients_where_none_are_wanted(native_provider):
    G, D = networks()
    x = torch.randn(4, 3, 16, 16, requires_grad=True)
    logits = D(x)

    assert kernels(lambda: torch.autograd.grad(logits.sum(), x, create_graph=True), WEIGHT_GRADIENTS) == 0
    D.requires_grad_(False)
    logits = D(G(torch.randn(2, 8)))
    wide = len(G.synthesis.layers)  # to-RGB's are products of matrices
    assert kernels(lambda: logits.sum().backward(), WEIGHT_GRADIENTS) == wide


def kept_bytes(call: Callable[[], torch.Tensor]) -> int:
    """Of the tensors that a forward pass keeps for its backward."""
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = call()
    assert result.requires_grad
    return sum(kept.values())


def test_a_step_keeps_a_third_less(native_provider):
    """Bytes an image, at the step's peak: the generator's, through the discriminator, or the discriminator's two."""
    cfg = StyleGAN2Config(resolution=(64, 64), channel_base=2048, channel_max=64, mapping_layers=2, w_dim=8, z_dim=8)
    G, D = Generator(cfg), Discriminator(cfg)

    def an_image() -> int:
        def step(n: int) -> int:
            image = torch.randn(n, 3, 64, 64)
            return max(kept_bytes(lambda: D(G(torch.randn(n, 8)))), 2 * kept_bytes(lambda: D(image)))

        return step(2) - step(1)

    fused = an_image()
    with providers._named.holding(""), composed():
        assert fused <= 2 / 3 * an_image()
