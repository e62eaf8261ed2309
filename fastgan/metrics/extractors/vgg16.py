"""VGG16: the features of precision and recall, and the perceptual distance LPIPS.

Source: Simonyan & Zisserman 2014 (configuration D); Kynkäänniemi et al. 2019 (precision and recall); Zhang et al. 2018
(LPIPS).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from fastgan.metrics.extractors.network import NetworkExtractor, resized, three_channels
from fastgan.metrics.extractors.weights import WeightFile
from fastgan.ops import tf32

FILE = WeightFile("VGG16 of torchvision", ("vgg16-397923af.pth",), "397923af")
LINEAR_FILE = WeightFile("the linear weights of LPIPS on VGG16, version 0.1", ("lpips_vgg.pth", "vgg.pth"))
_SIDE = 224
_WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))  # a max pool after each group
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, of pixels in [0, 1]
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # LPIPS: the same in round numbers, in [-1, 1]
_LARGEST = 256


class Network(nn.Module):
    """The network, with the names of its file.

    Attributes:
        features: convolutions, ReLUs and pools.
        classifier: linear layers, ReLUs and dropouts.
    """

    def __init__(self) -> None:
        super().__init__()
        layers, channels = [], 3
        for group in _WIDTHS:
            for width in group:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        hidden = [
            nn.Linear(channels * 7 * 7, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Dropout(),
        ]
        self.classifier = nn.Sequential(*hidden, nn.Linear(4096, 1000))

    def forward(self, x: Tensor) -> Tensor:
        """[n, 3, 224, 224] -> [n, 4096]: fc2, after its ReLU."""
        return self.classifier[:-1](self.features(x).flatten(1))

    def taps(self, x: Tensor) -> list[Tensor]:
        """[n, 3, H, W] -> the last ReLU of each of the five groups, [n, K, H / 2^i, W / 2^i]."""
        found = []
        for layer in list(self.features)[:-1]:
            if isinstance(layer, nn.MaxPool2d):
                found.append(x)
            x = layer(x)
        return [*found, x]


class VGG16(NetworkExtractor):
    """The second fully connected layer of torchvision's VGG16, after its ReLU.

    Published figures of precision and recall come from another file of VGG16, which is not read here: by how much
    figures of the two differ was not measured.

    Args:
        device: where it computes.
        weights: the file, or a folder with it; None: it is in $TORCH_HOME/hub/checkpoints.

    Raises:
        FileNotFoundError, ValueError: the file is not there, or is another.
    """

    name, dim = "vgg16", 4096
    resize = "bilinear to 224×224, antialiased"

    def __init__(self, device: torch.device, weights: Path | None = None) -> None:
        found = FILE.load(weights)
        super().__init__(found.fill(Network), found, device)

    def _features(self, pixels: Tensor) -> Tensor:
        x = resized(pixels, _SIDE) / 255
        return self.network((x - _per_channel(_MEAN, x)) / _per_channel(_DEVIATION, x))


class LpipsWeights(nn.Module):
    """w_l of LPIPS [1, K, 1, 1], with the names of its file."""

    def __init__(self) -> None:
        super().__init__()
        for index, group in enumerate(_WIDTHS):
            # In the file a dropout stands before each.
            self.add_module(f"lin{index}", nn.ModuleDict({"model": nn.ModuleDict({"1": _weight(group[-1])})}))

    def rows(self) -> list[Tensor]:
        """w_l [K] of each tap."""
        return [parameter.flatten() for parameter in self.parameters()]


def _weight(channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, 1, 1, bias=False)


class LpipsVgg16:
    """d(a, b) = Σ_l mean_hw Σ_k w_lk (â_lk - b̂_lk)²: LPIPS on the five taps of VGG16, channels of unit length.

    Images are averaged over blocks of k×k pixels, k their smaller side // 256, where that is above 1, and compared in
    the size that remains. Published figures of path length come from a file of their own that holds network and w; that
    was not compared with this one.

    Args:
        network: filled; it is this distance's from now on.
        linear: w, filled.
        remark: of which files the weights are.
        device: where it computes, in float32 and never in tf32.

    Attributes:
        name: in the names of figures.
        remark: as given.
    """

    name = "lpips_vgg16"
    smallest = 16

    def __init__(self, network: Network, linear: LpipsWeights, remark: str, device: torch.device) -> None:
        self.network = network.requires_grad_(False).eval().to(device)
        self.rows = linear.requires_grad_(False).to(device).rows()
        self.device, self.remark = device, remark

    @torch.no_grad()
    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """d(a, b), float64 [n], on the device.

        Args:
            a: float32 [n, C, H, W] in [0, 255], which need not be whole, on the device.
            b: as a.

        Raises:
            ValueError: images of fewer than 16 pixels a side.
        """
        if min(a.shape[2:]) < self.smallest:
            raise ValueError(f"images must have at least {self.smallest} pixels a side for LPIPS, got {list(a.shape)}")
        with tf32.exactly(a):
            taps = [self.network.taps(_prepared(each)) for each in (a, b)]
        total = torch.zeros(len(a), dtype=torch.float64, device=a.device)
        for one, other, row in zip(*taps, self.rows, strict=True):
            difference = (_unit(one) - _unit(other)).square() * row[:, None, None]
            total += difference.sum(dim=1).double().mean(dim=(1, 2))
        return total


def _prepared(pixels: Tensor) -> Tensor:
    """What VGG16 sees for LPIPS."""
    factor = max(min(pixels.shape[2:]) // _LARGEST, 1)
    x = nn.functional.avg_pool2d(three_channels(pixels), factor) if factor > 1 else three_channels(pixels)
    x = x / 127.5 - 1
    return (x - _per_channel(_SHIFT, x)) / _per_channel(_SCALE, x)


def _unit(x: Tensor) -> Tensor:
    """Channels of length 1, where they are not all 0."""
    return x / (x.norm(dim=1, keepdim=True) + 1e-10)


def _per_channel(numbers: tuple[float, ...], like: Tensor) -> Tensor:
    """[C, 1, 1]."""
    return like.new_tensor(numbers)[:, None, None]


def make_lpips(device: torch.device, weights: Path | None = None, linear: Path | None = None) -> LpipsVgg16:
    """LPIPS on VGG16.

    Args:
        device: where it computes.
        weights: the file of VGG16, or a folder with it; None: it is in $TORCH_HOME/hub/checkpoints.
        linear: that of the linear weights, likewise. No digest of it is known here: names and shapes are compared, and
            its digest is part of the remark.

    Raises:
        FileNotFoundError, ValueError: a file is not there, or is another.
    """
    rows, network = LINEAR_FILE.load(linear), FILE.load(weights)
    words = "; ".join(f"{each.path.name}, sha256 {each.sha256}" for each in (network, rows))
    return LpipsVgg16(network.fill(Network), rows.fill(LpipsWeights), words, device)
