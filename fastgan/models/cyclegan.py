"""CycleGAN: translation learnt from two sets without pairs. Source: Zhu et al. 2017."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from fastgan.config.fields import as_resolution, check_choice, check_int, make_plain
from fastgan.config.options import UnpairedOptions
from fastgan.models.convnorm import NORMS
from fastgan.models.patchgan import RECEPTIVE_FIELDS, PatchGAN, check_patches
from fastgan.models.registry import Family
from fastgan.models.resnet import ResNet
from fastgan.models.unet import UNet, as_num_downs

GENERATORS = ("resnet", "unet")


@dataclass(frozen=True)
class CycleGANConfig:
    """The architecture of both generators and both discriminators.

    Args:
        resolution: (H, W) of the training images in pixels, or an int for a square. The generators take any multiple of
            4 (resnet) or 2^num_downs (unet).
        in_channels: channels of the images of set a.
        out_channels: channels of the images of set b.
        generator: "resnet" as in the paper, or "unet", without dropout.
        num_blocks: residual blocks of a resnet; 0: 6 up to 128 pixels (the larger side), 9 above; the field then
            holds the number.
        num_downs: how often a unet halves its input; 0: as often as the resolution allows; the field then
            holds the number.
        channel_base: channels of a generator's first layer.
        norm: "instance" or "batch" normalisation, in all networks.
        receptive_field: side of the patch that one logit sees, in pixels: 1, 16, 34, 70, 142 or 286.
        d_channel_base: channels of a discriminator's first level, doubled from level to level, up to 8 times as many.

    Raises:
        ValueError: a value is impossible.
    """

    resolution: tuple[int, int] = (256, 256)
    in_channels: int = 3
    out_channels: int = 3
    generator: str = "resnet"
    num_blocks: int = 0
    num_downs: int = 0
    channel_base: int = 64
    norm: str = "instance"
    receptive_field: int = 70
    d_channel_base: int = 64

    def __post_init__(self) -> None:
        make_plain(self)
        object.__setattr__(self, "resolution", as_resolution(self.resolution))
        for name in ("in_channels", "out_channels", "channel_base", "d_channel_base"):
            check_int(name, getattr(self, name), 1)
        check_int("num_blocks", self.num_blocks, 0, 1000)
        check_int("num_downs", self.num_downs, 0, 15)
        check_choice("generator", self.generator, GENERATORS)
        check_choice("norm", self.norm, NORMS)
        check_choice("receptive_field", self.receptive_field, tuple(RECEPTIVE_FIELDS))
        self._set_depth()
        check_patches(self.receptive_field, self.resolution)

    def _set_depth(self) -> None:
        other = "num_downs" if self.generator == "resnet" else "num_blocks"
        if getattr(self, other) != 0:
            raise ValueError(f"{other} must be 0 where the generator is a {self.generator}, got {getattr(self, other)}")
        if self.generator == "unet":
            object.__setattr__(self, "num_downs", as_num_downs(self.num_downs, self.resolution))
            return
        if any(side % ResNet.multiple or side < ResNet.smallest for side in self.resolution):
            raise ValueError(
                f"resolution must be multiples of {ResNet.multiple} and at least {ResNet.smallest} for a resnet, "
                f"got {self.resolution}"
            )
        object.__setattr__(self, "num_blocks", self.num_blocks or (9 if max(self.resolution) > 128 else 6))


def _generator(cfg: CycleGANConfig, in_channels: int, out_channels: int) -> nn.Module:
    if cfg.generator == "unet":
        return UNet(in_channels, out_channels, cfg.num_downs, cfg.channel_base, cfg.norm, dropout=0.0)
    return ResNet(in_channels, out_channels, cfg.num_blocks, cfg.channel_base, cfg.norm)


def _critic(cfg: CycleGANConfig, channels: int) -> nn.Module:
    return PatchGAN(channels, cfg.receptive_field, cfg.d_channel_base, cfg.norm)


@dataclass(frozen=True)
class CycleGANOptions(UnpairedOptions):
    """Training options with the paper's defaults (section 4).

    Its adversarial loss is (D(x) - 1)², without the half of `loss` lsgan: hence gan_weight 2. Halving D's loss, as it
    does too, changes nothing under Adam.
    """

    batch: int = 1
    loss: str = "lsgan"
    g_lr: float = 2e-4
    d_lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    gan_weight: float = 2.0


FAMILY = Family(
    "cyclegan",
    CycleGANConfig,
    {
        "G_ab": lambda cfg: _generator(cfg, cfg.in_channels, cfg.out_channels),
        "G_ba": lambda cfg: _generator(cfg, cfg.out_channels, cfg.in_channels),
        "D_a": lambda cfg: _critic(cfg, cfg.in_channels),
        "D_b": lambda cfg: _critic(cfg, cfg.out_channels),
    },
    CycleGANOptions,
    data="two-sets",
    play="fastgan.train.games.translation:play_unpaired",
)
