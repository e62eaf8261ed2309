from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fastgan.losses import Labelled
from fastgan.losses.penalties import R1, R2, evaluate
from fastgan.models.r3gan import Block, R3GANConfig, Stage
from fastgan.models.registry import build, configure, family, layout

SMALL = {"resolution": 16, "channel_base": 128, "channel_max": 16, "z_dim": 6}


def networks(**changes: Any) -> tuple[Any, Any]:
    torch.manual_seed(0)
    _, G, D = build("r3gan", **SMALL | changes)
    return G, D


def awakened(network: Any) -> Any:
    """In float64, what begins at 0 drawn at random: nothing is hidden behind a factor of 0."""
    network.double()
    for name, parameter in network.named_parameters():
        if parameter.abs().max() == 0:
            torch.nn.init.normal_(parameter, std=0.1 if name.endswith("weight") else 0.3)
    return network


def blocks_of(network: torch.nn.Module) -> list[Block]:
    return [module for module in network.modules() if isinstance(module, Block)]


@pytest.mark.parametrize("resolution", [(16, 16), (32, 32), (64, 64), (32, 48)], ids=str)
def test_shapes(resolution):
    G, D = networks(resolution=resolution, channel_base=512)
    images = G(torch.randn(2, 6))
    assert images.shape == (2, 3, *resolution)
    assert 0.1 < images.std() < 1.0
    assert D(images).shape == (2, 1)


@pytest.mark.parametrize("blocks", [1, 2])
def test_parameter_counts_by_hand(blocks):
    """At the sizes of FFHQ-256: 768 channels up to 32², then halved; blocks twice as wide inside, groups of 16."""
    widths = [768, 768, 768, 768, 384, 192, 96]
    inside = [2 * width for width in widths]
    of_blocks = sum(2 * w * i + i * 16 * 9 + 2 * i for w, i in zip(widths, inside, strict=True))  # and two biases
    between = 768 * 384 + 384 * 192 + 192 * 96
    shared = blocks * of_blocks + between + 768 * 16 + 3 * 96  # the basis, the convolution of the image
    config = configure("r3gan", resolution=256, channel_base=24576, channel_max=768, blocks=blocks)
    makers = family("r3gan").networks
    counts = [sum(p.numel() for p in layout(makers[name], config).parameters()) for name in "GD"]
    assert counts == [shared + 64 * 768, shared + 768]


def test_parameters_of_the_labels():
    (G, D), (conditional_G, conditional_D) = networks(), networks(num_classes=5)
    count = lambda network: sum(p.numel() for p in network.parameters())  # noqa: E731
    assert count(conditional_G) - count(G) == 5 * 6 + 6 * 16  # E, and W of a longer vector
    assert count(conditional_D) - count(D) == 5 * 16


def test_channels_make_whole_groups():
    config = configure("r3gan", resolution=(32, 48), channel_base=512, channel_max=36)
    assert [config.channels(size) for size in ((4, 6), (8, 12), (16, 24), (32, 48))] == [32, 32, 16, 8]
    assert configure("r3gan", channel_base=32).channels((32, 32)) == 8  # one group of 16 inside
    assert configure("r3gan", channel_base=32, expansion=3, group_size=4).channels((32, 32)) == 4


def test_initialisation():
    _, G, D = build("r3gan", channel_base=4096, blocks=2)
    for network in (G, D):
        blocks = blocks_of(network)
        assert len(blocks) == 8
        for block in blocks:
            assert block.reduce.weight.abs().max() == 0 and block.reduce.bias is None
            for layer in (block.expand, block.group):
                weight, bias = layer.weight, layer.bias
                expected = math.sqrt(2 / 1.04 / math.prod(weight.shape[1:])) * 8**-0.25
                assert weight.std().item() == pytest.approx(expected, rel=4 / weight.numel() ** 0.5)
                assert bias is not None and bias.abs().max() == 0


def test_a_block_is_the_identity_at_first_and_then_its_formula():
    G, _ = networks()
    block = blocks_of(G)[0].double()
    x = torch.randn(2, 16, 8, 8, dtype=torch.float64)
    assert torch.equal(block(x), x)
    awakened(block)
    y = F.leaky_relu(F.conv2d(x, block.expand.weight, block.expand.bias), 0.2)
    y = F.leaky_relu(F.conv2d(y, block.group.weight, block.group.bias, padding=1, groups=2), 0.2)
    torch.testing.assert_close(block(x), x + F.conv2d(y, block.reduce.weight))


def test_groups_do_not_mix():
    G, _ = networks()
    group = blocks_of(G)[0].group
    x = torch.randn(1, 32, 4, 4)
    changed = x.clone()
    changed[:, :16] += 1
    before, after = group(x), group(changed)
    assert torch.equal(before[:, 16:], after[:, 16:]) and not torch.equal(before[:, :16], after[:, :16])


