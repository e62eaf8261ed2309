"""pix2pix: translation learnt from pairs. Source: Isola et al. 2017."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from fastgan.config.fields import as_resolution, check_choice, check_float, check_int, make_plain
from fastgan.config.options import PairedOptions
from fastgan.models.convnorm import NORMS
from fastgan.models.patchgan import RECEPTIVE_FIELDS, ConditionalPatchGAN, check_patches
from fastgan.models.registry import Family
from fastgan.models.unet import UNet, as_num_downs


@dataclass(frozen=True)
class Pix2PixConfig:
    """The architecture of G, a U-Net, and of D, a PatchGAN that sees both images of a pair.

    Args:
        resolution: (H, W) of the training images in pixels, or an int for a square. G takes any multiple of
            2^num_downs.
        in_channels: channels of the images to be translated.
        out_channels: channels of their translations.
        num_downs: how often G halves its input; 0: as often as the resolution allows (8 at 256x256, down to 1x1);
            the field then holds the number.
        channel_base: channels of G's first level, doubled from level to level, up to 8 times as many.
        norm: "instance" or "batch" normalisation, in both networks. The paper's batches of one image are normalised
            alike by both in training, but for the scale and offset that "batch" learns; in evaluation it uses running
            averages.
        dropout: probability that a value after the three innermost levels of G's decoder is dropped.
        receptive_field: side of the patch that one logit of D sees, in pixels: 1, 16, 34, 70, 142 or 286.
        d_channel_base: channels of D's first level, doubled from level to level, up to 8 times as many.

    Raises:
        ValueError: a value is impossible.
    """

    resolution: tuple[int, int] = (256, 256)
    in_channels: int = 3
    out_channels: int = 3
    num_downs: int = 0
    channel_base: int = 64
    norm: str = "instance"
    dropout: float = 0.5
    receptive_field: int = 70
    d_channel_base: int = 64

    def __post_init__(self) -> None:
        make_plain(self)
        object.__setattr__(self, "resolution", as_resolution(self.resolution))
        for name in ("in_channels", "out_channels", "channel_base", "d_channel_base"):
            check_int(name, getattr(self, name), 1)
        check_int("num_downs", self.num_downs, 0, 15)
        check_choice("norm", self.norm, NORMS)
        check_float("dropout", self.dropout, 0, 1)
        check_choice("receptive_field", self.receptive_field, tuple(RECEPTIVE_FIELDS))
        object.__setattr__(self, "num_downs", as_num_downs(self.num_downs, self.resolution))
        check_patches(self.receptive_field, self.resolution)


@dataclass(frozen=True)
class Pix2PixOptions(PairedOptions):
    """Training options with the paper's defaults (section 3.3, appendix 6.2)."""

    batch: int = 1
    g_lr: float = 2e-4
    d_lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)


def _generator(cfg: Pix2PixConfig) -> nn.Module:
    return UNet(cfg.in_channels, cfg.out_channels, cfg.num_downs, cfg.channel_base, cfg.norm, cfg.dropout)


def _discriminator(cfg: Pix2PixConfig) -> nn.Module:
    return ConditionalPatchGAN(cfg.in_channels, cfg.out_channels, cfg.receptive_field, cfg.d_channel_base, cfg.norm)


FAMILY = Family(
    "pix2pix",
    Pix2PixConfig,
    {"G": _generator, "D": _discriminator},
    Pix2PixOptions,
    data="pairs",
    play="fastgan.train.games.translation:play_paired",
)
