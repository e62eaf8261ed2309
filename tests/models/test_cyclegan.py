"""The residual generator and CycleGAN's configuration; the PatchGAN's tests are in test_pix2pix.py."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fastgan.models.cyclegan import FAMILY
from fastgan.models.registry import configure
from fastgan.models.resnet import ResNet
from fastgan.models.unet import UNet

SMALL = {"resolution": 32, "num_blocks": 2, "channel_base": 4, "d_channel_base": 4}


def networks(config: Any) -> dict[str, Any]:
    return {name: make(config) for name, make in FAMILY.networks.items()}


def count(network):
    return sum(p.numel() for p in network.parameters())


def test_parameter_counts_of_the_published_networks():
    with torch.device("meta"):
        built = networks(configure("cyclegan"))
    ends = 49 * 3 * 64 + 64 + 49 * 64 * 3 + 3
    down_and_up = 9 * (64 * 128 + 128 * 256) + 128 + 256 + 9 * (256 * 128 + 128 * 64) + 128 + 64
    blocks = 9 * 2 * (9 * 256 * 256 + 256)
    assert count(built["G_ab"]) == count(built["G_ba"]) == ends + down_and_up + blocks == 11_378_179
    kernels = 3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512 * 1
    assert count(built["D_a"]) == count(built["D_b"]) == 16 * kernels + 64 + 128 + 256 + 512 + 1 == 2_764_737


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_resnet_is_that_of_the_paper(norm):
    torch.manual_seed(0)
    G = ResNet(3, 2, num_blocks=1, channel_base=4, norm=norm).double().train()
    for parameter in G.parameters():
        nn.init.normal_(parameter, 0.1, 0.5)
    image = torch.rand(2, 3, 12, 16, dtype=torch.float64) * 2 - 1

    def layer(x, part, pad=0, up=False, **options):
        x = F.pad(x, [pad] * 4, mode="reflect") if pad else x
        convolve = F.conv_transpose2d if up else F.conv2d
        x = convolve(x, part.conv.weight, part.conv.bias, **options)
        if norm == "instance":
            return F.instance_norm(x)
        return F.batch_norm(x, None, None, part.norm.weight, part.norm.bias, training=True)

    x = F.relu(layer(image, G.stem, pad=3))
    for part in G.downs:
        x = F.relu(layer(x, part, stride=2, padding=1))
    block = G.blocks[0]
    x = x + layer(F.relu(layer(x, block.first, pad=1)), block.second, pad=1)
    for part in G.ups:
        x = F.relu(layer(x, part, up=True, stride=2, padding=1, output_padding=1))
    expected = torch.tanh(F.conv2d(F.pad(x, [3] * 4, mode="reflect"), G.head.conv.weight, G.head.bias))
    torch.testing.assert_close(G(image), expected, rtol=1e-10, atol=1e-12)


def test_images_of_any_size_that_fits():
    G = ResNet(1, 2, num_blocks=1, channel_base=2)
    for batch, height, width in ((1, 8, 8), (3, 12, 20), (2, 36, 8)):
        made = G(torch.rand(batch, 1, height, width))
        assert made.shape == (batch, 2, height, width)
        assert made.abs().max() <= 1
    assert (G.in_channels, G.out_channels, G.multiple, G.smallest) == (1, 2, 4, 8)
    for height, width in ((4, 8), (8, 10), (8, 0)):
        shape = rf"H and W multiples of 4 and at least 8, got \[2, 1, {height}, {width}\]"
        with pytest.raises(ValueError, match=r"image must have shape \[N, 1, H, W\], " + shape):
            G(torch.rand(2, 1, height, width))


@pytest.mark.parametrize("generator", ["resnet", "unet"])
def test_the_round_trip_through_sets_of_other_channels(generator):
    depth = {"num_blocks": 1} if generator == "resnet" else {"num_downs": 3}
    cfg = configure("cyclegan", **SMALL | {"num_blocks": 0} | depth, generator=generator, in_channels=1, out_channels=3)
    built = networks(cfg)
    assert list(built) == ["G_ab", "G_ba", "D_a", "D_b"]
    a, b = torch.rand(2, 1, 32, 32), torch.rand(2, 3, 32, 32)
    assert built["G_ba"](built["G_ab"](a)).shape == a.shape
    assert built["G_ab"](built["G_ba"](b)).shape == b.shape
    assert built["D_a"](a).shape == built["D_b"](b).shape == (2, 1, 2, 2)


@pytest.mark.parametrize("generator", ["resnet", "unet"])
def test_translation_is_alike_in_both_modes_and_for_each_image_of_a_batch(generator):
    """Instance normalisation has no running averages, and CycleGAN's U-Net no dropout."""
    torch.manual_seed(0)
    G = networks(configure("cyclegan", resolution=32, generator=generator, channel_base=4))["G_ab"].double().train()
    images = torch.rand(3, 3, 32, 32, dtype=torch.float64)
    made = G(images)
    torch.testing.assert_close(made[1:2], G(images[1:2]), rtol=1e-10, atol=1e-12)
    assert torch.equal(made, G.eval()(images))


