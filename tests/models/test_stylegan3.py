"""StyleGAN3: its networks, what moves their pictures, and how they train."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from fastgan.augment.blur import FadingBlur
from fastgan.data import ImageDataset
from fastgan.metrics.equivariance import lanczos_shift
from fastgan.models import Movable, build, configure, family
from fastgan.models.registry import layout
from fastgan.models.transforms import placement
from fastgan.train.games.noise import play
from fastgan.train.loop import step
from fastgan.train.state import TrainState

SMALL = {"channel_base": 128, "channel_max": 8, "z_dim": 6, "w_dim": 5, "layers": 5}
NAMES = pytest.mark.parametrize("name", ["stylegan3-t", "stylegan3-r"])


def small(name: str, **overrides: Any) -> Any:
    torch.manual_seed(0)
    return build(name, **{"resolution": 32, **SMALL, **overrides})


def decibels(x: Tensor, y: Tensor) -> float:
    """How near y is to x, for the contrast that x has."""
    return 10 * math.log10(x.var().item() / (x - y).square().mean().item())


def test_parameter_counts_at_1024() -> None:
    """That of T is the 22.3 million of the paper."""
    count = {}
    for name in ("stylegan3-t", "stylegan3-r"):
        network = layout(family(name).networks["G"], configure(name, resolution=1024))
        count[name] = sum(p.numel() for p in network.parameters())
    channels = {"stylegan3-t": [512] * 8, "stylegan3-r": [1024] * 8}
    channels["stylegan3-t"] += [323, 203, 128, 81, 51, 32, 32]
    channels["stylegan3-r"] += [645, 406, 256, 161, 102, 64, 64]
    for (name, widths), kernel in zip(channels.items(), (9, 1), strict=True):
        layers = sum(i * o * kernel + i * 513 + o for i, o in zip(widths[:-1], widths[1:], strict=True))
        rgb = widths[-1] * 3 + widths[-1] * 513 + 3
        assert count[name] == 2 * 512 * 513 + (512 * 4 + 4) + widths[0] ** 2 + layers + rgb
    assert round(count["stylegan3-t"] / 1e5) == 223


@NAMES
def test_channels_of_g_are_doubled_for_1x1_and_those_of_d_are_not(name: str) -> None:
    _, G, D = small(name)
    factor, kernel = (2, 1) if name == "stylegan3-r" else (1, 3)
    # 64 / cut-off, cut-offs 2, 4, 8, 16, 16 at layers 0 ... 4, at most 8.
    assert [tuple(layer.weight.shape) for layer in G.synthesis.layers] == [
        (factor * o, factor * i, kernel, kernel) for i, o in ((8, 8), (8, 8), (8, 8), (8, 4), (4, 4))
    ]
    assert D.from_rgb.weight.shape[0] == 4 and D.conv.weight.shape[0] == 8
    assert len(G.mapping.layers) == 2 and G.num_ws == 7


def test_row_of_ws_that_each_layer_uses() -> None:
    _, G, _ = small("stylegan3-t")
    seen: dict[str, float] = {}
    for name, module in G.synthesis.named_modules():
        if name.endswith("affine"):
            module.register_forward_pre_hook(lambda m, x, name=name: seen.update({name: x[0][0, 0].item()}))
    G.synthesis(torch.arange(7.0)[None, :, None].expand(1, 7, 5))
    assert seen == {"input.affine": 0, **{f"layers.{i}.affine": i + 1 for i in range(5)}, "to_rgb.affine": 6}


@NAMES
@pytest.mark.parametrize("resolution", [(32, 32), (64, 64), (8, 8), (16, 32)], ids=str)
def test_sizes(name: str, resolution: tuple[int, int]) -> None:
    _, G, D = small(name, resolution=resolution, channel_max=2)
    img = G(torch.randn(2, 6))
    assert isinstance(G, Movable) and img.shape == (2, 3, *resolution)
    assert D(img).shape == (2, 1)
    assert D(G(torch.zeros(0, 6))).shape == (0, 1)


@NAMES
def test_gradients_reach_every_parameter(name: str) -> None:
    _, G, D = small(name, num_classes=2)
    c = torch.eye(2)
    D(G(torch.randn(2, 6), c), c).sum().backward()
    for module in (G, D):
        for key, p in module.named_parameters():
            assert p.grad is not None and p.grad.abs().max() > 0, key


@NAMES
def test_averages_follow_when_asked_alone(name: str) -> None:
    _, G, _ = small(name)
    before = {key: value.clone() for key, value in G.named_buffers() if key.endswith(("_ema", "w_avg"))}
    assert len(before) == 7
    G(torch.randn(4, 6))
    assert all(torch.equal(value, before[key]) for key, value in G.named_buffers() if key in before)
    G(torch.randn(4, 6), update_emas=True)
    assert not any(torch.equal(value, before[key]) for key, value in G.named_buffers() if key in before)


@NAMES
def test_the_scale_of_features_does_not_matter_once_averages_have_followed(name: str) -> None:
    """Biases are 0: inputs ten times as large are divided by averages ten times as large."""
    _, G, _ = small(name)
    z = torch.randn(2, 6)
    for _ in range(2):
        for layer in (*G.synthesis.layers, G.synthesis.to_rgb):
            layer.input_gain = lambda x, update, layer=layer: _settled(layer, x)
        images = G(z)
        G.synthesis.input.weight.data.mul_(10)
        torch.testing.assert_close(G(z), images, rtol=1e-4, atol=1e-5)


def _settled(layer: Any, x: Tensor) -> Tensor:
    layer.magnitude_ema.copy_(x.detach().square().mean())
    return layer.magnitude_ema.rsqrt()


@NAMES
def test_a_shift_by_pixels_moves_the_picture(name: str) -> None:
    """Right by 3 and down by 2 pixels: the same pixels, but for those that come in."""
    _, G, _ = small(name)
    z = torch.randn(2, 6)
    still, moved = G(z), G(z, transform=placement((3 / 32, 2 / 32)))
    assert decibels(still[..., :-2, :-3], moved[..., 2:, 3:]) > 35
    assert decibels(still[..., :-2, :-3], still[..., 2:, 3:]) < 10


@NAMES
def test_a_shift_by_fractions_of_a_pixel_is_that_of_a_band_limited_picture(name: str) -> None:
    _, G, _ = small(name)
    z = torch.randn(2, 6)
    still, moved = G(z), G(z, transform=placement((1.5 / 32, -4.25 / 32)))
    expected = torch.stack([lanczos_shift(image, 1.5, -4.25) for image in still])
    inside = (..., slice(8, -8), slice(8, -8))
    assert decibels(expected[inside], moved[inside]) > 30
    for dx, dy in ((2, -4), (1, -4), (1, -5), (2, -5)):  # the pixels beside it
        beside = torch.stack([lanczos_shift(image, dx, dy) for image in still])
        assert decibels(beside[inside], moved[inside]) < decibels(expected[inside], moved[inside]) - 6


def test_configuration_r_turns_its_picture_and_t_makes_another() -> None:
    """By a quarter, counter-clockwise, and by any angle there and back in two networks of one picture."""
    near = {}
    for name in ("stylegan3-t", "stylegan3-r"):
        _, G, _ = small(name)
        z = torch.randn(2, 6)
        expected = torch.rot90(G(z), dims=(2, 3))
        near[name] = decibels(expected, G(z, transform=placement(degrees=90)))
    assert near["stylegan3-r"] > 60 and near["stylegan3-t"] < 30


@NAMES
def test_transforms_of_each_sample(name: str) -> None:
    _, G, _ = small(name)
    z, transforms = torch.randn(2, 6), torch.stack([placement((0.1, 0)), placement(degrees=30)])
    both = G(z, transform=transforms)
    for i in range(2):
        torch.testing.assert_close(both[i : i + 1], G(z[i : i + 1], transform=transforms[i]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(G(z, transform=torch.eye(3)), G(z))


def test_noise_is_taken_and_left_alone() -> None:
    _, G, _ = small("stylegan3-t")
    z = torch.randn(2, 6)
    for options in ({"noise_mode": "const"}, {"noise_mode": "none"}, {"generator": torch.Generator()}):
        assert torch.equal(G(z, **options), G(z))


@NAMES
def test_state_dict_restores_the_same_image(name: str) -> None:
    _, G, _ = small(name, num_classes=2)
    z, c = torch.randn(2, 6), torch.eye(2)
    G(z, c, update_emas=True)
    torch.manual_seed(77)
    _, other, _ = build(name, **{"resolution": 32, **SMALL, "num_classes": 2})
    assert not any(key.endswith((".fu", ".fd")) for key in G.state_dict())
    other.load_state_dict(copy.deepcopy(G.state_dict()))
    assert torch.equal(G(z, c, truncation_psi=0.5), other(z, c, truncation_psi=0.5))


@NAMES
def test_channels_last_and_bfloat16_give_nearly_the_same_image(name: str) -> None:
    _, G, _ = small(name)
    z = torch.randn(2, 6)
    img = G(z)
    again = G.to(memory_format=torch.channels_last)(z)
    assert again.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(again, img, rtol=1e-4, atol=1e-5)
    half = G.bfloat16()(z)
    assert half.dtype == torch.bfloat16 and decibels(img, half.float()) > 20


@NAMES
def test_clamp_bounds_layers(name: str) -> None:
    _, G, _ = small(name, conv_clamp=0.01)
    assert G(torch.randn(2, 6)).abs().max() <= 0.01 * 0.25 + 1e-6


def game(name: str, **changes: Any) -> TrainState:
    images = torch.randint(0, 256, (11, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    options: Any = family(name).options(**{"batch": 4, "kimg": 1, "tick": 1, **changes})
    _, G, D = small(name)
    return TrainState(play({"G": G, "D": D}, options, {"image": ImageDataset(images)}, torch.device("cpu")))


@NAMES
def test_a_step_of_training_changes_all_and_moves_averages_once(name: str) -> None:
    state = game(name, batch_gpu=2)
    networks: dict[str, Any] = {key: player.modules[key] for player in state.game.players for key in player.modules}
    before = {key: copy.deepcopy(network.state_dict()) for key, network in networks.items()}
    moments: list[float] = []
    networks["G"].synthesis.to_rgb.register_forward_pre_hook(
        lambda m, given: moments.append(given[0].square().mean().item()) if given[2] else None
    )
    step(state)
    for key, network in networks.items():
        for each, value in network.state_dict().items():
            fixed = each.endswith(("freqs", "phases"))
            assert torch.equal(value, before[key][each]) == fixed, f"{key}.{each}"
    (moment,) = moments
    beta = 0.5 ** (2 / 20_000)  # of the two images that the micro-batch has
    assert networks["G"].synthesis.to_rgb.magnitude_ema.item() == pytest.approx(beta + (1 - beta) * moment, rel=1e-6)
    average: Any = state.game.averages["G"].module
    assert torch.equal(average.mapping.w_avg, networks["G"].mapping.w_avg)


def test_the_papers_defaults() -> None:
    make: Any = family("stylegan3-t").options
    options = make()
    assert (options.g_lr, options.d_lr, options.pl_weight, options.betas) == (0.0025, 0.002, 0.0, (0.0, 0.99))
    for resolution, gamma in ((128, 0.5), (256, 2.0), (512, 8.0), (1024, 32.0)):
        assert options.penalty_weight("r1", (resolution, resolution)) == gamma
    assert make(batch=16).penalty_weight("r1", (256, 256)) == 4.0
    assert make(penalties={"r1": (3.0, 16)}).penalty_weight("r1", (256, 256)) == 3.0
    assert options.penalty_weight("wgan-gp", (256, 256)) == 0


def test_configuration_r_begins_with_blurred_images() -> None:
    state = game("stylegan3-r", batch=8)
    schedule, _ = state.game.schedules  # the other is that of the average of G
    assert [schedule.at(images) for images in (0, 25_000, 50_000)] == [10, 5, 0]  # 8·200/32 = 50 kimg
    assert isinstance(state.game.players[1].extras["augment"], FadingBlur)
    assert len(game("stylegan3-t").game.schedules) == 1


def test_errors() -> None:
    _, G, _ = small("stylegan3-t")
    z = torch.randn(2, 6)
    for transform, message in (
        (torch.eye(2), r"transform must have shape \[3, 3\] or \[N, 3, 3\]=\[2, 3, 3\], got \[2, 2\]"),
        (torch.eye(3).expand(3, 3, 3), r"transform must have shape .*, got \[3, 3, 3\]"),
    ):
        with pytest.raises(ValueError, match=message):
            G(z, transform=transform)
    with pytest.raises(TypeError, match="transform must hold floating-point matrices"):
        G(z, transform=torch.eye(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="noise_mode must be one of random, const, none, got 'fixed'"):
        G(z, noise_mode="fixed")
    with pytest.raises(ValueError, match="generator must be one, or one for each of the 2 samples; got 1"):
        G(z, generator=[torch.Generator()])
    with pytest.raises(ValueError, match="layers must be an integer of at least 3, got 2"):
        configure("stylegan3-t", layers=2)
    with pytest.raises(ValueError, match=r"resolution must have sides that are multiples of 8, got \(100, 128\)"):
        configure("stylegan3-t", resolution=(100, 128))
