"""Discriminators that judge overlapping patches. Source: Isola et al. 2017, sections 3.2.2 and 6.1.2."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fastgan.models.convnorm import ConvNorm, norm_has_offset, norm_layer
from fastgan.models.dcgan import FLOAT32, initialise
from fastgan.models.inputs import as_images_of_any_size, in_format_of, is_channels_last
from fastgan.models.protocols import Layered
from fastgan.nn import MixedPrecision
from fastgan.nn.convolution import Conv2d
from fastgan.ops.arguments import dense_format, joined

# Side of the patch that one logit sees, in pixels -> convolutions of stride 2. 1 has 1x1 kernels and no stride.
RECEPTIVE_FIELDS = {1: 0, 16: 1, 34: 2, 70: 3, 142: 4, 286: 5}


def check_patches(receptive_field: int, resolution: tuple[int, int]) -> None:
    """Raises ValueError unless images of this resolution leave the discriminator a logit."""
    if min(resolution) < smallest_side(receptive_field):
        raise ValueError(
            f"receptive_field {receptive_field} needs images of at least {smallest_side(receptive_field)} pixels a "
            f"side, got resolution {resolution}"
        )


def smallest_side(receptive_field: int) -> int:
    """Pixels a side that leave one logit, and more than one value to normalise."""
    strided = RECEPTIVE_FIELDS[receptive_field]
    return 3 * 2**strided if strided > 0 else 2


class PatchGAN(MixedPrecision, Layered):
    """[convolution ↓2, norm, lrelu 0.2]… → convolution, norm, lrelu 0.2 → convolution to one logit a place.

    Kernels are 4x4 with a padding of 1; level i has min(channel_base·2^i, 8·channel_base) channels; the first
    convolution is not normalised. With 1x1 kernels (receptive_field 1) it judges each pixel.

    Args:
        in_channels: channels of the images.
        receptive_field: side of the patch that a logit sees in pixels: 1, 16, 34, 70, 142 or 286.
        channel_base: channels of the first level.
        norm: "batch" or "instance" (`norm_layer`).

    Attributes: in_channels, receptive_field, smallest: the least H and W of images.
    """

    def __init__(
        self, in_channels: int = 3, receptive_field: int = 70, channel_base: int = 64, norm: str = "instance"
    ) -> None:
        super().__init__()
        self.in_channels, self.receptive_field = in_channels, receptive_field
        self.smallest = smallest_side(receptive_field)
        strided = RECEPTIVE_FIELDS[receptive_field]
        kernel: dict[str, Any] = {"kernel_size": 4, "padding": 1, **FLOAT32}
        if strided == 0:
            kernel = {"kernel_size": 1, **FLOAT32}
        widths = [min(channel_base * 2**i, channel_base * 8) for i in range(max(strided, 1) + 1)]
        self.layers = nn.ModuleList(
            ConvNorm(
                Conv2d(
                    i, o, stride=2 if level < strided else 1, bias=level == 0 or not norm_has_offset(norm), **kernel
                ),
                norm_layer(norm, o) if level > 0 else None,
                "lrelu",
            )
            for level, (i, o) in enumerate(zip([in_channels, *widths], widths, strict=False))
        )
        self.layers.append(ConvNorm(Conv2d(widths[-1], 1, **kernel), None, None))
        self.strided = strided
        initialise(self)

    def forward(self, img: Tensor) -> Tensor:
        """img [N, in_channels, H, W] -> logits [N, 1, h, w], one a patch.

        Raises:
            ValueError, TypeError: img has the wrong shape, dtype or device.
        """
        like = next(self.parameters())
        img = as_images_of_any_size("img", img, self.in_channels, 1, self.smallest, like)
        x = in_format_of(self, img)
        for level, layer in enumerate(self.layers):
            x = layer(x.to(self.precision.at(1, 2 ** min(level, self.strided), like.dtype)))
        return x

    def parameters_by_layer(self) -> list[list[nn.Parameter]]:
        """Each convolution with its normalisation."""
        return [list(layer.parameters()) for layer in self.layers]


class ConditionalPatchGAN(PatchGAN):
    """D(a, b): a PatchGAN that sees a, what was translated, and b, its translation, as channels of one image.

    Args:
        a_channels: channels of a.
        b_channels: channels of b.
        receptive_field, channel_base, norm: of `PatchGAN`.

    Attributes: a_channels, b_channels, and those of `PatchGAN`, in_channels = a_channels + b_channels.
    """

    def __init__(
        self,
        a_channels: int = 3,
        b_channels: int = 3,
        receptive_field: int = 70,
        channel_base: int = 64,
        norm: str = "batch",
    ) -> None:
        super().__init__(a_channels + b_channels, receptive_field, channel_base, norm)
        self.a_channels, self.b_channels = a_channels, b_channels

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """a [N, a_channels, H, W], b [N, b_channels, H, W] -> logits [N, 1, h, w], one a patch.

        Raises:
            ValueError, TypeError: a or b has the wrong shape, dtype or device.
        """
        like = next(self.parameters())
        a = as_images_of_any_size("a", a, self.a_channels, 1, self.smallest, like)
        b = as_images_of_any_size("b", b, self.b_channels, 1, self.smallest, like)
        if a.shape[0] != b.shape[0] or a.shape[2:] != b.shape[2:]:
            raise ValueError(f"a and b must be of one batch and size, got {list(a.shape)} and {list(b.shape)}")
        last = is_channels_last(self) or dense_format(a) == dense_format(b) == torch.channels_last
        return super().forward(joined([a, b], torch.channels_last if last else torch.contiguous_format))
