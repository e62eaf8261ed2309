"""The U-Net, the PatchGAN and pix2pix's configuration."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fastgan.models.patchgan import ConditionalPatchGAN, PatchGAN
from fastgan.models.pix2pix import FAMILY
from fastgan.models.registry import configure
from fastgan.models.unet import UNet

SMALL = {"channel_base": 4, "d_channel_base": 4}


def networks(config: Any) -> dict[str, Any]:
    return {name: make(config) for name, make in FAMILY.networks.items()}


def count(network):
    return sum(p.numel() for p in network.parameters())


def small_unet(**changes: Any) -> Any:
    sizes: dict[str, Any] = {"num_downs": 5, "channel_base": 4}
    return UNet(**(sizes | changes))


def test_parameter_counts_of_the_published_networks():
    with torch.device("meta"):
        built = networks(configure("pix2pix", norm="batch"))
    encoder = 3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 4 * 512 * 512
    decoder = 512 * 512 + 3 * 1024 * 512 + 1024 * 256 + 512 * 128 + 256 * 64 + 128 * 3
    normalised = (128 + 256 + 4 * 512) + (
        4 * 512 + 256 + 128 + 64
    )  # neither the first nor the innermost of the encoder
    assert count(built["G"]) == 16 * (encoder + decoder) + 2 * normalised + 3 == 54_413_955
    kernels = 6 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512 * 1
    assert count(built["D"]) == 16 * kernels + (64 + 1) + 2 * (128 + 256 + 512) == 2_768_705


@pytest.mark.parametrize(
    ("receptive_field", "layers"),
    [
        (1, [(6, 64, 1, 1), (64, 128, 1, 1), (128, 1, 1, 1)]),
        (16, [(6, 64, 4, 2), (64, 128, 4, 1), (128, 1, 4, 1)]),
        (70, [(6, 64, 4, 2), (64, 128, 4, 2), (128, 256, 4, 2), (256, 512, 4, 1), (512, 1, 4, 1)]),
        (
            286,
            [(6, 64, 4, 2), (64, 128, 4, 2), (128, 256, 4, 2), (256, 512, 4, 2), (512, 512, 4, 2)]
            + [(512, 512, 4, 1), (512, 1, 4, 1)],
        ),
    ],
    ids=["1", "16", "70", "286"],
)
def test_discriminators_of_the_appendix(receptive_field, layers):
    with torch.device("meta"):
        D = ConditionalPatchGAN(receptive_field=receptive_field)
    convs = [module for module in D.modules() if isinstance(module, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size[0], c.stride[0]) for c in convs] == layers


@pytest.mark.parametrize("receptive_field", [1, 16, 34, 70, 142, 286])
def test_a_logit_sees_a_patch_of_the_receptive_field(receptive_field):
    torch.manual_seed(0)
    D = PatchGAN(2, receptive_field, channel_base=1, norm="batch").double().eval()
    side = 32 * (2 * receptive_field // 32 + 3)
    img = torch.randn(1, 2, side, side, dtype=torch.float64, requires_grad=True)
    logits = D(img)
    (seen,) = torch.autograd.grad(logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2], img)
    for axis in (2, 3):
        places = (seen != 0).any(dim=5 - axis).any(dim=1)[0].nonzero().flatten()
        assert len(places) == receptive_field
        assert places[-1] - places[0] + 1 == receptive_field
        assert places[0] > 0 and places[-1] < side - 1  # no border cut it


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_unet_is_that_of_the_paper(norm):
    """Against the paper's order written in plain torch: encoder lrelu-conv-norm, decoder relu(join)-deconv-norm."""
    torch.manual_seed(0)
    G = small_unet(num_downs=3, norm=norm, dropout=0.0).double().train()
    for parameter in G.parameters():
        nn.init.normal_(parameter, 0.3, 0.5)
    image = torch.rand(3, 3, 16, 24, dtype=torch.float64) * 2 - 1

    def normalised(x, layer):
        if norm == "instance":
            return F.instance_norm(x)
        return F.batch_norm(x, None, None, layer.norm.weight, layer.norm.bias, training=True)

    def bias(layer):
        return layer.conv.bias if layer.conv.bias is not None else layer.bias

    downs: Any = G.downs
    ups: Any = G.ups
    (d0, d1, d2), (u0, u1, u2) = downs, ups
    e0 = F.conv2d(image, d0.conv.weight, bias(d0), stride=2, padding=1)
    e1 = normalised(F.conv2d(F.leaky_relu(e0, 0.2), d1.conv.weight, bias(d1), stride=2, padding=1), d1)
    e2 = F.conv2d(F.leaky_relu(e1, 0.2), d2.conv.weight, bias(d2), stride=2, padding=1)
    y = normalised(F.conv_transpose2d(F.relu(e2), u0.conv.weight, bias(u0), stride=2, padding=1), u0)
    joined = F.relu(torch.cat([e1, y], 1))
    y = normalised(F.conv_transpose2d(joined, u1.conv.weight, bias(u1), stride=2, padding=1), u1)
    joined = F.relu(torch.cat([e0, y], 1))
    y = torch.tanh(F.conv_transpose2d(joined, u2.conv.weight, bias(u2), stride=2, padding=1))
    torch.testing.assert_close(G(image), y, rtol=1e-10, atol=1e-12)


