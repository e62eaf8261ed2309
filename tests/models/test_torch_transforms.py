"""torch.func over whole networks: gradients a sample, Jacobians, functional calls."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.func import functional_call, grad, jacrev, vmap

from fastgan.models.registry import build

SMALL = {
    "stylegan2": {"resolution": 16, "channel_base": 128, "z_dim": 8, "w_dim": 8, "num_classes": 3},
    "stylegan3-t": {"resolution": 16, "channel_base": 64, "z_dim": 8, "w_dim": 8, "num_classes": 3, "layers": 4},
    "stylegan3-r": {"resolution": 16, "channel_base": 32, "z_dim": 8, "w_dim": 8, "num_classes": 3, "layers": 4},
    "dcgan": {"resolution": 16, "channel_base": 128, "z_dim": 8, "num_classes": 3},
    "r3gan": {"resolution": 16, "channel_base": 128, "z_dim": 8, "num_classes": 3, "group_size": 8},
}


@pytest.fixture(params=["contiguous", "channels_last"])
def memory_format(request):
    return torch.channels_last if request.param == "channels_last" else torch.contiguous_format


@pytest.fixture(
    params=["stylegan2-G", "stylegan2-D", "stylegan3-t-G", "stylegan3-r-G", "dcgan-G", "dcgan-D", "r3gan-G", "r3gan-D"]
)
def energy(request, memory_format):
    """A scalar function (parameters, one input, its label) of a network in float64, its parameters and three inputs."""
    family, part = request.param.rsplit("-", 1)
    _, G, D = build(family, **SMALL[family])
    network: Any
    network, options = (G, {"noise_mode": "const"} if family == "stylegan2" else {}) if part == "G" else (D, {})
    network.double().eval().to(memory_format=memory_format)
    for name, parameter in network.named_parameters():
        if name.endswith(("bias", "noise_strength")):  # initially 0, which would hide what depends on it
            torch.nn.init.normal_(parameter, std=0.5)
    inputs = torch.randn(3, 8) if part == "G" else torch.randn(3, 3, 16, 16).contiguous(memory_format=memory_format)
    buffers = dict(network.named_buffers())

    def call(parameters, x, c):
        return functional_call(network, (parameters, buffers), (x[None], c[None]), options).pow(2).sum()

    return call, network, options, inputs.double(), torch.eye(3).double()


def test_gradients_of_each_sample_are_those_of_a_loop(energy):
    call, network, options, inputs, labels = energy
    parameters = dict(network.named_parameters())
    each = vmap(grad(call), (None, 0, 0))(parameters, inputs, labels)
    for i in range(len(inputs)):
        network.zero_grad()
        network(inputs[i : i + 1], labels[i : i + 1], **options).pow(2).sum().backward()
        for name, parameter in parameters.items():
            torch.testing.assert_close(each[name][i], parameter.grad, msg=lambda text, name=name: f"{name}: {text}")


def test_input_gradients_of_each_sample_are_those_of_a_loop(energy):
    call, network, _, inputs, labels = energy
    parameters = dict(network.named_parameters())
    each = vmap(grad(call, argnums=1), (None, 0, 0))(parameters, inputs, labels)
    loop = [grad(call, argnums=1)(parameters, *one) for one in zip(inputs, labels, strict=True)]
    torch.testing.assert_close(each, torch.stack(loop))


def test_the_jacobian_of_g_agrees_with_differences(energy):
    call, network, _, inputs, labels = energy
    parameters = dict(network.named_parameters())
    gradient = jacrev(call, argnums=1)(parameters, inputs[0], labels[0])
    direction = torch.randn_like(inputs[0])
    step = 1e-6 * direction
    higher, lower = (call(parameters, inputs[0] + sign * step, labels[0]) for sign in (1, -1))
    torch.testing.assert_close((gradient * direction).sum(), (higher - lower) / 2e-6, rtol=1e-5, atol=1e-5)


def test_r1_by_torch_func_is_r1_by_autograd(energy):
    call, network, options, inputs, labels = energy
    parameters = dict(network.named_parameters())

    def penalty(parameters):
        return vmap(grad(call, argnums=1), (None, 0, 0))(parameters, inputs, labels).pow(2).sum()

    ours = grad(penalty)(parameters)
    total = torch.zeros((), dtype=torch.float64)
    for i in range(len(inputs)):
        x = inputs[i : i + 1].clone().requires_grad_()
        y = network(x, labels[i : i + 1], **options).pow(2).sum()
        total = total + torch.autograd.grad(y, x, create_graph=True)[0].pow(2).sum()
    wanted = torch.autograd.grad(total, list(parameters.values()), allow_unused=True, materialize_grads=True)
    for (name, gradient), expected in zip(ours.items(), wanted, strict=True):
        torch.testing.assert_close(gradient, expected, msg=lambda text, name=name: f"{name}: {text}")
