from __future__ import annotations

from typing import Any

import pytest
import torch

from fastgan.models import build

SMALL = {"channel_base": 64, "z_dim": 6}


@pytest.mark.parametrize("kernel_size", [4, 5])
@pytest.mark.parametrize("resolution", [(32, 32), (64, 64), (128, 128), (32, 48)], ids=str)
def test_shapes_and_range(resolution, kernel_size):
    _, G, D = build("dcgan", resolution=resolution, kernel_size=kernel_size, **SMALL)
    img = G(torch.randn(2, 6))
    assert img.shape == (2, 3, *resolution)
    assert img.abs().max() <= 1
    assert D(img).shape == (2, 1)


def test_parameter_count_of_the_published_network():
    _, G, D = build("dcgan")
    # 4x4x1024 -> 512 -> 256 -> 128 -> 3 with 5x5 kernels; two values a batch-normalised channel; output bias.
    expected = 100 * 16384 + 25 * (1024 * 512 + 512 * 256 + 256 * 128 + 128 * 3) + 2 * (1024 + 512 + 256 + 128) + 3
    assert sum(p.numel() for p in G.parameters()) == expected
    expected = 25 * (3 * 128 + 128 * 256 + 256 * 512 + 512 * 1024) + 128 + 2 * (256 + 512 + 1024) + 16384 + 1
    assert sum(p.numel() for p in D.parameters()) == expected


def test_initialisation():
    torch.manual_seed(0)
    _, G, D = build("dcgan", num_classes=3, resolution=32, channel_base=1024)
    for module in (*G.modules(), *D.modules()):
        if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d, torch.nn.Linear)):
            n = module.weight.numel()
            assert module.weight.std().item() == pytest.approx(0.02, rel=4 / n**0.5)
        elif isinstance(module, torch.nn.BatchNorm2d):
            assert abs(module.weight.mean().item() - 1) < 0.02
            assert module.bias.abs().max() == 0


def test_gradients_reach_every_parameter():
    _, G, D = build("dcgan", num_classes=3, resolution=16, **SMALL)
    c = torch.eye(3)
    D(G(torch.randn(3, 6), c), c).sum().backward()
    for module in (G, D):
        assert all(p.grad is not None and p.grad.abs().max() > 0 for name, p in module.named_parameters()), module


def test_projection_is_the_inner_product_with_summed_features():
    D: Any
    _, _, D = build("dcgan", num_classes=3, resolution=16, **SMALL)
    D.eval()
    img, c = torch.randn(2, 3, 16, 16), torch.eye(3)[:2]
    features = []
    handle = D.dense.register_forward_pre_hook(lambda module, inputs: features.append(inputs[0]))
    logits = D(img, c)
    handle.remove()
    psi = features[0].unflatten(1, (-1, 4, 4)).sum(dim=[2, 3])
    expected = D.dense(features[0]) + (psi * D.embed.weight.t()[:2]).sum(dim=1, keepdim=True)
    torch.testing.assert_close(logits, expected)


def test_label_changes_the_image():
    _, G, _ = build("dcgan", num_classes=2, resolution=16, **SMALL)
    G.eval()
    z = torch.randn(1, 6)
    assert not torch.equal(G(z, torch.eye(2)[:1]), G(z, torch.eye(2)[1:]))


def test_eval_does_not_depend_on_the_batch():
    _, G, _ = build("dcgan", resolution=16, **SMALL)
    G(torch.randn(8, 6))
    G.eval()
    z = torch.randn(3, 6)
    torch.testing.assert_close(G(z)[:1], G(z[:1]))


def test_errors():
    _, G, D = build("dcgan", num_classes=2, resolution=16, **SMALL)
    z, c = torch.randn(2, 6), torch.eye(2)
    with pytest.raises(ValueError, match=r"z must have shape \[N, z_dim\]=\[N, 6\], got \[2, 5\]"):
        G(z[:, :5], c)
    with pytest.raises(ValueError, match=r"c must have shape \[N, num_classes\]=\[2, 2\], got None"):
        G(z)
    with pytest.raises(TypeError, match="truncation_psi"):
        G(z, c, truncation_psi=0.5)
    with pytest.raises(ValueError, match=r"img must have shape \[N, 3, 16, 16\], got \[2, 3, 8, 8\]"):
        D(torch.randn(2, 3, 8, 8), c)