def test_discriminator_is_that_of_the_paper():
    torch.manual_seed(0)
    D = ConditionalPatchGAN(1, 2, receptive_field=16, channel_base=4).double()
    for parameter in D.parameters():
        nn.init.normal_(parameter, 0.3, 0.5)
    a, b = torch.randn(2, 1, 12, 14, dtype=torch.float64), torch.randn(2, 2, 12, 14, dtype=torch.float64)
    layers: Any = D.layers
    first, second, last = layers
    x = F.leaky_relu(F.conv2d(torch.cat([a, b], 1), first.conv.weight, first.bias, stride=2, padding=1), 0.2)
    x = F.conv2d(x, second.conv.weight, padding=1)
    x = F.leaky_relu(F.batch_norm(x, None, None, second.norm.weight, second.norm.bias, training=True), 0.2)
    expected = F.conv2d(x, last.conv.weight, last.bias, padding=1)
    torch.testing.assert_close(D(a, b), expected, rtol=1e-10, atol=1e-12)
    assert not torch.equal(D(a.flip(0), b), D(a, b))  # it judges the pair, not b alone


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("num_downs", [1, 2, 5])
def test_images_of_any_size_that_fits(num_downs, norm):
    G = UNet(1, 2, num_downs, channel_base=2, norm=norm)
    for batch, height, width in ((1, 1, 1), (3, 1, 5), (2, 3, 2)):
        image = torch.rand(batch, 1, height * 2**num_downs, width * 2**num_downs)
        made = G(image)
        assert made.shape == (batch, 2, *image.shape[2:])
        assert made.abs().max() <= 1
    assert (G.in_channels, G.out_channels, G.multiple, G.smallest) == (1, 2, 2**num_downs, 2**num_downs)


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize(("receptive_field", "smallest"), [(1, 2), (16, 6), (34, 12), (70, 24), (142, 48), (286, 96)])
def test_the_smallest_image_leaves_one_logit(receptive_field, smallest, norm):
    D = PatchGAN(1, receptive_field, channel_base=2, norm=norm)
    assert D.smallest == smallest
    assert D(torch.rand(1, 1, smallest, smallest)).shape == (1, 1, *((2, 2) if receptive_field == 1 else (1, 1)))
    with pytest.raises(ValueError, match=rf"H and W at least {smallest}, got \[1, 1, {smallest}, {smallest - 1}\]"):
        D(torch.rand(1, 1, smallest, smallest - 1))
    assert PatchGAN(1, 70, channel_base=2)(torch.rand(2, 1, 65, 31)).shape == (2, 1, 6, 1)


def test_the_bottleneck_is_not_normalised():
    """At 1x1, normalisation would make it zero, and D's gradient with it (the paper's erratum)."""
    for norm in ("batch", "instance"):
        G = small_unet(norm=norm)
        reached = []
        G.downs[-1].register_forward_hook(lambda module, inputs, output, reached=reached: reached.append(output))
        G(torch.rand(1, 3, 32, 32))
        assert reached[0].shape == (1, 32, 1, 1)
        assert reached[0].std() > 0


