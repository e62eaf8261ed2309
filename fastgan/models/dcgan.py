"""DCGAN. Source: Radford et al. 2015; the label's projection in D: Miyato & Koyama 2018."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fastgan.config.fields import as_resolution, check_choice, check_int, make_plain
from fastgan.config.options import AdversarialOptions
from fastgan.models.inputs import as_images, as_labels, as_latents, in_format_of
from fastgan.models.protocols import FromNoise, Layered
from fastgan.models.pyramid import channels_at, pyramid
from fastgan.models.registry import Family
from fastgan.nn import MixedPrecision
from fastgan.nn.convolution import Conv2d, ConvTranspose2d
from fastgan.ops import bias_act
from fastgan.ops.arguments import sizes

# Initial weights are drawn in float32 and cast to torch's default dtype: a seed gives the same network in any.
FLOAT32: dict[str, Any] = {"dtype": torch.float32}


@dataclass(frozen=True)
class DCGANConfig:
    """The architecture of G and D.

    Args:
        resolution: (H, W) = start · 2^k, or an int for a square.
        img_channels: channels of the images.
        num_classes: length of c, a one-hot class or a label vector; 0: unconditional.
        z_dim: length of z; a label is embedded to the same length.
        channel_base: channels at resolution r are min(channel_base // r, channel_max).
        channel_max: see channel_base.
        kernel_size: side of the strided kernels, 5 as in the paper's networks, or 4.

    Raises:
        ValueError: a value is impossible.
    """

    resolution: tuple[int, int] = (64, 64)
    img_channels: int = 3
    num_classes: int = 0
    z_dim: int = 100
    channel_base: int = 4096
    channel_max: int = 1024
    kernel_size: int = 5

    def __post_init__(self) -> None:
        make_plain(self)
        object.__setattr__(self, "resolution", as_resolution(self.resolution))
        pyramid(self.resolution)
        check_int("num_classes", self.num_classes, 0)
        for name in ("img_channels", "z_dim", "channel_base", "channel_max"):
            check_int(name, getattr(self, name), 1)
        check_choice("kernel_size", self.kernel_size, (4, 5))

    def channels(self, size: tuple[int, int]) -> int:
        """Channels of the feature maps at size (h, w)."""
        return channels_at(size, self.channel_base, self.channel_max)


def initialise(network: nn.Module) -> None:
    """Weights N(0, 0.02), batch normalisation scales N(1, 0.02), biases 0. Source: Radford et al. 2015, section 4."""
    for module in network.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
        if isinstance(getattr(module, "bias", None), Tensor):
            nn.init.zeros_(module.bias)  # pyright: ignore[reportArgumentType]
    if torch.get_default_dtype() != torch.float32:  # else nothing to do, and fake tensors may not be replaced
        network.to(torch.get_default_dtype())


class Generator(MixedPrecision, FromNoise):
    """project(z, E c) → [transposed convolution ↑2, batch normalisation, ReLU]… → transposed convolution ↑2, tanh.

    Attributes: z_dim, num_classes = c_dim, img_channels, resolution (H, W), img_resolution (the larger side).
    """

    def __init__(self, cfg: DCGANConfig) -> None:
        super().__init__()
        self.z_dim, self.num_classes = cfg.z_dim, cfg.num_classes
        self.img_channels, self.resolution = cfg.img_channels, cfg.resolution
        self.c_dim, self.img_resolution = cfg.num_classes, max(cfg.resolution)
        sizes = pyramid(cfg.resolution)
        self.resolutions = [max(size) for size in sizes[1:]]  # of what the convolutions give
        widths = [cfg.channels(size) for size in sizes[:-1]]
        self.start = (widths[0], *sizes[0])
        k = cfg.kernel_size
        self.embed = nn.Linear(cfg.num_classes, cfg.z_dim, bias=False, **FLOAT32) if cfg.num_classes > 0 else None
        joined = cfg.z_dim * (2 if cfg.num_classes > 0 else 1)
        self.project = nn.Linear(joined, widths[0] * sizes[0][0] * sizes[0][1], bias=False, **FLOAT32)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width, **FLOAT32) for width in widths)
        self.convs = nn.ModuleList(
            ConvTranspose2d(i, o, k, stride=2, padding=(k - 1) // 2, output_padding=k % 2, bias=False, **FLOAT32)
            for i, o in zip(widths, widths[1:] + [cfg.img_channels], strict=True)
        )
        self.bias = nn.Parameter(torch.zeros(cfg.img_channels))
        initialise(self)

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """z [N, z_dim], c [N, num_classes] or None -> images [N, C, H, W] in [-1, 1].

        Raises:
            ValueError, TypeError: z or c has the wrong shape, dtype or device.
        """
        z = as_latents(z, self.z_dim, self.bias)
        c = as_labels(c, sizes(z)[0], self.num_classes, self.bias)
        if self.embed is not None and c is not None:
            z = torch.cat([z, self.embed(c)], dim=1)
        x = in_format_of(self, self.project(z).unflatten(1, self.start))
        for norm, conv, resolution in zip(self.norms, self.convs, self.resolutions, strict=True):
            x = x.to(self.precision.at(resolution, self.img_resolution, self.bias.dtype))
            x = conv(bias_act(norm(x), act="relu", gain=1))
        return bias_act(x.to(self.bias.dtype), self.bias, act="tanh")


class Discriminator(MixedPrecision, Layered):
    """[strided convolution ↓2, batch normalisation, lrelu 0.2]… → dense; no normalisation of the first layer.

    With labels: logit + E c · Σ_pixels features (projection).

    Attributes: num_classes = c_dim, img_channels, resolution (H, W), img_resolution (the larger side).
    """

    def __init__(self, cfg: DCGANConfig) -> None:
        super().__init__()
        self.img_channels, self.resolution, self.num_classes = cfg.img_channels, cfg.resolution, cfg.num_classes
        self.c_dim, self.img_resolution = cfg.num_classes, max(cfg.resolution)
        resolution, *sizes = pyramid(cfg.resolution)[::-1]
        self.resolutions = [max(size) for size in (resolution, *sizes[:-1])]  # of what the convolutions take
        widths = [cfg.channels(size) for size in sizes]
        k = cfg.kernel_size
        self.convs = nn.ModuleList(
            Conv2d(i, o, k, stride=2, padding=(k - 1) // 2, bias=False, **FLOAT32)
            for i, o in zip([cfg.img_channels, *widths], widths, strict=False)
        )
        self.bias = nn.Parameter(torch.zeros(widths[0]))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width, **FLOAT32) for width in widths[1:])
        self.dense = nn.Linear(widths[-1] * sizes[-1][0] * sizes[-1][1], 1, **FLOAT32)
        self.embed = nn.Linear(cfg.num_classes, widths[-1], bias=False, **FLOAT32) if cfg.num_classes > 0 else None
        initialise(self)

    def forward(self, img: Tensor, c: Tensor | None = None) -> Tensor:
        """img [N, C, H, W], c [N, num_classes] or None -> logits [N, 1].

        Raises:
            ValueError, TypeError: img or c has the wrong shape, dtype or device.
        """
        img = as_images(img, self.img_channels, self.resolution, self.bias)
        c = as_labels(c, sizes(img)[0], self.num_classes, self.bias)
        wide = self.bias.dtype
        dtypes = [self.precision.at(resolution, self.img_resolution, wide) for resolution in self.resolutions]
        x = in_format_of(self, img).to(dtypes[0])
        x = bias_act(self.convs[0](x), self.bias, act="lrelu", gain=1)
        for conv, norm, dtype in zip(list(self.convs)[1:], self.norms, dtypes[1:], strict=True):
            x = bias_act(norm(conv(x.to(dtype))), act="lrelu", gain=1)
        x = x.to(wide)
        logits = self.dense(x.flatten(1))
        if self.embed is not None and c is not None:
            logits = logits + (self.embed(c) * x.sum(dim=[2, 3])).sum(dim=1, keepdim=True)
        return logits

    def parameters_by_layer(self) -> list[list[nn.Parameter]]:
        """Each convolution with its bias or normalisation, and dense."""
        first, *convs = self.convs
        normalised = [[*conv.parameters(), *norm.parameters()] for conv, norm in zip(convs, self.norms, strict=True)]
        return [[*first.parameters(), self.bias], *normalised, list(self.dense.parameters())]


@dataclass(frozen=True)
class DCGANOptions(AdversarialOptions):
    """Training options with the paper's defaults (section 4)."""

    g_lr: float = 2e-4
    d_lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)


FAMILY = Family("dcgan", DCGANConfig, {"G": Generator, "D": Discriminator}, DCGANOptions)
