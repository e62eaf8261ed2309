from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from fastgan.models import build
from fastgan.nn import minibatch_stddev
from fastgan.ops import downsample2d, filter2d, upsample2d

SMALL = {"channel_base": 64, "channel_max": 8, "z_dim": 6, "w_dim": 5, "mapping_layers": 2}


def small(**overrides: Any) -> Any:
    torch.manual_seed(0)
    return build("stylegan2", **{"resolution": 16, **SMALL, **overrides})


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_parameter_count_of_the_published_1024_network():
    _, G, D = build("stylegan2", resolution=1024)
    assert count(G.mapping) == 8 * (512 * 512 + 512)
    assert count(G) == 30_370_060
    assert count(D) == 29_012_513


def test_parameter_counts_by_hand():
    _, G, D = small(resolution=8, num_classes=3)
    # Channels: 8 at 4x4, 8 at 8x8. Layer: affine 5·8 + 8, weight 8·8·9, bias 8, noise strength 1.
    layer, rgb = 48 + 576 + 8 + 1, 48 + 24 + 3
    assert count(G.synthesis) == 8 * 16 + 3 * layer + 2 * rgb
    assert count(G.mapping) == (3 * 5 + 5) + (11 * 5 + 5) + (5 * 5 + 5)
    block = (576 + 8) + (576 + 8) + 64
    top = (9 * 8 * 9 + 8) + (128 * 8 + 8) + (8 * 8 + 8)
    cmap = (3 * 8 + 8) + 8 * (8 * 8 + 8)
    assert count(D) == (3 * 8 + 8) + block + top + cmap


@pytest.mark.parametrize(("resolution", "num_ws"), [(8, 4), (16, 6), (32, 8), (64, 10)])
def test_num_ws(resolution, num_ws):
    _, G, _ = small(resolution=resolution, channel_max=2)
    assert G.num_ws == num_ws == 2 * int(math.log2(resolution)) - 2


@pytest.mark.parametrize(
    ("resolution", "start"), [((64, 96), (4, 6)), ((32, 16), (8, 4)), ((48, 48), (6, 6)), ((8, 8), (4, 4))], ids=str
)
def test_non_square(resolution, start):
    _, G, D = small(resolution=resolution, channel_max=2)
    assert G.synthesis.const.shape[1:] == start
    img = G(torch.randn(2, 6))
    assert img.shape == (2, 3, *resolution)
    assert D(img).shape == (2, 1)


def test_initial_state():
    _, G, _ = small()
    for layer in G.synthesis.layers:
        assert layer.noise_strength.item() == 0
        torch.testing.assert_close(layer.affine(torch.zeros(1, 5)), torch.ones(1, layer.affine.out_features))
    assert G.mapping.w_avg.abs().max() == 0
    assert not any(name.endswith(".f") for name in G.state_dict())


def test_row_of_ws_that_each_layer_uses():
    _, G, _ = small(resolution=8)
    seen = {}
    for name, module in G.synthesis.named_modules():
        if name.startswith(("layers.", "to_rgb.")) and name.count(".") == 1:
            module.affine.register_forward_pre_hook(
                lambda m, inputs, name=name: seen.update({name: inputs[0][0, 0].item()})
            )
    G.synthesis(torch.arange(4.0)[None, :, None].expand(1, 4, 5))
    assert seen == {"layers.0": 0, "to_rgb.0": 1, "layers.1": 1, "layers.2": 2, "to_rgb.1": 3}


def test_image_is_the_sum_of_upsampled_to_rgbs():
    _, G, _ = small()
    seen = []
    for to_rgb in G.synthesis.to_rgb:
        to_rgb.register_forward_hook(lambda m, inputs, output: seen.append((m, inputs)))
    img = G.synthesis(torch.randn(1, 6, 5), noise_mode="none")
    parts = [m.forward(*inputs) for m, inputs in seen]  # without what each adds to
    up = lambda x: upsample2d(x, torch.outer(f, f))  # noqa: E731
    f = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    torch.testing.assert_close(img, up(up(parts[0]) + parts[1]) + parts[2])


def test_noise_modes_and_determinism():
    _, G, _ = small()
    G.eval()
    for layer in G.synthesis.layers:
        torch.nn.init.constant_(layer.noise_strength, 0.5)
    z = torch.randn(2, 6)
    assert torch.equal(G(z, noise_mode="const"), G(z, noise_mode="const"))
    assert torch.equal(G(z, noise_mode="none"), G(z, noise_mode="none"))
    assert not torch.equal(G(z), G(z))
    torch.manual_seed(5)
    first = G(z)
    torch.manual_seed(5)
    assert torch.equal(first, G(z))
    _, quiet, _ = small(noise=False)
    quiet.load_state_dict(G.state_dict())
    assert torch.equal(quiet.eval()(z), G(z, noise_mode="none"))
    with pytest.raises(ValueError, match="noise_mode must be one of random, const, none, got 'fixed'"):
        G(z, noise_mode="fixed")


