"""Layers and networks under what torch offers around a module: parametrisations, checkpoints, autocast, hooks."""

from __future__ import annotations

import gc
import resource
from typing import Any

import pytest
import torch
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torch.utils.checkpoint import checkpoint

from fastgan import provider
from fastgan.models.registry import build
from fastgan.nn import EqualizedConv2d, SynthesisLayer, ToRGB
from fastgan.ops import bias_act, conv2d_resample, modulated_conv2d, setup_filter, upfirdn2d

SMALL = {"resolution": 16, "channel_base": 128, "z_dim": 8, "num_classes": 3}
C = torch.eye(4, 3)


class Doubled(torch.nn.Module):
    def forward(self, weight):
        return weight * 2


class Call(torch.nn.Module):
    """A layer with all but its image given."""

    def __init__(self, layer, *rest):
        super().__init__()
        self.layer, self.rest = layer, rest

    def forward(self, x):
        return self.layer(x, *self.rest)


LAYERS = {
    "conv": lambda: Call(EqualizedConv2d(4, 8, 3, act="lrelu", clamp=2.0)),
    "conv-down": lambda: Call(EqualizedConv2d(4, 8, 3, act="lrelu", down=2)),
    "synthesis": lambda: Call(SynthesisLayer(4, 8, 5, (8, 8)), torch.randn(2, 5), "const"),
    "synthesis-up": lambda: Call(SynthesisLayer(4, 8, 5, (16, 16), up=2), torch.randn(2, 5), "const"),
    "to-rgb": lambda: Call(ToRGB(4, 3, 5), torch.randn(2, 5)),
}


@pytest.fixture(params=LAYERS)
def module(request):
    module = LAYERS[request.param]()
    for name, parameter in module.named_parameters():
        if name.endswith(("bias", "noise_strength")):
            torch.nn.init.normal_(parameter, std=0.5)
    return module


@pytest.fixture(params=["stylegan2-G", "stylegan2-D", "stylegan3-t-G", "stylegan3-r-G", "dcgan-G", "dcgan-D"])
def network(request):
    """A network without random numbers, and inputs of it."""
    family, part = request.param.rsplit("-", 1)
    G: Any
    _, G, D = build(family, **SMALL)
    if part == "D":
        return D, (torch.randn(4, 3, 16, 16), C)
    G.eval()
    if family == "stylegan2":
        G.synthesis.forward = lambda ws, mode, generator, forward=G.synthesis.forward: forward(ws, "const")
    return G, (torch.randn(4, 8), C)


def gradients(module, *inputs, call=None):
    """Those of all parameters and of the first input, and the result."""
    module.zero_grad()
    first = inputs[0].detach().clone().requires_grad_()
    y = (call or module)(first, *inputs[1:])
    (y.float() * torch.linspace(-1, 2, y.numel()).view(y.shape)).sum().backward()
    found = {name: parameter.grad for name, parameter in module.named_parameters()}
    return {"y": y.detach(), "input": first.grad} | {name: g for name, g in found.items() if g is not None}


@pytest.mark.parametrize(
    "changed",
    [
        weight_norm,
        lambda layer: spectral_norm(layer).eval(),  # in training mode every call moves its vectors
        lambda layer: parametrize.register_parametrization(layer, "weight", Doubled()),
    ],
    ids=["weight_norm", "spectral_norm", "parametrize"],
)
def test_a_parametrised_layer_learns_as_the_reference_does(module, changed):
    changed(module.layer)
    x = torch.randn(2, 4, 8, 8)
    ours = gradients(module, x)
    with provider("reference"):
        theirs = gradients(module, x)
    assert len(ours) == 2 + len(list(module.parameters()))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_weight_norm_leaves_the_result_as_it_was(module):
    x = torch.randn(2, 4, 8, 8)
    before = module(x)
    weight_norm(module.layer)
    torch.testing.assert_close(module(x), before)


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpointed_layer_has_the_same_gradients(module, reentrant):
    x = torch.randn(2, 4, 8, 8)
    recomputed = gradients(module, x, call=lambda x: checkpoint(module, x, use_reentrant=reentrant))
    torch.testing.assert_close(recomputed, gradients(module, x), rtol=0, atol=0)


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpointed_network_has_the_same_gradients(network, reentrant):
    module, inputs = network
    module.eval()  # batch statistics move with every pass
    recomputed = gradients(module, *inputs, call=lambda *given: checkpoint(module, *given, use_reentrant=reentrant))
    torch.testing.assert_close(recomputed, gradients(module, *inputs), rtol=0, atol=0)


