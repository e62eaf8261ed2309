"""FID's Inception, composed once more from functions, and the resize of TensorFlow 1, pixel by pixel."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fastgan.metrics.extractors import inception
from fastgan.metrics.extractors.inception import Inception, InceptionV3, resized_as_tensorflow_1

CPU = torch.device("cpu")
# Input and output channels, height and width of each kernel.
TABLE = """
Conv2d_1a_3x3 3 32 3 3
Conv2d_2a_3x3 32 32 3 3
Conv2d_2b_3x3 32 64 3 3
Conv2d_3b_1x1 64 80 1 1
Conv2d_4a_3x3 80 192 3 3
Mixed_5b.branch1x1 192 64 1 1
Mixed_5b.branch5x5_1 192 48 1 1
Mixed_5b.branch5x5_2 48 64 5 5
Mixed_5b.branch3x3dbl_1 192 64 1 1
Mixed_5b.branch3x3dbl_2 64 96 3 3
Mixed_5b.branch3x3dbl_3 96 96 3 3
Mixed_5b.branch_pool 192 32 1 1
Mixed_5c.branch1x1 256 64 1 1
Mixed_5c.branch5x5_1 256 48 1 1
Mixed_5c.branch5x5_2 48 64 5 5
Mixed_5c.branch3x3dbl_1 256 64 1 1
Mixed_5c.branch3x3dbl_2 64 96 3 3
Mixed_5c.branch3x3dbl_3 96 96 3 3
Mixed_5c.branch_pool 256 64 1 1
Mixed_5d.branch1x1 288 64 1 1
Mixed_5d.branch5x5_1 288 48 1 1
Mixed_5d.branch5x5_2 48 64 5 5
Mixed_5d.branch3x3dbl_1 288 64 1 1
Mixed_5d.branch3x3dbl_2 64 96 3 3
Mixed_5d.branch3x3dbl_3 96 96 3 3
Mixed_5d.branch_pool 288 64 1 1
Mixed_6a.branch3x3 288 384 3 3
Mixed_6a.branch3x3dbl_1 288 64 1 1
Mixed_6a.branch3x3dbl_2 64 96 3 3
Mixed_6a.branch3x3dbl_3 96 96 3 3
Mixed_7a.branch3x3_1 768 192 1 1
Mixed_7a.branch3x3_2 192 320 3 3
Mixed_7a.branch7x7x3_1 768 192 1 1
Mixed_7a.branch7x7x3_2 192 192 1 7
Mixed_7a.branch7x7x3_3 192 192 7 1
Mixed_7a.branch7x7x3_4 192 192 3 3
"""
for _letter, _k in (("b", 128), ("c", 160), ("d", 160), ("e", 192)):
    TABLE += f"""
Mixed_6{_letter}.branch1x1 768 192 1 1
Mixed_6{_letter}.branch7x7_1 768 {_k} 1 1
Mixed_6{_letter}.branch7x7_2 {_k} {_k} 1 7
Mixed_6{_letter}.branch7x7_3 {_k} 192 7 1
Mixed_6{_letter}.branch7x7dbl_1 768 {_k} 1 1
Mixed_6{_letter}.branch7x7dbl_2 {_k} {_k} 7 1
Mixed_6{_letter}.branch7x7dbl_3 {_k} {_k} 1 7
Mixed_6{_letter}.branch7x7dbl_4 {_k} {_k} 7 1
Mixed_6{_letter}.branch7x7dbl_5 {_k} 192 1 7
Mixed_6{_letter}.branch_pool 768 192 1 1
"""
for _letter, _i in (("b", 1280), ("c", 2048)):
    TABLE += f"""