def test_initialisation():
    torch.manual_seed(0)
    for network in networks(configure("pix2pix", resolution=32, channel_base=16, d_channel_base=16)).values():
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                assert module.weight.std().item() == pytest.approx(0.02, rel=4 / module.weight.numel() ** 0.5)
            elif isinstance(module, nn.BatchNorm2d):
                assert abs(module.weight.mean().item() - 1) < 0.02
        assert all(p.abs().max() == 0 for name, p in network.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_gradients_reach_every_parameter(norm):
    torch.manual_seed(0)
    built = networks(configure("pix2pix", resolution=32, norm=norm, **SMALL))
    G, D = (network.double() for network in built.values())
    a = torch.rand(3, 3, 32, 32, dtype=torch.float64)
    D(a, G(a)).square().sum().backward()
    for network in (G, D):
        for path, layer in network.named_modules():
            for name, parameter in layer.named_parameters(recurse=False):
                idle = norm == "instance" and path.endswith("conv") and name == "bias"
                size = parameter.grad.abs().max()
                assert size < 1e-10 if idle and has_norm(network, path) else size > 1e-10, (path, name, size)


def has_norm(network, path):
    return network.get_submodule(path.removesuffix(".conv")).norm is not None


def test_dropout_is_after_the_three_innermost_levels():
    torch.manual_seed(0)
    G = small_unet(num_downs=6).train()
    shares = []

    def look(module, inputs):
        shares.append((inputs[0][:, -module.conv.in_channels // 2 :] == 0).double().mean().item())

    for up in G.ups[:-1]:
        nn.init.constant_(up.norm.bias, 10.0)  # relu lets all pass: what is 0 was dropped
    for up in G.ups[1:]:
        up.register_forward_pre_hook(look)
    G(torch.rand(8, 3, 64, 64))
    assert shares[:3] == pytest.approx([0.5] * 3, abs=0.1)
    assert shares[3:] == [0, 0]
    shallow = small_unet(num_downs=3)
    assert (shallow(torch.rand(2, 3, 16, 16)) != 0).all()  # the image itself keeps every value


def test_dropout_follows_the_mode_unless_it_is_asked_for():
    torch.manual_seed(0)
    G = small_unet()
    image = torch.rand(2, 3, 32, 32)

    def differ(**options):
        return not torch.equal(G(image, **options), G(image, **options))

    assert differ() and differ(dropout=True) and not differ(dropout=False)
    G.eval()
    assert not differ() and differ(dropout=True) and not differ(dropout=False)
    assert torch.equal(G(image), G(image, dropout=False))
    torch.manual_seed(5)
    first = G(image, dropout=True)
    torch.manual_seed(5)
    assert torch.equal(first, G(image, dropout=True))
    with pytest.raises(ValueError, match=r"dropout must be one of None, False, True, got 0\.5"):
        G(image, dropout=0.5)


def test_evaluation_does_not_depend_on_the_batch():
    torch.manual_seed(0)
    G = small_unet()
    G(torch.rand(4, 3, 32, 32))
    G.eval()
    images = torch.rand(3, 3, 32, 32)
    torch.testing.assert_close(G(images)[:1], G(images[:1]))


def test_a_seed_gives_the_same_networks_in_any_dtype():
    def weights(dtype):
        torch.manual_seed(3)
        previous = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            built = networks(configure("pix2pix", resolution=32, **SMALL))
            return [p for network in built.values() for p in network.parameters()]
        finally:
            torch.set_default_dtype(previous)

    for single, double in zip(weights(torch.float32), weights(torch.float64), strict=True):
        assert double.dtype == torch.float64
        assert torch.equal(single.double(), double)


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves(dtype, norm):
    torch.manual_seed(0)
    built = networks(configure("pix2pix", resolution=32, norm=norm, dropout=0.0, **SMALL))
    G, D = (network.to(dtype).double() for network in built.values())  # weights that the half holds exactly
    a, b = (torch.rand(3, 3, 32, 32).to(dtype).double() for _ in range(2))
    exact = G(a), D(a, b)
    G, D, a, b = G.to(dtype), D.to(dtype), a.to(dtype), b.to(dtype)
    for rounded, expected in zip((G(a), D(a, b)), exact, strict=True):
        assert rounded.dtype == dtype
        error = (rounded.double() - expected).abs().max() / expected.abs().max()
        assert error < 32 * torch.finfo(dtype).eps


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_channels_last_stays_and_changes_no_value(norm):
    torch.manual_seed(0)
    built = networks(configure("pix2pix", resolution=32, norm=norm, dropout=0.0, **SMALL))
    G, D = (network.double() for network in built.values())
    a, b = (torch.rand(2, 3, 32, 32, dtype=torch.float64) for _ in range(2))
    expected = G(a), D(a, b)
    formats = []
    for network in (G, D):
        network.to(memory_format=torch.channels_last)
        for module in network.modules():
            module.register_forward_hook(
                lambda module, inputs, y: formats.append(y.is_contiguous(memory_format=torch.channels_last))
            )
    a, b = (x.contiguous(memory_format=torch.channels_last) for x in (a, b))
    for found, wanted in zip((G(a), D(a, b)), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
    assert len(formats) > 20 and all(formats)


def test_the_second_gradient_of_d():
    torch.manual_seed(0)
    for norm in ("batch", "instance"):
        D = PatchGAN(1, 16, channel_base=1, norm=norm).double()
        for parameter in D.parameters():
            nn.init.normal_(parameter)
        img = torch.randn(2, 1, 6, 6, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradgradcheck(D, (img,))


def test_configuration():
    assert configure("pix2pix").num_downs == 8
    assert configure("pix2pix", resolution=(64, 96)).num_downs == 5
    assert configure("pix2pix", resolution=(100, 100), num_downs=2).num_downs == 2
    cfg = configure("pix2pix", resolution=64, norm="instance")
    assert configure("pix2pix", **dataclasses.asdict(cfg)) == cfg
    G = networks(configure("pix2pix", resolution=32, in_channels=1, out_channels=4, **SMALL))["G"]
    assert G(torch.rand(2, 1, 32, 64)).shape == (2, 4, 32, 64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 100}, r"halved down to 7 pixels or fewer, or num_downs be given; got \(100, 100\).* 25x25"),
        ({"resolution": 75}, r"got \(75, 75\), which ends at 75x75"),
        ({"resolution": 7}, r"got \(7, 7\), which ends at 7x7"),
        ({"resolution": (64, 96), "num_downs": 6}, r"must be multiples of 2\^num_downs=64, got \(64, 96\)"),
        ({"num_downs": -1}, "num_downs must be an integer of at least 0, got -1"),
        ({"channel_base": 0}, "channel_base must be an integer of at least 1, got 0"),
        ({"in_channels": 3.0}, "in_channels must be an integer of at least 1, got 3.0"),
        ({"norm": "none"}, "norm must be one of batch, instance, got 'none'"),
        ({"dropout": 1.5}, r"dropout must be a number in \[0, 1\], got 1.5"),
        ({"receptive_field": 71}, "receptive_field must be one of 1, 16, 34, 70, 142, 286, got 71"),
        ({"resolution": 64, "receptive_field": 286}, r"286 needs images of at least 96 pixels a side.*\(64, 64\)"),
    ],
    ids=lambda value: None if isinstance(value, str) else ",".join(f"{k}={v}" for k, v in value.items()),
)
def test_impossible_configurations(changes, message):
    with pytest.raises(ValueError, match=message):
        configure("pix2pix", **changes)


def test_impossible_images():
    G, D = networks(configure("pix2pix", resolution=32, **SMALL)).values()
    image = torch.rand(2, 3, 32, 32)
    shape = r"image must have shape \[N, 3, H, W\], H and W multiples of 32 and at least 32, got "
    for wrong in (image[:, :1], image[:, :, 1:], image[:, :, :, :16], image[:, :, :0], image[0]):
        with pytest.raises(ValueError, match=shape + str(list(wrong.shape)).replace("[", r"\[")):
            G(wrong)
    with pytest.raises(TypeError, match=r"image must hold floating-point images in \[-1, 1\].*got torch.uint8"):
        G(image.byte())
    with pytest.raises(
        ValueError, match=r"b must have shape \[N, 3, H, W\], H and W at least 24, got \[2, 1, 32, 32\]"
    ):
        D(image, image[:, :1])
    for wrong in (image[:1], image[:, :, :24]):
        with pytest.raises(ValueError, match=r"a and b must be of one batch and size, got \[2, 3, 32, 32\] and \["):
            D(image, wrong)
