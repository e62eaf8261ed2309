"""StyleGAN2. Source: Karras et al. 2020, "Analyzing and improving the image quality of StyleGAN"; conditioning and
the non-leaking variants as in Karras et al. 2020a (ADA)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from torch import Tensor, nn

from fastgan.config.fields import as_resolution, check_choice, check_float, check_int, make_plain
from fastgan.config.options import StyledOptions
from fastgan.models.inputs import as_images, as_labels, as_rows, in_format_of
from fastgan.models.mapping import MappingNetwork
from fastgan.models.protocols import Grouping, Layered, Styled
from fastgan.models.pyramid import channels_at, pyramid
from fastgan.models.registry import Family
from fastgan.nn import (
    EqualizedConv2d,
    EqualizedLinear,
    MixedPrecision,
    SynthesisLayer,
    ToRGB,
    minibatch_stddev,
)
from fastgan.nn.initial import normal
from fastgan.nn.modulated import NOISE_MODES, Generators, check_generators
from fastgan.nn.resampling import Resampling
from fastgan.ops import upsample2d
from fastgan.ops.arguments import sizes


@dataclass(frozen=True)
class StyledConfig:
    """What StyleGAN2 and 3 have in common: D, the mapping network, the channels.

    Args:
        resolution: (H, W) = start · 2^k, or an int for a square.
        img_channels: channels of the images.
        num_classes: length of c, a one-hot class or a label vector; 0: unconditional.
        z_dim: length of z.
        w_dim: length of w.
        mapping_layers: layers of G's mapping network.
        channel_base: channels at resolution r are min(channel_base // r, channel_max).
        channel_max: see channel_base.
        mbstd_group: the most samples in a group of D's minibatch standard deviation.
        cmap_dim: length of D's label embedding; None: D's channels at the start.
        w_avg_beta: decay of the moving average of w.
        conv_clamp: bound on the output of convolution layers; None: none, right for fp32 (`fastgan train` takes 256
            where half precision is on).

    Raises:
        ValueError: a value is impossible.
    """

    resolution: tuple[int, int] = (64, 64)
    img_channels: int = 3
    num_classes: int = 0
    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 8
    channel_base: int = 32768
    channel_max: int = 512
    mbstd_group: int = 4
    cmap_dim: int | None = None
    w_avg_beta: float = 0.998
    conv_clamp: float | None = None

    def __post_init__(self) -> None:
        make_plain(self)
        object.__setattr__(self, "resolution", as_resolution(self.resolution))
        pyramid(self.resolution)
        check_int("num_classes", self.num_classes, 0)
        for name in (
            "img_channels", "z_dim", "w_dim", "channel_base", "channel_max", "mbstd_group",
        ):  # fmt: skip
            check_int(name, getattr(self, name), 1)
        check_int("mapping_layers", self.mapping_layers, 1, 64)
        if self.cmap_dim is not None:
            check_int("cmap_dim", self.cmap_dim, 1)
        check_float("w_avg_beta", self.w_avg_beta, 0, 1)
        if self.conv_clamp is not None:
            check_float("conv_clamp", self.conv_clamp, 0, math.inf)

    def channels(self, size: tuple[int, int]) -> int:
        """Channels of the layers at size (h, w)."""
        return channels_at(size, self.channel_base, self.channel_max)


@dataclass(frozen=True)
class StyleGAN2Config(StyledConfig):
    """The architecture of G and D.

    Args:
        noise: add noise to every layer of G; False leaves all of it out, which suits small sets and few steps.
        style_mixing: probability that a training batch mixes two latents.

    Raises:
        ValueError: a value is impossible.
    """

    noise: bool = True
    style_mixing: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("noise", self.noise, (False, True))
        check_float("style_mixing", self.style_mixing, 0, 1)


class SynthesisNetwork(MixedPrecision, Resampling):
    """Images of ws: a learned constant, two modulated convolutions a resolution, the to-RGB images summed.

    Layer i takes row i of ws; the to-RGB of a resolution takes the row of the layer that follows it.

    Attributes: num_ws, w_dim, img_channels, img_resolution (the larger side).
    """

    def __init__(self, cfg: StyleGAN2Config) -> None:
        super().__init__()
        sizes = pyramid(cfg.resolution)
        widths = [cfg.channels(size) for size in sizes]
        self.w_dim, self.has_noise = cfg.w_dim, cfg.noise
        self.img_channels, self.img_resolution = cfg.img_channels, max(cfg.resolution)
        self.num_ws = 2 * len(sizes)
        self.resolutions = [max(size) for size in sizes]
        self.const = nn.Parameter(normal(widths[0], *sizes[0]))
        self.layers = nn.ModuleList([SynthesisLayer(widths[0], widths[0], cfg.w_dim, sizes[0], clamp=cfg.conv_clamp)])
        for i, o, size in zip(widths, widths[1:], sizes[1:], strict=False):
            self.layers.append(SynthesisLayer(i, o, cfg.w_dim, size, up=2, clamp=cfg.conv_clamp))
            self.layers.append(SynthesisLayer(o, o, cfg.w_dim, size, clamp=cfg.conv_clamp))
        self.to_rgb = nn.ModuleList(ToRGB(i, cfg.img_channels, cfg.w_dim, clamp=cfg.conv_clamp) for i in widths)
        self.make_filter()

    def forward(self, ws: Tensor, noise_mode: str = "random", generator: Generators = None) -> Tensor:
        """ws [N, num_ws, w_dim] -> images [N, C, H, W].

        Args:
            ws: rows of w, one a layer; of another dtype they are cast, arrays and lists are taken too.
            noise_mode: "random", "const" (each layer's own buffer) or "none".
            generator: draws the random noise, one for all or N, each for its image; None: torch's global one.

        Raises:
            ValueError, TypeError: ws has the wrong shape, dtype or device, noise_mode is none of the three, or there
                are not N generators.
        """
        ws = as_rows(ws, self.num_ws, self.w_dim, self.const)
        check_choice("noise_mode", noise_mode, NOISE_MODES)
        check_generators(generator, sizes(ws)[0])
        noise_mode = noise_mode if self.has_noise else "none"
        x = in_format_of(self, self.const.expand(ws.shape[0], -1, -1, -1))
        x = self.layers[0](x, ws[:, 0], noise_mode, generator)
        img = self.to_rgb[0](x, ws[:, 1])
        for i, to_rgb in enumerate(list(self.to_rgb)[1:], start=1):
            x = x.to(self.precision.at(self.resolutions[i], self.img_resolution, self.const.dtype))
            x = self.layers[2 * i - 1](x, ws[:, 2 * i - 1], noise_mode, generator)
            x = self.layers[2 * i](x, ws[:, 2 * i], noise_mode, generator)
            img = to_rgb(x, ws[:, 2 * i + 1], residual=upsample2d(img, self.f))
        return img


class Generator(Styled):
    """images = synthesis(mapping(z, c)).

    Attributes: mapping, synthesis, num_ws, z_dim, w_dim, num_classes = c_dim, img_channels, resolution (H, W),
    img_resolution (the larger side).
    """

    def __init__(self, cfg: StyleGAN2Config) -> None:
        super().__init__()
        self.z_dim, self.w_dim, self.num_classes = cfg.z_dim, cfg.w_dim, cfg.num_classes
        self.img_channels, self.resolution = cfg.img_channels, cfg.resolution
        self.c_dim, self.img_resolution = cfg.num_classes, max(cfg.resolution)
        self.synthesis = SynthesisNetwork(cfg)
        self.num_ws = self.synthesis.num_ws
        self.mapping = MappingNetwork(
            cfg.z_dim, cfg.num_classes, cfg.w_dim, cfg.mapping_layers, self.num_ws,
            w_avg_beta=cfg.w_avg_beta, style_mixing=cfg.style_mixing,
        )  # fmt: skip

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        update_emas: bool = False,
        *,
        noise_mode: str = "random",
        generator: Generators = None,
    ) -> Tensor:
        """z [N, z_dim], c [N, num_classes] or None -> images [N, C, H, W], mostly in [-1, 1].

        The arguments are those of `MappingNetwork` and `SynthesisNetwork`.
        """
        ws = self.mapping(z, c, truncation_psi, truncation_cutoff, update_emas)
        return self.synthesis(ws, noise_mode, generator)


class DiscriminatorBlock(nn.Module):
    """y = down(conv(conv(x))) / √2 + down(conv1×1(x)) / √2."""

    def __init__(self, in_channels: int, out_channels: int, *, clamp: float | None = None) -> None:
        super().__init__()
        half = math.sqrt(0.5)
        self.conv0 = EqualizedConv2d(in_channels, in_channels, 3, act="lrelu", clamp=clamp)
        self.conv1 = EqualizedConv2d(in_channels, out_channels, 3, act="lrelu", down=2, gain=half, clamp=clamp)
        self.skip = EqualizedConv2d(in_channels, out_channels, 1, bias=False, down=2, gain=half)

    def forward(self, x: Tensor) -> Tensor:
        """[N, I, H, W] -> [N, O, H/2, W/2]."""
        return self.skip(x, residual=self.conv1(self.conv0(x)))


class Discriminator(MixedPrecision, Grouping, Layered):
    """Residual discriminator; with labels, the projection of its output on an embedding of the label.

    Attributes: num_classes = c_dim, img_channels, resolution (H, W), img_resolution (the larger side).
    """

    def __init__(self, cfg: StyledConfig) -> None:
        super().__init__()
        sizes = pyramid(cfg.resolution)[::-1]
        widths = [cfg.channels(size) for size in sizes]
        self.img_channels, self.resolution, self.num_classes = cfg.img_channels, cfg.resolution, cfg.num_classes
        self.c_dim, self.img_resolution = cfg.num_classes, max(cfg.resolution)
        self.mbstd_group = cfg.mbstd_group
        self.resolutions = [max(size) for size in sizes]
        self.from_rgb = EqualizedConv2d(cfg.img_channels, widths[0], 1, act="lrelu", clamp=cfg.conv_clamp)
        self.blocks = nn.ModuleList(
            DiscriminatorBlock(i, o, clamp=cfg.conv_clamp) for i, o in zip(widths, widths[1:], strict=False)
        )
        top, (h, w) = widths[-1], sizes[-1]
        self.cmap_dim = (cfg.cmap_dim or top) if cfg.num_classes > 0 else 1
        self.conv = EqualizedConv2d(top + 1, top, 3, act="lrelu", clamp=cfg.conv_clamp)
        self.dense = EqualizedLinear(top * h * w, top, act="lrelu")
        self.out = EqualizedLinear(top, self.cmap_dim)
        self.mapping = MappingNetwork(0, cfg.num_classes, self.cmap_dim, 8) if cfg.num_classes > 0 else None

    def forward(self, img: Tensor, c: Tensor | None = None) -> Tensor:
        """img [N, C, H, W], c [N, num_classes] or None -> logits [N, 1].

        Raises:
            ValueError, TypeError: img or c has the wrong shape, dtype or device.
        """
        like = cast(Tensor, self.out.bias)
        img = as_images(img, self.img_channels, self.resolution, like)
        c = as_labels(c, sizes(img)[0], self.num_classes, like)
        dtypes = [self.precision.at(resolution, self.img_resolution, like.dtype) for resolution in self.resolutions]
        img = in_format_of(self, img).to(dtypes[0])
        x = in_format_of(self, self.from_rgb(img))  # a copy where images of one channel have no format to keep
        for block, dtype in zip(self.blocks, dtypes, strict=False):
            x = block(x.to(dtype))
        x = self.conv(minibatch_stddev(x.to(like.dtype), self.mbstd_group))
        x = self.out(self.dense(x.flatten(1)))
        if self.mapping is not None:
            cmap = self.mapping.w(None, c)
            x = (x * cmap).sum(dim=1, keepdim=True) / math.sqrt(self.cmap_dim)
        return x

    def parameters_by_layer(self) -> list[list[nn.Parameter]]:
        """from_rgb, conv0, conv1 and skip of each block, conv, dense, out."""
        blocks = [layer for block in self.blocks for layer in block.children()]
        return [list(layer.parameters()) for layer in (self.from_rgb, *blocks, self.conv, self.dense, self.out)]


@dataclass(frozen=True)
class StyleGAN2Options(StyledOptions):
    """Training options with the paper's defaults (appendix B; γ of R1: Karras et al. 2020a)."""

    g_lr: float = 0.0025
    d_lr: float = 0.0025
    penalties: Mapping[str, tuple[float | None, int]] = field(default_factory=lambda: {"r1": (None, 16)})
    pl_weight: float = 2.0
    channels_last: bool | None = None  # Winograd's convolutions of a CPU want contiguous images


FAMILY = Family("stylegan2", StyleGAN2Config, {"G": Generator, "D": Discriminator}, StyleGAN2Options)
