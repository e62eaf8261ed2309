"""Networks whose tensors have no values: built and run, forward and backward."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from fastgan.models.registry import build

SMALL = {"resolution": 16, "channel_base": 128, "z_dim": 8, "num_classes": 3}


def step(family, memory_format):
    """Build G and D, run them, and tell the shapes and dtypes of images, logits and all gradients."""
    _, G, D = build(family, **SMALL)
    images = G(torch.randn(4, 8), torch.eye(4, 3))
    logits = D(images.contiguous(memory_format=memory_format), torch.eye(4, 3))
    logits.sum().backward()
    gradients = {name: p.grad for network in (G, D) for name, p in network.named_parameters()}
    assert all(gradient is not None for gradient in gradients.values())
    tensors = {"images": images, "logits": logits} | gradients
    return {name: (t.shape, t.dtype) for name, t in tensors.items()}, logits.device.type


@pytest.mark.parametrize("family", ["stylegan2", "stylegan3-t", "stylegan3-r", "dcgan", "r3gan"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("mode", ["meta", "fake"])
def test_networks_built_without_values_run_as_real_ones_do(family, memory_format, mode):
    expected, _ = step(family, memory_format)
    with ExitStack() as stack:
        stack.enter_context(torch.device("meta") if mode == "meta" else FakeTensorMode())
        found, device = step(family, memory_format)
    assert found == expected
    assert device == ("meta" if mode == "meta" else "cpu")


@pytest.mark.parametrize("family", ["stylegan2", "dcgan"])
def test_a_network_moved_to_the_meta_device_runs(family):
    _, _, D = build(family, **SMALL)
    y = D.to("meta")(torch.randn(2, 3, 16, 16, device="meta"), torch.eye(2, 3, device="meta"))
    assert y.is_meta and y.shape == (2, 1)


def test_real_networks_are_copied_into_a_fake_mode():
    _, G, _ = build("stylegan2", **SMALL)
    with FakeTensorMode() as mode:
        fake: dict[str, torch.Tensor] = {
            name: mode.from_tensor(tensor) for name, tensor in (*G.named_parameters(), *G.named_buffers())
        }
        images = torch.func.functional_call(G, fake, (torch.randn(2, 8), torch.eye(2, 3)))
    assert images.shape == (2, 3, 16, 16)