def test_gradients_reach_every_parameter():
    """Save biases before instance normalisation, which the subtracted mean takes along."""
    torch.manual_seed(0)
    built = {name: network.double() for name, network in networks(configure("cyclegan", **SMALL)).items()}
    a, b = (torch.rand(2, 3, 32, 32, dtype=torch.float64) for _ in range(2))
    fake_b, fake_a = built["G_ab"](a), built["G_ba"](b)
    (built["D_b"](fake_b).square().sum() + built["D_a"](fake_a).square().sum()).backward()
    idle = 0
    for network in built.values():
        for path, module in network.named_modules():
            if not isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                continue
            layer = network.get_submodule(path.removesuffix(".conv"))
            assert module.weight.grad.abs().max() > 1e-10, path
            if layer.norm is None:
                assert layer.bias.grad.abs().max() > 1e-10, path
            else:
                assert module.bias.grad.abs().max() < 1e-10, path
                idle += 1
    assert idle == 2 * (1 + 2 + 2 * 2 + 2) + 2 * 3


def test_a_seed_gives_the_same_networks_and_each_its_own_weights():
    def weights():
        torch.manual_seed(3)
        return [network.state_dict() for network in networks(configure("cyclegan", **SMALL)).values()]

    first, second = weights(), weights()
    for one, other in zip(first, second, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert not torch.equal(first[0]["stem.conv.weight"], first[1]["stem.conv.weight"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves(dtype):
    torch.manual_seed(0)
    G = ResNet(num_blocks=2, channel_base=8).to(dtype).double()  # weights that the half holds exactly
    image = torch.rand(2, 3, 16, 16).to(dtype)
    exact = G(image.double())
    rounded = G.to(dtype)(image)
    assert rounded.dtype == dtype
    assert (rounded.double() - exact).abs().max() / exact.abs().max() < 32 * torch.finfo(dtype).eps


def test_channels_last_stays_and_changes_no_value():
    torch.manual_seed(0)
    G: Any = ResNet(num_blocks=2, channel_base=4).double()
    image = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    expected = G(image)
    G.to(memory_format=torch.channels_last)
    formats = []
    for module in G.modules():
        module.register_forward_hook(
            lambda module, inputs, y: formats.append(y.is_contiguous(memory_format=torch.channels_last))
        )
    found = G(image.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    assert len(formats) > 20 and all(formats)


def test_configuration():
    assert configure("cyclegan").num_blocks == 9
    assert configure("cyclegan", resolution=(64, 132)).num_blocks == 9
    assert configure("cyclegan", resolution=128).num_blocks == 6
    assert configure("cyclegan", resolution=64, num_blocks=3).num_blocks == 3
    assert configure("cyclegan", generator="unet").num_downs == 8
    for generator, kind in (("resnet", ResNet), ("unet", UNet)):
        cfg = configure("cyclegan", resolution=32, generator=generator, channel_base=2)
        assert configure("cyclegan", **dataclasses.asdict(cfg)) == cfg
        assert isinstance(networks(cfg)["G_ba"], kind)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 30}, r"resolution must be multiples of 4 and at least 8 for a resnet, got \(30, 30\)"),
        ({"resolution": (64, 4)}, r"at least 8 for a resnet, got \(64, 4\)"),
        ({"resolution": 72, "generator": "unet"}, r"halved down to 7 pixels or fewer.*got \(72, 72\).* 9x9"),
        ({"num_downs": 3}, "num_downs must be 0 where the generator is a resnet, got 3"),
        ({"generator": "unet", "num_blocks": 3}, "num_blocks must be 0 where the generator is a unet, got 3"),
        ({"generator": "u-net"}, "generator must be one of resnet, unet, got 'u-net'"),
        ({"num_blocks": True}, "num_blocks must be an integer of at least 0, got True"),
        ({"norm": None}, "norm must be one of batch, instance, got None"),
        ({"resolution": 16}, r"receptive_field 70 needs images of at least 24 pixels a side.*\(16, 16\)"),
    ],
    ids=lambda value: None if isinstance(value, str) else ",".join(f"{k}={v}" for k, v in value.items()),
)
def test_impossible_configurations(changes, message):
    with pytest.raises(ValueError, match=message):
        configure("cyclegan", **changes)