def test_saved_tensors_may_go_through_hooks(network):
    module, inputs = network
    module.eval()
    plain = gradients(module, *inputs)
    with torch.autograd.graph.save_on_cpu():
        torch.testing.assert_close(gradients(module, *inputs), plain, rtol=0, atol=0)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.detach().clone().numpy(), torch.from_numpy):
        torch.testing.assert_close(gradients(module, *inputs), plain, rtol=0, atol=0)


def test_autocast_leaves_operators_in_the_dtype_of_their_images():
    x, w, f = torch.randn(2, 4, 8, 8), torch.randn(4, 4, 3, 3), setup_filter([1, 3, 3, 1])
    calls = [
        lambda x: bias_act(x, torch.ones(4), act="lrelu"),
        lambda x: upfirdn2d(x, f, up=2),
        lambda x: conv2d_resample(x, w, padding=1),
        lambda x: modulated_conv2d(x, w, torch.ones(2, 4), padding=1),
    ]
    for call in calls:
        plain = call(x)
        with torch.autocast("cpu", torch.bfloat16):
            assert call(x.bfloat16()).dtype == torch.bfloat16
            assert torch.equal(call(x), plain)


def test_a_step_under_autocast_is_near_one_without(network):
    """Fully connected layers are bfloat16 then, convolutions stay in the dtype of their images, gradients in theirs."""
    module, inputs = network
    module.eval()
    plain = gradients(module, *inputs)
    with torch.autocast("cpu", torch.bfloat16):
        cast = gradients(module, *inputs)
    for name, value in cast.items():
        assert value.dtype == torch.float32 or name == "y"
        assert torch.cosine_similarity(value.float().flatten(), plain[name].flatten(), dim=0) > 0.95, name
    if type(module).__module__.endswith(("stylegan2", "stylegan3")):
        assert cast["y"].dtype == (torch.float32 if cast["y"].ndim == 4 else torch.bfloat16)  # images, logits


def test_an_unused_input_has_no_gradient():
    x, w = torch.randn(2, 4, 8, 8, requires_grad=True), torch.randn(4, 4, 3, 3, requires_grad=True)
    unused = torch.randn(3, requires_grad=True)
    y = modulated_conv2d(x, w, torch.ones(2, 4), padding=1, b=torch.zeros(4), act="lrelu")
    dx, none = torch.autograd.grad(y.sum(), [x, unused], allow_unused=True)
    assert none is None and dx.shape == x.shape
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(modulated_conv2d(x, w, torch.ones(2, 4)).sum(), [x, unused])


def test_inference_mode_gives_the_same(network):
    module, inputs = network
    module.eval()
    expected = module(*inputs)
    with torch.inference_mode():
        y = module(*inputs)
    assert y.is_inference() and torch.equal(y, expected)


def test_what_was_made_in_inference_mode_serves_as_a_constant(module):
    with torch.inference_mode():
        x = torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        assert torch.equal(module(x), module(x.clone()))


def test_ten_thousand_steps_keep_no_memory():
    w = torch.randn(4, 4, 3, 3, requires_grad=True)
    styles, b = torch.ones(1, 4, requires_grad=True), torch.zeros(4, requires_grad=True)
    x = torch.randn(1, 4, 8, 8)

    def steps(number):
        for _ in range(number):
            y = modulated_conv2d(x, w, styles, padding=1, b=b, act="lrelu")
            torch.autograd.grad(y.sum(), [w, styles, b])
        gc.collect()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, len(gc.get_objects())

    before, objects = steps(1000)
    after, now = steps(9000)
    assert after - before < 4  # MiB
    assert now - objects < 100
