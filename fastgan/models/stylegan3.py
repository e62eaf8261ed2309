"""StyleGAN3, configurations T (translation) and R (rotation too). Source: Karras et al. 2021, "Alias-free generative
adversarial networks". D is that of StyleGAN2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from fastgan.config.fields import check_choice, check_int
from fastgan.config.options import StyledOptions
from fastgan.models.inputs import as_rows, as_transform
from fastgan.models.mapping import MappingNetwork
from fastgan.models.protocols import Movable
from fastgan.models.registry import Family
from fastgan.models.stylegan2 import Discriminator, StyledConfig
from fastgan.nn.alias_free import AliasFreeLayer, AliasFreeToRGB, FourierFeatures
from fastgan.nn.modulated import NOISE_MODES, Generators, check_generators
from fastgan.nn.precision import MixedPrecision
from fastgan.nn.signals import CRITICAL_LAYERS, Signal, signals
from fastgan.ops.arguments import sizes

OUTPUT_SCALE = 0.25


@dataclass(frozen=True)
class StyleGAN3Config(StyledConfig):
    """The architecture of G and D, configuration T: convolutions of 3×3.

    Args:
        mapping_layers: layers of G's mapping network.
        channel_base: channels of D at resolution r are min(channel_base // r, channel_max), those of a layer of G the
            same with twice its cut-off in the place of r.
        layers: of G, before the to-RGB layer.
    """

    kernel_size: ClassVar[int] = 3
    radial: ClassVar[bool] = False
    widening: ClassVar[int] = 1  # of G's channels, not of D's

    mapping_layers: int = 2
    layers: int = 14

    def __post_init__(self) -> None:
        super().__post_init__()
        check_int("layers", self.layers, CRITICAL_LAYERS + 1, 64)
        self.signals()

    def signals(self) -> tuple[Signal, ...]:
        """What the layers of G give, coarse to fine, the image last."""
        base, most = self.widening * self.channel_base, self.widening * self.channel_max
        return signals(self.resolution, self.layers, base, most, self.img_channels)


@dataclass(frozen=True)
class StyleGAN3RConfig(StyleGAN3Config):
    """The architecture of G and D, configuration R: convolutions of 1×1, radial filters.

    Args:
        channel_base: channels of D at resolution r are min(channel_base // r, channel_max), those of a layer of G twice
            as many with twice its cut-off in the place of r.
    """

    kernel_size: ClassVar[int] = 1
    radial: ClassVar[bool] = True
    widening: ClassVar[int] = 2


class SynthesisNetwork(MixedPrecision, nn.Module):
    """Images of ws: Fourier features, alias-free layers, to-RGB, times 0.25. Row 0 of ws is the input's.

    Attributes: num_ws, w_dim, img_channels, img_resolution (the larger side).
    """

    def __init__(self, cfg: StyleGAN3Config) -> None:
        super().__init__()
        flow = cfg.signals()
        self.num_ws, self.w_dim = cfg.layers + 2, cfg.w_dim
        self.img_channels, self.img_resolution = cfg.img_channels, max(cfg.resolution)
        self.rates = [signal.rate for signal in flow]  # of what the layers give, the image last
        self.input = FourierFeatures(flow[0], cfg.w_dim)
        self.layers = nn.ModuleList(
            AliasFreeLayer(
                before, after, cfg.w_dim, kernel_size=cfg.kernel_size, radial=cfg.radial, clamp=cfg.conv_clamp
            )
            for before, after in zip((flow[0], *flow), flow[:-1], strict=False)
        )
        self.to_rgb = AliasFreeToRGB(flow[-2].channels, cfg.img_channels, cfg.w_dim, clamp=cfg.conv_clamp)

    def forward(
        self,
        ws: Tensor,
        noise_mode: str = "random",
        generator: Generators = None,
        transform: Tensor | None = None,
        *,
        update_emas: bool = False,
    ) -> Tensor:
        """ws [N, num_ws, w_dim] -> images [N, C, H, W].

        Args:
            ws: rows of w, one a layer; of another dtype they are cast, arrays and lists are taken too.
            noise_mode, generator: of the other `Styled` ones; there is no noise here.
            transform: [3, 3] or [N, 3, 3]: where the place p = (x, y, 1) of the image is in the picture that is not
                moved, as `fastgan.models.transforms.placement` gives it. x runs right, y down, the middle is 0, and
                one unit is the image's larger side. None moves nothing.
            update_emas: let the averages of the layers' second moments follow.

        Raises:
            ValueError, TypeError: ws or transform has the wrong shape, dtype or device, noise_mode is unknown, or
                there are not N generators.
        """
        ws = as_rows(ws, self.num_ws, self.w_dim, self.input.weight)
        check_choice("noise_mode", noise_mode, NOISE_MODES)
        check_generators(generator, sizes(ws)[0])
        transform = as_transform(transform, sizes(ws)[0], self.input.weight)
        wide = self.input.weight.dtype
        dtypes = [self.precision.at(rate, self.img_resolution, wide) for rate in self.rates]
        x = self.input(ws[:, 0], transform)
        for i, layer in enumerate(self.layers, start=1):
            x = layer(x.to(dtypes[i - 1]), ws[:, i], update_emas)
        return self.to_rgb(x.to(dtypes[-1]), ws[:, -1], update_emas).to(wide) * OUTPUT_SCALE


class Generator(Movable):
    """images = synthesis(mapping(z, c)).

    Attributes: mapping, synthesis, num_ws, z_dim, w_dim, num_classes = c_dim, img_channels, resolution (H, W),
    img_resolution (the larger side).
    """

    def __init__(self, cfg: StyleGAN3Config) -> None:
        super().__init__()
        self.z_dim, self.w_dim, self.num_classes = cfg.z_dim, cfg.w_dim, cfg.num_classes
        self.img_channels, self.resolution = cfg.img_channels, cfg.resolution
        self.c_dim, self.img_resolution = cfg.num_classes, max(cfg.resolution)
        self.synthesis = SynthesisNetwork(cfg)
        self.num_ws = self.synthesis.num_ws
        self.mapping = MappingNetwork(
            cfg.z_dim, cfg.num_classes, cfg.w_dim, cfg.mapping_layers, self.num_ws, w_avg_beta=cfg.w_avg_beta
        )

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
        transform: Tensor | None = None,
    ) -> Tensor:
        """z [N, z_dim], c [N, num_classes] or None -> images [N, C, H, W], mostly in [-1, 1].

        The arguments are those of `MappingNetwork` and `SynthesisNetwork`.
        """
        ws = self.mapping(z, c, truncation_psi, truncation_cutoff, update_emas)
        return self.synthesis(ws, noise_mode, generator, transform, update_emas=update_emas)


@dataclass(frozen=True)
class StyleGAN3Options(StyledOptions):
    """Training options with the paper's defaults (appendix C.3).

    Args:
        penalties: gradient penalties of D, names of `choices.PENALTIES`, each with its weight and the steps between its
            updates; R1's weight is its γ, None for R²/(1024·batch).
    """

    g_lr: float = 0.0025
    penalties: Mapping[str, tuple[float | None, int]] = field(default_factory=lambda: {"r1": (None, 16)})
    channels_last: bool | None = None  # Winograd's convolutions of a CPU want contiguous images

    def penalty_weight(self, name: str, resolution: tuple[int, int]) -> float:
        """The weight of a penalty, 0 where there is none; γ of R1, where it is None, is 2 at 256×256 and a batch of 32,
        and goes with the pixels of a square and against the batch.
        """
        weight, _ = self.penalties.get(name, (0.0, 1))
        return max(resolution) ** 2 / (1024 * self.batch) if weight is None else weight


@dataclass(frozen=True)
class StyleGAN3ROptions(StyleGAN3Options):
    """Training options of configuration R, whose D sees blurred images at first."""

    augment: str = "blur"


T = Family("stylegan3-t", StyleGAN3Config, {"G": Generator, "D": Discriminator}, StyleGAN3Options)
R = Family("stylegan3-r", StyleGAN3RConfig, {"G": Generator, "D": Discriminator}, StyleGAN3ROptions)