def test_state_dict_restores_the_same_image():
    _, G, _ = small(num_classes=2)
    for layer in G.synthesis.layers:
        torch.nn.init.constant_(layer.noise_strength, 0.5)
    z, c = torch.randn(2, 6), torch.eye(2)
    G(z, c, update_emas=True)
    torch.manual_seed(77)
    _, other, _ = build("stylegan2", **{"resolution": 16, **SMALL, "num_classes": 2})
    other.load_state_dict(copy.deepcopy(G.state_dict()))
    options = {"truncation_psi": 0.5, "noise_mode": "const"}
    assert torch.equal(G.eval()(z, c, **options), other.eval()(z, c, **options))


def test_truncation_zero_is_the_image_of_w_avg():
    _, G, _ = small()
    G.eval()
    for _ in range(3):
        G(torch.randn(4, 6), update_emas=True)
    img = G(torch.randn(2, 6), truncation_psi=0, noise_mode="const")
    average = G.synthesis(G.mapping.w_avg.expand(2, 6, 5), noise_mode="const")
    torch.testing.assert_close(img, average)


def test_generator_mixes_only_in_training():
    _, G, _ = small(style_mixing=1.0)
    z = torch.randn(1, 6)
    G.train()
    assert not torch.equal(G(z, noise_mode="const"), G(z, noise_mode="const"))
    G.eval()
    assert torch.equal(G(z, noise_mode="const"), G(z, noise_mode="const"))


def test_discriminator_block_by_its_formula():
    _, _, D = small()
    block = D.blocks[0]
    for conv in (block.conv0, block.conv1):
        torch.nn.init.normal_(conv.bias)
    x = torch.randn(2, 4, 16, 16)
    f = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    lrelu = lambda y: F.leaky_relu(y, 0.2) * math.sqrt(2)  # noqa: E731
    y = lrelu(F.conv2d(x, block.conv0.weight / 6, block.conv0.bias, padding=1))
    y = filter2d(y, f, padding=1)  # one pixel for the kernel; filter2d's own [2, 1] makes it [3, 2], cropped to [2, 2]
    y = lrelu(F.conv2d(y[:, :, 1:, 1:], block.conv1.weight / 6, block.conv1.bias, stride=2))
    skip = F.conv2d(downsample2d(x, f), block.skip.weight / 2)
    torch.testing.assert_close(block(x), (y + skip) / math.sqrt(2), rtol=1e-4, atol=1e-5)


def test_discriminator_end_by_hand():
    _, _, D = small(num_classes=3, mbstd_group=2, cmap_dim=7)
    img, c = torch.randn(4, 3, 16, 16), torch.eye(3)[[0, 1, 2, 0]]
    x = D.from_rgb(img)
    for block in D.blocks:
        x = block(x)
    x = D.out(D.dense(D.conv(minibatch_stddev(x, 2)).flatten(1)))
    assert x.shape == (4, 7)
    expected = (x * D.mapping.w(None, c)).sum(dim=1) / math.sqrt(7)
    torch.testing.assert_close(D(img, c)[:, 0], expected)
    assert len(D.mapping.layers) == 8


def test_label_changes_image_and_logit():
    _, G, D = small(num_classes=2)
    G.eval()
    z, a, b = torch.randn(1, 6), torch.eye(2)[:1], torch.eye(2)[1:]
    img = G(z, a, noise_mode="const")
    assert not torch.equal(img, G(z, b, noise_mode="const"))
    assert not torch.equal(D(img, a), D(img, b))


def test_clamp_bounds_layers_and_follows_the_gain():
    _, G, D = small(conv_clamp=0.01)
    assert G(torch.randn(2, 6)).abs().max() <= 0.01 * 3 + 1e-6  # three to-RGB images, up-sampling keeps the bound
    assert D.conv.clamp == D.from_rgb.clamp == 0.01
    assert D.blocks[0].conv1.clamp == pytest.approx(0.01 * math.sqrt(0.5))
    assert D.blocks[0].skip.clamp is None


def test_gradients_reach_every_parameter():
    _, G, D = small(num_classes=2)
    c = torch.eye(2)
    for parameter in G.parameters():
        assert parameter.requires_grad
    D(G(torch.randn(2, 6), c), c).sum().backward()
    for module in (G, D):
        for name, p in module.named_parameters():
            assert p.grad is not None and p.grad.abs().max() > 0, name


def test_empty_batch():
    _, G, D = small()
    assert D(G(torch.zeros(0, 6))).shape == (0, 1)


def test_channels_last_gives_the_same_image():
    _, G, D = small()
    G.eval()
    z = torch.randn(2, 6)
    img, logits = G(z, noise_mode="const"), D(G(z, noise_mode="const"))
    for module in (G, D):
        module.to(memory_format=torch.channels_last)
    again = G(z, noise_mode="const")
    torch.testing.assert_close(again, img, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(D(again), logits, rtol=1e-4, atol=1e-5)


def test_errors():
    _, G, D = small()
    with pytest.raises(ValueError, match=r"ws must have shape \[N, num_ws, w_dim\]=\[N, 6, 5\], got \[1, 5, 5\]"):
        G.synthesis(torch.zeros(1, 5, 5))
    with pytest.raises(ValueError, match=r"img must have shape \[N, 3, 16, 16\], got \[1, 3, 16, 8\]"):
        D(torch.zeros(1, 3, 16, 8))
    with pytest.raises(ValueError, match=r"c must have shape \[N, num_classes\]=\[1, 0\], got \[1, 2\]"):
        D(torch.zeros(1, 3, 16, 16), torch.zeros(1, 2))