@pytest.mark.parametrize("channels", [4, 6])
def test_transitions_interpolate(channels):
    x = torch.randn(2, 4, 6, 8, dtype=torch.float64)
    cfg = R3GANConfig(group_size=2)
    up, down = (Stage(4, channels, cfg, **factor).double() for factor in ({"up": 2}, {"down": 2}))
    bilinear: Tensor = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64) / 8
    kernel = taps.outer(taps).expand(4, 1, 4, 4)
    filtered = F.conv2d(x, kernel, stride=2, padding=1, groups=4)
    for layer, expected in ((up, bilinear), (down, filtered)):
        y = layer(x, taps)  # the blocks are the identity
        if channels != 4:
            assert layer.weight is not None
            expected = F.conv2d(expected, layer.weight)
        inner = (..., slice(1, -1), slice(1, -1))  # at the border images end in zeros, not in their last pixel
        torch.testing.assert_close(y[inner], expected[inner])
    assert (up.weight is None) == (channels == 4)


def test_the_generator_begins_with_its_basis_scaled_by_z():
    G, _ = networks(num_classes=3)
    z, c = torch.randn(2, 6), torch.eye(3)[[2, 0]]
    joined = torch.cat([z, G.embedding.t()[[2, 0]]], dim=1)
    scales = joined @ G.modulation.t()
    seen = []
    G.stages[0].register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    G(z, c)
    torch.testing.assert_close(seen[0], torch.einsum("nc,chw->nchw", scales, G.basis[0]))


def test_the_discriminator_ends_in_its_basis_and_the_label():
    _, D = networks(num_classes=3)
    images, k = torch.randn(2, 3, 16, 16), [1, 2]
    seen = []
    D.stages[-1].register_forward_hook(lambda module, given, result: seen.append(result))
    logits = D(images, torch.eye(3)[k])
    depthwise = F.conv2d(seen[0], D.basis.transpose(0, 1), groups=16)
    assert depthwise.shape == (2, 16, 1, 1)
    features = depthwise.flatten(1)
    expected = features @ D.dense.t() + (features * D.embedding.t()[k]).sum(dim=1, keepdim=True)
    torch.testing.assert_close(logits, expected)


def test_labels_change_images_and_logits():
    G, D = networks(num_classes=2)
    z, images, labels = torch.randn(1, 6), torch.randn(1, 3, 16, 16), torch.eye(2).split(1)
    assert not torch.equal(*(G(z, c) for c in labels))
    assert not torch.equal(*(D(images, c) for c in labels))


def test_a_network_without_memory_takes_a_checkpoint():
    """Also where no channels change on the way to another resolution."""
    config = configure("r3gan", **SMALL)
    for name, network, given in zip("GD", networks(), ((2, 6), (2, 3, 16, 16)), strict=True):
        assert any(stage.weight is None for stage in network.stages[1:])
        assert any(stage.weight is not None for stage in network.stages[1:])
        loaded = layout(family("r3gan").networks[name], config)
        loaded.load_state_dict(awakened(network).state_dict(), assign=True)
        x = torch.randn(given, dtype=torch.float64)
        assert torch.equal(loaded.double()(x), network(x))
        network.load_state_dict(loaded.state_dict())


def test_channels_last_and_the_empty_batch():
    for network, given in zip(map(awakened, networks()), ((3, 6), (3, 3, 16, 16)), strict=True):
        x = torch.randn(given, dtype=torch.float64)
        expected = network(x)
        assert len(network(x[:0])) == 0
        network.to(memory_format=torch.channels_last)
        torch.testing.assert_close(network(x), expected)


@pytest.mark.parametrize("penalty", [R1, R2], ids=["r1", "r2"])
def test_penalties_by_finite_differences(penalty):
    """d penalty/dp of every parameter of D; swish instead of lrelu, on which a second derivative is hidden."""
    G, D = (awakened(network) for network in networks(resolution=8, num_classes=2, channel_base=32))
    for module in D.modules():
        if getattr(module, "act", None) == "lrelu":
            module.act = "swish"
    c = torch.eye(2, dtype=torch.float64)[[0, 1, 0]]
    fake = Labelled(G(torch.randn(3, 6, dtype=torch.float64), c).detach(), c)
    seen = penalty.place(Labelled(torch.randn_like(fake.images), c), lambda: fake)
    assert (seen is fake) == (penalty is R2)
    weights = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)

    def value() -> Tensor:
        return (penalty(evaluate(D, seen)) * weights).sum()

    parameters = dict(D.named_parameters())
    gradients = torch.autograd.grad(value(), list(parameters.values()))
    for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True):
        direction = torch.randn_like(parameter)
        ends = []
        for change in (1e-5, -2e-5):
            parameter.data.add_(direction, alpha=change)
            ends.append(value().item())
        parameter.data.add_(direction, alpha=1e-5)
        numeric = (ends[0] - ends[1]) / 2e-5
        assert abs(numeric) > 1e-6, name
        assert (gradient * direction).sum().item() == pytest.approx(numeric, rel=2e-5), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": 0}, "blocks must be an integer of at least 1, got 0"),
        ({"expansion": 1.5}, "expansion must be an integer of at least 1, got 1.5"),
        ({"resolution": 7}, r"resolution must be \(H, W\) = start · 2\^k"),
    ],
)
def test_impossible_architectures_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        configure("r3gan", **SMALL | changes)
