"""The Inception network of FID, KID and IS: Inception v3 as TensorFlow published it on 2015-12-05.

Source: Szegedy et al. 2015, "Rethinking the inception architecture for computer vision"; Heusel et al. 2017 (FID).
Where the network that FID was published with differs from the paper, it is followed: 1,008 outputs, average pools
that leave the border out of account, and a maximum in the place of the last of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastgan.metrics.extractors.network import NetworkExtractor
from fastgan.metrics.extractors.weights import WeightFile

FILE = WeightFile(
    "the Inception of FID, as tensors for PyTorch",
    ("pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth"),
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    95_628_359,
)
_SIDE = 299
_EPSILON = 1e-3

Step = tuple[int, int, int]  # output channels, height and width of the kernel
Pool = Callable[[Tensor], Tensor]


class BasicConv2d(nn.Module):
    """y = relu(batch_norm(conv(x)))."""

    def __init__(self, in_channels: int, step: Step, stride: int = 1, *, padded: bool = True) -> None:
        super().__init__()
        out_channels, *kernel = step
        padding = (kernel[0] // 2, kernel[1] // 2) if padded else 0
        self.conv = nn.Conv2d(in_channels, out_channels, (kernel[0], kernel[1]), stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """[n, I, H, W] -> [n, O, H', W']."""
        return F.relu(self.bn(self.conv(x)))


def _average(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _maximum(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=1, padding=1)


def _reduced(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=2)


class Mixed(nn.ModuleDict):
    """y = the outputs of branches over one x, and of a pool, joined by channels.

    Args:
        in_channels: of x.
        branches: name -> its convolutions. The convolutions of a branch of several are called <name>_1, <name>_2 and so
            on; one called "branch_pool" follows the pool.
        pool: in the last place; alone where no branch follows it.
        stride: of the last convolution of every branch, which is then not padded, if above 1.
        forked: the last two convolutions of a branch of several stand side by side, as <name>_2a and <name>_2b.
    """

    def __init__(
        self,
        in_channels: int,
        branches: Mapping[str, Sequence[Step]],
        pool: Pool,
        stride: int = 1,
        *,
        forked: bool = False,
    ) -> None:
        super().__init__()
        self.pool = pool
        self.chains: dict[str, list[list[str]]] = {}  # branch -> names of what stands side by side, in order
        for branch, steps in branches.items():
            fork = forked and len(steps) > 1
            count = len(steps) - fork
            names = [[branch if count == 1 else f"{branch}_{k}"] for k in range(1, count + 1)]
            if fork:
                names[-1] = [f"{branch}_{count}a", f"{branch}_{count}b"]
            self.chains[branch] = names
            channels, left = in_channels, list(steps)
            for side_by_side in names:
                last = side_by_side is names[-1] and stride > 1
                made = [left.pop(0) for _ in side_by_side]
                for name, step in zip(side_by_side, made, strict=True):
                    self[name] = BasicConv2d(channels, step, stride if last else 1, padded=not last)
                channels = made[0][0]

    def forward(self, x: Tensor) -> Tensor:
        """[n, I, H, W] -> [n, O, H', W']."""
        found = []
        for branch, chain in self.chains.items():
            outputs = [self.pool(x) if branch == "branch_pool" else x]
            for side_by_side in chain:
                outputs = [self[name](outputs[0]) for name in side_by_side]
            found += outputs
        if "branch_pool" not in self.chains:
            found.append(self.pool(x))
        return torch.cat(found, dim=1)


def _block_a(in_channels: int, pooled: int) -> Mixed:
    """Figure 5 of the paper, 5×5 and pairs of 3×3, at 35×35."""
    branches = {
        "branch1x1": [(64, 1, 1)],
        "branch5x5": [(48, 1, 1), (64, 5, 5)],
        "branch3x3dbl": [(64, 1, 1), (96, 3, 3), (96, 3, 3)],
        "branch_pool": [(pooled, 1, 1)],
    }
    return Mixed(in_channels, branches, _average)


def _block_b(in_channels: int) -> Mixed:
    """Figure 10, from 35×35 to 17×17."""
    branches = {"branch3x3": [(384, 3, 3)], "branch3x3dbl": [(64, 1, 1), (96, 3, 3), (96, 3, 3)]}
    return Mixed(in_channels, branches, _reduced, stride=2)


def _block_c(in_channels: int, inner: int) -> Mixed:
    """Figure 6, 7×7 taken apart, at 17×17."""
    branches = {
        "branch1x1": [(192, 1, 1)],
        "branch7x7": [(inner, 1, 1), (inner, 1, 7), (192, 7, 1)],
        "branch7x7dbl": [(inner, 1, 1), (inner, 7, 1), (inner, 1, 7), (inner, 7, 1), (192, 1, 7)],
        "branch_pool": [(192, 1, 1)],
    }
    return Mixed(in_channels, branches, _average)


def _block_d(in_channels: int) -> Mixed:
    """From 17×17 to 8×8."""
    branches = {
        "branch3x3": [(192, 1, 1), (320, 3, 3)],
        "branch7x7x3": [(192, 1, 1), (192, 1, 7), (192, 7, 1), (192, 3, 3)],
    }
    return Mixed(in_channels, branches, _reduced, stride=2)


def _block_e(in_channels: int, pool: Pool) -> Mixed:
    """Figure 7, banks that fork, at 8×8."""
    branches = {
        "branch1x1": [(320, 1, 1)],
        "branch3x3": [(384, 1, 1), (384, 1, 3), (384, 3, 1)],
        "branch3x3dbl": [(448, 1, 1), (384, 3, 3), (384, 1, 3), (384, 3, 1)],
        "branch_pool": [(192, 1, 1)],
    }
    return Mixed(in_channels, branches, pool, forked=True)


class InceptionV3(nn.Module):
    """The network, with the names of its file: images in about [-1, 1] -> what its last pool gives."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = BasicConv2d(3, (32, 3, 3), stride=2, padded=False)
        self.Conv2d_2a_3x3 = BasicConv2d(32, (32, 3, 3), padded=False)
        self.Conv2d_2b_3x3 = BasicConv2d(32, (64, 3, 3))
        self.Conv2d_3b_1x1 = BasicConv2d(64, (80, 1, 1))
        self.Conv2d_4a_3x3 = BasicConv2d(80, (192, 3, 3), padded=False)
        self.Mixed_5b = _block_a(192, 32)
        self.Mixed_5c = _block_a(256, 64)
        self.Mixed_5d = _block_a(288, 64)
        self.Mixed_6a = _block_b(288)
        self.Mixed_6b = _block_c(768, 128)
        self.Mixed_6c = _block_c(768, 160)
        self.Mixed_6d = _block_c(768, 160)
        self.Mixed_6e = _block_c(768, 192)
        self.Mixed_7a = _block_d(768)
        self.Mixed_7b = _block_e(1280, _average)
        self.Mixed_7c = _block_e(2048, _maximum)
        self.fc = nn.Linear(2048, 1008)

    def forward(self, x: Tensor) -> Tensor:
        """[n, 3, 299, 299] -> [n, 2048]."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(_reduced(x)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(_reduced(x))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        return x.mean(dim=(2, 3))


def resized_as_tensorflow_1(pixels: Tensor, side: int) -> Tensor:
    """y[i] = x[⌊s⌋] + (x[⌊s⌋ + 1] - x[⌊s⌋])·(s - ⌊s⌋), s = i·H/side, along both sides; the last pixel is repeated.

    Pixels are taken for points at whole places, and where images become smaller no pixel between is averaged.

    Args:
        pixels: [n, C, H, W].
        side: of the result.

    Returns:
        [n, C, side, side].
    """
    for dim in (3, 2):
        length = pixels.shape[dim]
        places = torch.arange(side, dtype=torch.float32, device=pixels.device) * (length / side)
        lower = places.long().clamp_max(length - 1)
        share = (places - lower).to(pixels.dtype)
        share = share if dim == 3 else share[:, None]
        first, second = (pixels.index_select(dim, each) for each in (lower, (lower + 1).clamp_max(length - 1)))
        pixels = first + (second - first) * share
    return pixels


class Inception(NetworkExtractor):
    """What the last pool of FID's Inception gives.

    Images are resized as the graph of TensorFlow does that FID was published with, and scaled by (x - 128) / 128.

    Args:
        device: where it computes.
        weights: the file, or a folder with it; None: it is in $TORCH_HOME/hub/checkpoints.

    Raises:
        FileNotFoundError, ValueError: the file is not there, or is another.
    """

    name, dim = "inception", 2048
    resize = "bilinear to 299×299 as TensorFlow 1 does (corners not aligned, no half pixels), without antialiasing"

    def __init__(self, device: torch.device, weights: Path | None = None) -> None:
        found = FILE.load(weights)
        super().__init__(found.fill(InceptionV3), found, device)

    def _features(self, pixels: Tensor) -> Tensor:
        return self.network((resized_as_tensorflow_1(pixels, _SIDE) - 128) / 128)

    @torch.no_grad()
    def probabilities(self, features: Tensor) -> Tensor:
        """softmax(features @ fc.weightᵀ): of 1,008 classes, from what calls of this extractor give.

        The network's output bias is left out, as in the inception score that was published.

        Args:
            features: float32 [n, 2048].

        Returns:
            float32 [n, 1008] on the CPU.

        Source: Salimans et al. 2016.
        """
        return F.linear(features.to(self.device), self.network.fc.weight).softmax(dim=1).cpu()