Mixed_7{_letter}.branch1x1 {_i} 320 1 1
Mixed_7{_letter}.branch3x3_1 {_i} 384 1 1
Mixed_7{_letter}.branch3x3_2a 384 384 1 3
Mixed_7{_letter}.branch3x3_2b 384 384 3 1
Mixed_7{_letter}.branch3x3dbl_1 {_i} 448 1 1
Mixed_7{_letter}.branch3x3dbl_2 448 384 3 3
Mixed_7{_letter}.branch3x3dbl_3a 384 384 1 3
Mixed_7{_letter}.branch3x3dbl_3b 384 384 3 1
Mixed_7{_letter}.branch_pool {_i} 192 1 1
"""
KERNELS: dict[str, list[int]] = {
    row[0]: [int(each) for each in row[1:]] for row in map(str.split, TABLE.splitlines()) if row
}


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """Weights under which features neither vanish nor grow, by the names of the file."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    found = {"fc.weight": normal(1008, 2048) / 20, "fc.bias": normal(1008)}
    for name, (i, o, h, w) in KERNELS.items():
        found[f"{name}.conv.weight"] = normal(o, i, h, w) * math.sqrt(2 / (i * h * w))
        found[f"{name}.bn.weight"] = 1 + normal(o) / 10
        found[f"{name}.bn.bias"] = normal(o) / 10
        found[f"{name}.bn.running_mean"] = normal(o) / 10
        found[f"{name}.bn.running_var"] = 1 + normal(o).abs() / 2
    return found


