"""VGG16 and LPIPS, composed once more from functions, on a network of narrow layers; names and shapes on the whole."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastgan.metrics.extractors import vgg16
from fastgan.metrics.extractors.vgg16 import VGG16, LpipsVgg16, LpipsWeights, Network, make_lpips

CPU = torch.device("cpu")
CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
GROUPS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Files of synthetic weights of narrow layers, taken for the real ones."""
    monkeypatch.setattr(vgg16, "_WIDTHS", ((3, 4), (5, 6), (5, 4, 9), (8, 7, 6), (9, 8, 7)))
    monkeypatch.setattr(vgg16, "FILE", dataclasses.replace(vgg16.FILE, sha256=""))
    torch.manual_seed(0)
    network = Network()
    for layer in network.features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.constant_(cast(Tensor, layer.bias), 0.1)
    torch.save(network.state_dict(), tmp_path / "vgg16-397923af.pth")
    torch.save({name: value.abs() for name, value in LpipsWeights().state_dict().items()}, tmp_path / "vgg.pth")
    return tmp_path


def composed(x: Tensor, p: Mapping[str, Tensor]) -> list[Tensor]:
    """The five taps and fc2 of x [n, 3, H, W], in float64; fc2 of 224×224 alone."""
    p = {name: value.double() for name, value in p.items()}
    taps = []
    for group in GROUPS:
        for k in group:
            x = F.conv2d(x, p[f"features.{k}.weight"], p[f"features.{k}.bias"], padding=1).clamp_min(0)
        taps.append(x)
        if min(x.shape[2:]) < 2:
            return taps
        x = x.unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(4, 5))
    if x.shape[2:] == (7, 7):
        x = x.flatten(1)
        for k in (0, 3):
            x = (x @ p[f"classifier.{k}.weight"].t() + p[f"classifier.{k}.bias"]).clamp_min(0)
        taps.append(x)
    return taps


def loaded(folder: Path) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Weights of the network, and rows of LPIPS."""
    linear = torch.load(folder / "vgg.pth", weights_only=True)
    rows = [linear[f"lin{k}.model.1.weight"].double().flatten() for k in range(5)]
    return torch.load(folder / "vgg16-397923af.pth", weights_only=True), rows


def test_every_tensor_has_its_published_shape() -> None:
    widths = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
    shapes: dict[str, tuple[int, ...]] = {}
    for k, i, o in zip(CONVOLUTIONS, (3, *widths), widths, strict=False):
        shapes |= {f"features.{k}.weight": (o, i, 3, 3), f"features.{k}.bias": (o,)}
    for k, i, o in ((0, 25088, 4096), (3, 4096, 4096), (6, 4096, 1000)):
        shapes |= {f"classifier.{k}.weight": (o, i), f"classifier.{k}.bias": (o,)}
    with torch.device("meta"):
        network, linear = Network(), LpipsWeights()
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == shapes
    assert sum(parameter.numel() for parameter in network.parameters()) == 138_357_544
    assert {name: tuple(value.shape) for name, value in linear.state_dict().items()} == {
        f"lin{k}.model.1.weight": (1, width, 1, 1) for k, width in enumerate((64, 128, 256, 512, 512))
    }


@pytest.mark.parametrize("shape", [(2, 3, 224, 224), (1, 1, 224, 224)], ids=str)
def test_features_are_those_of_the_layers_one_by_one(narrow: Path, shape: tuple[int, ...]) -> None:
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).double()[:, :, None, None]
    expected = composed((images.double() / 255 - mean) / deviation, loaded(narrow)[0])[-1]
    found = VGG16(CPU, narrow)(images)
    assert found.shape == (len(images), 4096) and found.dtype == torch.float32 and expected.std() > 1e-3
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5 * expected.max().item())


def test_images_of_any_size_have_features(narrow: Path) -> None:
    extractor = VGG16(CPU, narrow)
    found = torch.cat([extractor(torch.randint(0, 256, (1, 3, *s), dtype=torch.uint8)) for s in ((9, 31), (300, 250))])
    assert found.shape == (2, 4096) and found.isfinite().all()


@pytest.mark.parametrize("shape", [(3, 3, 32, 48), (2, 1, 16, 16), (1, 3, 515, 520)], ids=str)
def test_lpips_is_the_weighted_distance_of_unit_channels(narrow: Path, shape: tuple[int, ...]) -> None:
    a, b = 255 * torch.rand(2, *shape)
    state, rows = loaded(narrow)
    shift, scale = torch.tensor([[-0.03, -0.088, -0.188], [0.458, 0.448, 0.45]]).double()[:, :, None, None]
    taps = []
    for x in (a.double(), b.double()):
        if shape[2] > 256:
            x = x[:, :, :514, :520].unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean(dim=(3, 5))
        taps.append(composed((x.expand(-1, 3, -1, -1) / 127.5 - 1 - shift) / scale, state))
    expected = torch.zeros(len(a)).double()
    for one, other, row in zip(*taps, rows, strict=False):
        lengths = [each.square().sum(dim=1, keepdim=True).sqrt() for each in (one, other)]
        assert (lengths[0] > 0).double().mean() > 0.9
        units = [each / length.clamp_min(1e-30) for each, length in zip((one, other), lengths, strict=True)]
        expected += torch.einsum("nkhw,k->n", (units[0] - units[1]) ** 2, row) / one[0, 0].numel()
    distance = make_lpips(CPU, narrow, narrow)
    torch.testing.assert_close(distance(a, b), expected, rtol=1e-4, atol=1e-9)
    assert (expected > 1e-4).all() and distance(a, a).eq(0).all()


def test_the_remark_of_lpips_tells_both_files(narrow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    linear = (narrow / "vgg.pth").rename(narrow / "chosen.pth")
    distance = make_lpips(CPU, narrow, linear)
    digests = [
        hashlib.sha256((narrow / name).read_bytes()).hexdigest() for name in ("vgg16-397923af.pth", "chosen.pth")
    ]
    assert distance.remark == f"vgg16-397923af.pth, sha256 {digests[0]}; chosen.pth, sha256 {digests[1]}"
    assert isinstance(distance, LpipsVgg16) and distance.name == "lpips_vgg16"
    with pytest.raises(ValueError, match=r"at least 16 pixels a side for LPIPS, got \[1, 3, 15, 40\]"):
        distance(*torch.zeros(2, 1, 3, 15, 40))


def test_only_the_published_file_is_taken(tmp_path: Path) -> None:
    (tmp_path / "vgg16-397923af.pth").write_bytes(b"other")
    with pytest.raises(
        ValueError, match=r"has sha256 [0-9a-f]{64}; expected was vgg16-397923af.pth \(.*sha256 397923af\.\.\."
    ):
        VGG16(CPU, tmp_path)
    with pytest.raises(FileNotFoundError, match="there is none of lpips_vgg.pth, vgg.pth in"):
        make_lpips(CPU, tmp_path, tmp_path)
