"""Perceptual path length of generators whose paths have a known length."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fastgan.metrics.extractors import make_extractor
from fastgan.metrics.ppl import FeatureDistance, perceptual_path_length, slerp
from fastgan.models import build
from fastgan.models.protocols import Styled
from fastgan.nn.precision import Precision, set_precision

SMALL: dict[str, Any] = {"resolution": 16, "channel_base": 64, "channel_max": 8, "z_dim": 8}


class Pixels:
    """Σ (a - b)² in units of [-1, 1], and all that was compared."""

    name = "pixels"

    def __init__(self) -> None:
        self.seen: list[tuple[Tensor, Tensor]] = []

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        self.seen.append((a, b))
        return ((a - b).double() / 127.5).square().flatten(1).sum(dim=1)


class Toy(Styled):
    """w = z + shift·(number of the class), an image of one row that shows the first w raised to a power."""

    num_ws, img_channels = 2, 1

    def __init__(self, dim: int, power: int = 1, classes: int = 0, shift: float = 0.0) -> None:
        super().__init__()
        self.z_dim = self.w_dim = dim
        self.num_classes, self.power, self.shift = classes, power, shift
        self.resolution = (1, dim)
        self.weight = nn.Parameter(torch.ones((), dtype=torch.float64))
        self.labels: list[Tensor] = []

    def mapping(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        if c is not None:
            self.labels.append(c.argmax(dim=1))
            z = z + self.shift * self.labels[-1][:, None]
        return z[:, None].repeat(1, 2, 1)

    def synthesis(self, ws: Tensor, noise_mode: str) -> Tensor:
        assert noise_mode == "const" and torch.equal(ws[:, 0], ws[:, 1])
        return (self.weight * ws[:, 0] ** self.power)[:, None, None]

    def forward(self, z: Tensor, c: Tensor | None = None, *_: Any, noise_mode: str = "", **__: Any) -> Tensor:
        return self.synthesis(self.mapping(z, c), noise_mode)


def measured(G: Any, **options: Any) -> float:
    return next(iter(perceptual_path_length(G, Pixels(), **{"images": 200, **options}).values()))


def trimmed(values: np.ndarray) -> float:
    low = np.percentile(values, 1, method="lower")
    high = np.percentile(values, 99, method="higher")
    return float(values[(values >= low) & (values <= high)].mean())


@pytest.mark.parametrize("sampling", ["end", "full"])
def test_a_line_has_the_length_between_its_ends(sampling: str) -> None:
    """(w₁ - w₀)² is 2·χ² of one degree; its mean between two quantiles is a difference of χ² of three."""

    def upto(quantile: float) -> float:
        x = 2 * torch.erfinv(torch.tensor(quantile).double()).item() ** 2
        return math.erf(math.sqrt(x / 2)) - math.sqrt(2 * x / math.pi) * math.exp(-x / 2)

    expected = 2 * (upto(0.99) - upto(0.01)) / 0.98
    assert measured(Toy(1), sampling=sampling, images=20_000, batch=1000) == pytest.approx(expected, rel=0.04)


@pytest.mark.parametrize("sampling", ["end", "full"])
def test_an_arc_has_the_length_of_its_angle(sampling: str) -> None:
    """On the circle of radius √2 the angle between two latents is uniform from 0 to π."""
    expected = 2 * math.pi**2 * (0.99**3 - 0.01**3) / (3 * 0.98)
    found = measured(Toy(2), space="z", sampling=sampling, images=20_000, batch=1000)
    assert found == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("sampling", ["end", "full"])
def test_where_speed_varies_it_counts_where_it_is_looked_at(sampling: str) -> None:
    """d(w²)/dt = 2·w(t)·(w₁ - w₀), drawn once more by NumPy."""
    drawn = np.random.default_rng(1)
    first, last = drawn.standard_normal((2, 400_000))
    t = drawn.random(400_000) if sampling == "full" else 0
    expected = trimmed((2 * (first + t * (last - first)) * (last - first)) ** 2)
    assert measured(Toy(1, power=2), sampling=sampling, images=40_000, batch=2000) == pytest.approx(expected, rel=0.06)


def test_the_outermost_hundredths_are_left_out() -> None:
    """Of 1, 101 and 250 samples, from what was compared itself."""
    for images in (1, 101, 250):
        pixels = Pixels()
        found = perceptual_path_length(Toy(3), pixels, images=images, batch=7, epsilon=0.5)
        apart = torch.cat([((a - b).double() / 127.5).square().sum(dim=(1, 2, 3)) for a, b in pixels.seen])
        assert len(apart) == images
        assert list(found.values()) == pytest.approx([trimmed(apart.numpy() / 0.25)], rel=1e-12)


def test_the_arc_is_shoemakes() -> None:
    a, b = torch.randn(2, 6, 5, dtype=torch.float64)
    t = torch.linspace(0, 1, 6, dtype=torch.float64)
    one, other = (each / each.norm(dim=1, keepdim=True) for each in (a, b))
    angle = torch.acos((one * other).sum(dim=1))[:, None]
    weights = ((1 - t[:, None]) * angle).sin() / angle.sin(), (t[:, None] * angle).sin() / angle.sin()
    torch.testing.assert_close(slerp(a, b, t), 5**0.5 * (weights[0] * one + weights[1] * other))
    torch.testing.assert_close(slerp(a, a, t), 5**0.5 * one)


def test_the_seed_decides_and_the_batch_does_not() -> None:
    first = measured(Toy(3, power=2), sampling="full", batch=16)
    assert measured(Toy(3, power=2), sampling="full", batch=7, device="cpu") == first
    assert measured(Toy(3, power=2), sampling="full", seed=1) != pytest.approx(first, rel=1e-3)


def test_both_ends_of_a_path_have_one_label() -> None:
    G = Toy(1, classes=3, shift=1000.0)
    assert measured(G, images=300) == pytest.approx(measured(Toy(1), images=300), rel=0.5)  # else it were 10^6
    drawn = torch.cat(G.labels)
    assert (drawn.bincount(minlength=3) > 140).all()  # of 600


@pytest.mark.parametrize("size", [(16, 16), (20, 12)], ids=str)
def test_a_crop_looks_at_the_face(size: tuple[int, int]) -> None:
    class Places(Toy):
        def synthesis(self, ws: Tensor, noise_mode: str) -> Tensor:
            rows, columns = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
            return (100.0 * rows + columns).expand(len(ws), 3, *size) / 127.5 - 1

    for crop, name in ((True, "ppl_w_end_pixels_crop"), (False, "ppl_w_end_pixels")):
        pixels = Pixels()
        assert perceptual_path_length(Places(1), pixels, images=2, crop=crop) == {name: 0.0}
        top, bottom, left, right = (
            (size[0] * 3 // 8, size[0] * 7 // 8, size[1] // 4, size[1] * 3 // 4) if crop else (0, size[0], 0, size[1])
        )
        shown = pixels.seen[0][0][0, 0].round()
        assert shown.shape == (bottom - top, right - left)
        assert shown[0, 0] == 100 * top + left and shown[-1, -1] == 100 * (bottom - 1) + right - 1


def test_figures_are_called_by_what_they_are() -> None:
    def name(distance: str, **options: Any) -> str:
        pixels = Pixels()
        pixels.name = distance
        return next(iter(perceptual_path_length(Toy(2), pixels, images=1, **options)))

    assert name("lpips_vgg16") == "ppl2_wend"
    assert name("lpips_vgg16", crop=True) == "ppl_w_end_lpips_vgg16_crop"
    assert name("lpips_vgg16", space="z", sampling="full") == "ppl_z_full_lpips_vgg16"
    assert name("lpips_vgg16", epsilon=1e-3) == "ppl_w_end_lpips_vgg16"
    assert name("wavelet") == "ppl_w_end_wavelet"


def test_a_network_is_measured_in_float32_and_left_as_it_was() -> None:
    torch.manual_seed(0)
    _, G, _ = build("stylegan2", w_dim=8, mapping_layers=1, num_classes=2, **SMALL)
    for name, parameter in G.named_parameters():
        if name.endswith("noise_strength"):
            parameter.data.fill_(0.5)  # random noise would be farther apart than any step
    before = {name: value.clone() for name, value in G.state_dict().items()}
    first = measured(G, images=20)
    set_precision(G, Precision("bf16"))
    assert measured(G, images=20, batch=3) == pytest.approx(first, rel=1e-3)
    assert 0 < first < 1e4 and G.training and G.synthesis.precision.name == "bf16"
    assert all(torch.equal(value, before[name]) for name, value in G.state_dict().items())


def test_a_generator_without_styles_has_paths_in_z() -> None:
    torch.manual_seed(0)
    _, G, _ = build("dcgan", **SMALL)
    assert measured(G, space="z", sampling="full", images=20) > 0
    with pytest.raises(ValueError, match="space must be z for Generator, which has no w, got w"):
        measured(G)


@pytest.mark.parametrize("name", ["wavelet", "effnetlite0"])
def test_features_of_an_extractor_tell_smooth_from_rough(name: str) -> None:
    """The same pictures, along which a step counts ten times as much: a hundred times the figure."""

    class Waves(Toy):
        def synthesis(self, ws: Tensor, noise_mode: str) -> Tensor:
            places = torch.linspace(0, 6, 32, dtype=torch.float64)
            return 0.8 * torch.sin(self.shift * ws[:, :1, :1, None] + places[:, None] + 2 * places).repeat(1, 3, 1, 1)

    distance = FeatureDistance(make_extractor(name))
    found = [perceptual_path_length(Waves(1, shift=s), distance, images=4, epsilon=1e-3) for s in (0.01, 0.1)]
    assert [list(each) for each in found] == [[f"ppl_w_end_{name}"]] * 2
    smooth, rough = (each[f"ppl_w_end_{name}"] for each in found)
    assert 0 < 30 * smooth < rough < 300 * smooth


def test_what_is_wrong_is_named() -> None:
    for options, message in (
        ({"space": "x"}, "space must be one of z, w, got 'x'"),
        ({"sampling": "middle"}, "sampling must be one of end, full, got 'middle'"),
        ({"crop": 1}, "crop must be one of False, True, got 1"),
        ({"epsilon": 0}, "epsilon must be a number above 0, got 0"),
        ({"images": 0}, "images must be an integer of at least 1, got 0"),
        ({"batch": 0}, "batch must be an integer of at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            measured(Toy(1), **options)
