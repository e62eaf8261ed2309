"""R3GAN: residual networks without normalisation, for a relativistic loss with R1 and R2 at every step.

Source: Huang et al. 2024, "The GAN is dead; long live the GAN! A Modern GAN Baseline". "chosen" marks what is ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastgan.config.annealing import AnnealedOptions
from fastgan.config.fields import as_resolution, check_int, make_plain
from fastgan.models.inputs import as_images, as_labels, as_latents, in_format_of
from fastgan.models.protocols import FromNoise, Layered
from fastgan.models.pyramid import channels_at, pyramid
from fastgan.models.registry import Family
from fastgan.nn.initial import normal
from fastgan.nn.plain import PlainConv2d
from fastgan.nn.precision import MixedPrecision
from fastgan.nn.resampling import Resampling
from fastgan.ops import conv2d_resample, downsample2d, upsample2d
from fastgan.ops.arguments import sizes

SLOPE = 0.2
# Of the weights before a leaky ReLU, that it keeps the second moment (He et al. 2015, eq. 15).
GAIN = math.sqrt(2 / (1 + SLOPE**2))


@dataclass(frozen=True)
class R3GANConfig:
    """The architecture of G and D.

    Args:
        resolution: (H, W) = start · 2^k, or an int for a square.
        img_channels: channels of the images.
        num_classes: length of c, a one-hot class or a label vector; 0: unconditional.
        z_dim: length of z; a label is embedded to the same length.
        channel_base: channels at resolution r are min(channel_base // r, channel_max), rounded down to whole groups.
        channel_max: see channel_base.
        blocks: residual blocks at each resolution.
        expansion: channels inside a block, as a multiple of those around it.
        group_size: channels in a group of the 3×3 convolutions, which have expansion · channels / group_size groups.

    Raises:
        ValueError: a value is impossible.
    """

    resolution: tuple[int, int] = (32, 32)
    img_channels: int = 3
    num_classes: int = 0
    z_dim: int = 64
    channel_base: int = 1024
    channel_max: int = 128
    blocks: int = 1
    expansion: int = 2
    group_size: int = 16

    def __post_init__(self) -> None:
        make_plain(self)
        object.__setattr__(self, "resolution", as_resolution(self.resolution))
        check_int("num_classes", self.num_classes, 0)
        for name in ("img_channels", "z_dim", "channel_base", "channel_max", "blocks", "expansion", "group_size"):
            check_int(name, getattr(self, name), 1)
        pyramid(self.resolution)

    def channels(self, size: tuple[int, int]) -> int:
        """Channels of the feature maps at size (h, w)."""
        unit = self.group_size // math.gcd(self.group_size, self.expansion)
        return max(unit, channels_at(size, self.channel_base, self.channel_max) // unit * unit)


class Block(nn.Module):
    """y = x + W₃ lrelu(W₂ lrelu(W₁ x + b₁) + b₂): 1×1 to more channels, 3×3 in groups, 1×1 back.

    W₃ begins at 0, the others L^-¼ times as large as in a plain stack of layers, L the blocks of the network: an
    update then changes what the network gives by as much, however many blocks it has.

    Args:
        channels: of x and y.
        cfg: expansion and group_size.
        count: L.

    Source: Huang et al. 2024, section 4; Zhang et al. 2019 (Fixup), section 3. Chosen: biases before the activations
    and nowhere else.
    """

    def __init__(self, channels: int, cfg: R3GANConfig, count: int) -> None:
        super().__init__()
        inside, gain = channels * cfg.expansion, GAIN * count**-0.25
        groups = inside // cfg.group_size
        self.expand = PlainConv2d(channels, inside, 1, act="lrelu", gain=gain)
        self.group = PlainConv2d(inside, inside, 3, groups=groups, act="lrelu", gain=gain)
        self.reduce = PlainConv2d(inside, channels, 1, gain=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, channels, H, W] -> the same shape."""
        return self.reduce(self.group(self.expand(x)), residual=x)


class Stage(nn.Module):
    """The blocks of one resolution, behind what leads there from another.

    That is the filter [1, 3, 3, 1], bilinear interpolation where it doubles, and a 1×1 convolution without bias where
    the channels change, which runs at the lower resolution: it changes places with the filter.

    Args:
        before, channels: what comes in, and goes through the blocks.
        cfg: the architecture.
        up, down: factors, 1 or 2.

    Source: Huang et al. 2024, section 4. Chosen: the filter, of which the paper says "bilinear".
    """

    def __init__(self, before: int, channels: int, cfg: R3GANConfig, up: int = 1, down: int = 1) -> None:
        super().__init__()
        self.up, self.down = up, down
        self.weight = None
        if before != channels:
            self.weight = nn.Parameter(normal(channels, before, 1, 1, divisor=math.sqrt(before)))
        count = cfg.blocks * len(pyramid(cfg.resolution))
        self.blocks = nn.Sequential(*(Block(channels, cfg, count) for _ in range(cfg.blocks)))

    def forward(self, x: Tensor, f: Tensor | None) -> Tensor:
        """x [N, before, H, W], the filter -> [N, channels, H·up/down, W·up/down]."""
        if self.weight is not None:
            x = conv2d_resample(x, self.weight, f, up=self.up, down=self.down)
        elif self.up > 1:
            x = upsample2d(x, f)
        elif self.down > 1:
            x = downsample2d(x, f)
        return self.blocks(x)

    def parameters_by_layer(self) -> list[list[nn.Parameter]]:
        """The convolution between the resolutions, where there is one, and those of the blocks."""
        layers = [[*layer.parameters()] for block in self.blocks for layer in block.children()]
        return layers if self.weight is None else [[self.weight], *layers]


class Generator(MixedPrecision, Resampling, FromNoise):
    """basis · W (z, E c) → blocks → [↑2 → blocks]… → 1×1 to the image.

    The basis [1, C, h, w] of the lowest resolution is learnt, and scaled channel by channel. Chosen: E c of z's length,
    entries of basis and E drawn from N(0, 1), W without bias.

    Attributes: z_dim, num_classes = c_dim, img_channels, resolution (H, W), img_resolution (the larger side).
    """

    def __init__(self, cfg: R3GANConfig) -> None:
        super().__init__()
        self.z_dim, self.num_classes = cfg.z_dim, cfg.num_classes
        self.img_channels, self.resolution = cfg.img_channels, cfg.resolution
        self.c_dim, self.img_resolution = cfg.num_classes, max(cfg.resolution)
        start, *others = pyramid(cfg.resolution)
        self.resolutions = [max(size) for size in (start, *others)]
        widths = [cfg.channels(size) for size in (start, *others)]
        joined = cfg.z_dim * (2 if cfg.num_classes > 0 else 1)
        self.embedding = nn.Parameter(normal(cfg.z_dim, cfg.num_classes)) if cfg.num_classes > 0 else None
        self.modulation = nn.Parameter(normal(widths[0], joined, divisor=math.sqrt(joined)))
        self.basis = nn.Parameter(normal(1, widths[0], *start))
        self.stages = nn.ModuleList([Stage(widths[0], widths[0], cfg)])
        self.stages.extend(Stage(i, o, cfg, up=2) for i, o in zip(widths, widths[1:], strict=False))
        self.make_filter()
        self.to_rgb = PlainConv2d(widths[-1], cfg.img_channels, 1)

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """z [N, z_dim], c [N, num_classes] or None -> images [N, C, H, W], about [-1, 1].

        Raises:
            ValueError, TypeError: z or c has the wrong shape, dtype or device.
        """
        z = as_latents(z, self.z_dim, self.basis)
        c = as_labels(c, sizes(z)[0], self.num_classes, self.basis)
        if self.embedding is not None and c is not None:
            z = torch.cat([z, F.linear(c, self.embedding)], dim=1)
        x = in_format_of(self, self.basis * F.linear(z, self.modulation)[:, :, None, None])
        for stage, resolution in zip(self.stages, self.resolutions, strict=True):
            x = stage(x.to(self.precision.at(resolution, self.img_resolution, self.basis.dtype)), self.f)
        return self.to_rgb(x.to(self.basis.dtype))


class Discriminator(MixedPrecision, Resampling, Layered):
    """1×1 of the image → blocks → [↓2 → blocks]… → Σ_pixels basis · features → V f (+ E c · f with labels).

    The sum over the pixels of the lowest resolution is a depthwise convolution with a kernel of its size. Chosen: the
    label's projection as Miyato & Koyama 2018 have it; V has no bias, of which a relativistic loss knows nothing.

    Attributes: num_classes = c_dim, img_channels, resolution (H, W), img_resolution (the larger side).
    """

    def __init__(self, cfg: R3GANConfig) -> None:
        super().__init__()
        self.img_channels, self.resolution, self.num_classes = cfg.img_channels, cfg.resolution, cfg.num_classes
        self.c_dim, self.img_resolution = cfg.num_classes, max(cfg.resolution)
        stages = pyramid(cfg.resolution)[::-1]
        self.resolutions = [max(size) for size in stages]
        widths, pixels = [cfg.channels(size) for size in stages], math.prod(stages[-1])
        self.from_rgb = PlainConv2d(cfg.img_channels, widths[0], 1)
        self.stages = nn.ModuleList([Stage(widths[0], widths[0], cfg)])
        self.stages.extend(Stage(i, o, cfg, down=2) for i, o in zip(widths, widths[1:], strict=False))
        self.make_filter()
        self.basis = nn.Parameter(normal(1, widths[-1], *stages[-1], divisor=math.sqrt(pixels)))
        self.dense = nn.Parameter(normal(1, widths[-1], divisor=math.sqrt(widths[-1])))
        self.embedding = None
        if cfg.num_classes > 0:
            self.embedding = nn.Parameter(normal(widths[-1], cfg.num_classes, divisor=math.sqrt(widths[-1])))

    def forward(self, img: Tensor, c: Tensor | None = None) -> Tensor:
        """img [N, C, H, W], c [N, num_classes] or None -> logits [N, 1].

        Raises:
            ValueError, TypeError: img or c has the wrong shape, dtype or device.
        """
        img = as_images(img, self.img_channels, self.resolution, self.basis)
        c = as_labels(c, sizes(img)[0], self.num_classes, self.basis)
        wide = self.basis.dtype
        dtypes = [self.precision.at(resolution, self.img_resolution, wide) for resolution in self.resolutions]
        x = self.from_rgb(in_format_of(self, img).to(dtypes[0]))
        for stage, dtype in zip(self.stages, dtypes, strict=True):
            x = stage(x.to(dtype), self.f)
        features = (x.to(wide) * self.basis).sum(dim=[2, 3])
        logits = F.linear(features, self.dense)
        if self.embedding is not None and c is not None:
            logits = logits + (F.linear(c, self.embedding) * features).sum(dim=1, keepdim=True)
        return logits

    def parameters_by_layer(self) -> list[list[nn.Parameter]]:
        """from_rgb, each convolution of the stages, basis, dense."""
        stages = (layer for stage in self.stages if isinstance(stage, Stage) for layer in stage.parameters_by_layer())
        return [[*self.from_rgb.parameters()], *stages, [self.basis], [self.dense]]


def _both_penalties() -> dict[str, tuple[float | None, int]]:
    return {"r1": (0.05, 1), "r2": (0.05, 1)}


@dataclass(frozen=True)
class R3GANOptions(AnnealedOptions):
    """Training options with the paper's values for CIFAR-10, as remembered, but for batch, kimg, burn_in and ema_kimg.

    On a CPU grouped convolutions are faster on contiguous images (`bench/grouped.py`).
    """

    loss: str = "relativistic"
    g_lr: float = 2e-4
    d_lr: float = 2e-4
    betas: tuple[float, float] = (0.0, 0.9)
    ema_rampup: float = 0.0
    channels_last: bool | None = None
    penalties: Mapping[str, tuple[float | None, int]] = field(default_factory=_both_penalties)


FAMILY = Family("r3gan", R3GANConfig, {"G": Generator, "D": Discriminator}, R3GANOptions)