@pytest.fixture
def stored(state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The synthetic weights in a file, taken for the real one."""
    monkeypatch.setattr(inception, "FILE", dataclasses.replace(inception.FILE, sha256="", size=None))
    torch.save(state, tmp_path / inception.FILE.names[1])
    return tmp_path


def composed(x: Tensor, state: Mapping[str, Tensor]) -> Tensor:
    """[n, 3, 299, 299] -> [n, 2048] in float64, block by block."""
    p = {name: value.double() for name, value in state.items()}

    def conv(x: Tensor, name: str, stride: int = 1, valid: bool = False) -> Tensor:
        scale = p[f"{name}.bn.weight"] / (p[f"{name}.bn.running_var"] + 0.001).sqrt()
        bias = p[f"{name}.bn.bias"] - p[f"{name}.bn.running_mean"] * scale
        w = p[f"{name}.conv.weight"] * scale[:, None, None, None]
        return F.conv2d(x, w, bias, stride, 0 if valid else (w.shape[2] // 2, w.shape[3] // 2)).clamp_min(0)

    def average(x: Tensor) -> Tensor:
        ones = F.pad(torch.ones_like(x), (1, 1, 1, 1)).unfold(2, 3, 1).unfold(3, 3, 1).sum(dim=(4, 5))
        return F.pad(x, (1, 1, 1, 1)).unfold(2, 3, 1).unfold(3, 3, 1).sum(dim=(4, 5)) / ones

    def maximum(x: Tensor) -> Tensor:
        return F.pad(x, (1, 1, 1, 1), value=-math.inf).unfold(2, 3, 1).unfold(3, 3, 1).amax(dim=(4, 5))

    def halved(x: Tensor) -> Tensor:
        return x.unfold(2, 3, 2).unfold(3, 3, 2).amax(dim=(4, 5))

    def chain(x: Tensor, name: str, count: int) -> Tensor:
        for k in range(1, count + 1):
            x = conv(x, f"{name}_{k}")
        return x

    x = conv(conv(conv(x, "Conv2d_1a_3x3", 2, True), "Conv2d_2a_3x3", 1, True), "Conv2d_2b_3x3")
    x = halved(conv(conv(halved(x), "Conv2d_3b_1x1"), "Conv2d_4a_3x3", 1, True))
    for m in ("Mixed_5b.branch", "Mixed_5c.branch", "Mixed_5d.branch"):
        pool = conv(average(x), f"{m}_pool")
        x = torch.cat([conv(x, f"{m}1x1"), chain(x, f"{m}5x5", 2), chain(x, f"{m}3x3dbl", 3), pool], dim=1)
    m = "Mixed_6a.branch"
    double = conv(chain(x, f"{m}3x3dbl", 2), f"{m}3x3dbl_3", 2, True)
    x = torch.cat([conv(x, f"{m}3x3", 2, True), double, halved(x)], dim=1)
    for m in ("Mixed_6b.branch", "Mixed_6c.branch", "Mixed_6d.branch", "Mixed_6e.branch"):
        pool = conv(average(x), f"{m}_pool")
        x = torch.cat([conv(x, f"{m}1x1"), chain(x, f"{m}7x7", 3), chain(x, f"{m}7x7dbl", 5), pool], dim=1)
    m = "Mixed_7a.branch"
    one = conv(conv(x, f"{m}3x3_1"), f"{m}3x3_2", 2, True)
    x = torch.cat([one, conv(chain(x, f"{m}7x7x3", 3), f"{m}7x7x3_4", 2, True), halved(x)], dim=1)
    for m, pool in (("Mixed_7b.branch", average), ("Mixed_7c.branch", maximum)):
        one, two = conv(x, f"{m}3x3_1"), chain(x, f"{m}3x3dbl", 2)
        forks = [
            conv(one, f"{m}3x3_2a"),
            conv(one, f"{m}3x3_2b"),
            conv(two, f"{m}3x3dbl_3a"),
            conv(two, f"{m}3x3dbl_3b"),
        ]
        x = torch.cat([conv(x, f"{m}1x1"), *forks, conv(pool(x), f"{m}_pool")], dim=1)
    return x.sum(dim=(2, 3)) / 64


def test_every_tensor_has_its_published_shape(state: dict[str, Tensor]) -> None:
    with torch.device("meta"):
        found = InceptionV3()
    shapes = {name: value.shape for name, value in found.state_dict().items() if "num_batches" not in name}
    assert shapes == {name: value.shape for name, value in state.items()}
    assert len(KERNELS) == 94
    assert sum(parameter.numel() for parameter in found.parameters()) == 23_850_960


def test_features_are_those_of_the_layers_one_by_one(state: dict[str, Tensor], stored: Path) -> None:
    images = torch.randint(0, 256, (2, 3, 299, 299), dtype=torch.uint8)
    expected = composed((images.double() - 128) / 128, state)
    assert expected.std(dim=1).min() > 0.1  # else nothing would be compared
    found = Inception(CPU, stored)(images)
    assert found.shape == (2, 2048) and found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("size", [(1, 1), (28, 28), (33, 50), (299, 299), (301, 640)], ids=str)
def test_the_resize_is_tensorflows(size: tuple[int, int]) -> None:
    """y[i, j] lies at (i·H/299, j·W/299) between four pixels, each weighted by how near it is."""
    x = torch.randint(0, 256, (1, 2, *size)).double()
    found = resized_as_tensorflow_1(x.float(), 299)
    assert found.shape == (1, 2, 299, 299)
    for i, j in [(0, 0), (298, 298), (1, 297), (150, 3), *torch.randint(299, (200, 2)).tolist()]:
        v, u = i * size[0] / 299, j * size[1] / 299
        expected = torch.zeros(2, dtype=torch.float64)
        for row in (int(v), int(v) + 1):
            for column in (int(u), int(u) + 1):
                near = (1 - abs(v - row)) * (1 - abs(u - column))
                expected += near * x[0, :, min(row, size[0] - 1), min(column, size[1] - 1)]
        torch.testing.assert_close(found[0, :, i, j].double(), expected, rtol=0, atol=0.02)
    if size == (299, 299):
        assert torch.equal(found, x.float())


def test_a_small_image_is_seen_as_it_was_resized(stored: Path, state: dict[str, Tensor]) -> None:
    images = torch.randint(0, 256, (1, 1, 19, 32), dtype=torch.uint8)
    extractor = Inception(CPU, stored)
    large = resized_as_tensorflow_1(images.double(), 299).expand(-1, 3, -1, -1)
    expected = composed((large - 128) / 128, state)
    torch.testing.assert_close(extractor(images).double(), expected, rtol=1e-4, atol=1e-4 * expected.max().item())
    assert torch.equal(extractor(images), extractor(images.expand(-1, 3, -1, -1)))


def test_probabilities_are_of_the_logits_without_bias(stored: Path, state: dict[str, Tensor]) -> None:
    features = torch.rand(5, 2048)
    found = Inception(CPU, stored).probabilities(features)
    assert found.shape == (5, 1008)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(5))
    powers = (features.double() @ state["fc.weight"].double().t()).exp()
    torch.testing.assert_close(found.double(), powers / powers.sum(dim=1, keepdim=True), rtol=1e-4, atol=1e-9)


def test_only_the_published_file_is_taken(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "pt_inception-2015-12-05-6726825d.pth")
    with pytest.raises(
        ValueError, match=r"has [\d,]+ bytes; expected was pt_inception.*95,628,359 bytes, sha256 6726825d"
    ):
        Inception(CPU, tmp_path)
    with pytest.raises(FileNotFoundError, match="there is none of pt_inception-.*, weights-inception-"):
        Inception(CPU, tmp_path.parent)
