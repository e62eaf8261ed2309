"""The U-Net that translates images. Source: Isola et al. 2017, sections 3.2.1 and 6.1 (and its erratum)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fastgan.config.fields import check_choice
from fastgan.models.convnorm import ConvNorm, norm_has_offset, norm_layer
from fastgan.models.dcgan import FLOAT32, initialise
from fastgan.models.inputs import as_images_of_any_size, in_format_of
from fastgan.models.protocols import FromImage
from fastgan.nn import MixedPrecision
from fastgan.nn.convolution import Conv2d, ConvTranspose2d
from fastgan.ops import bias_act

# Decoder levels that have dropout, from the innermost on: the paper's only noise.
DROPOUT_LEVELS = 3
# The bottleneck's shorter side where the depth follows the resolution.
LARGEST_BOTTLENECK = 7


def as_num_downs(num_downs: int, resolution: tuple[int, int]) -> int:
    """num_downs, or for 0 how often both sides of resolution can be halved.

    Raises:
        ValueError: the sides are no multiples of 2^num_downs, or can be halved too seldom for a U-Net.
    """
    height, width = resolution
    if num_downs == 0:
        while height % 2 == width % 2 == 0:
            height, width, num_downs = height // 2, width // 2, num_downs + 1
        if num_downs == 0 or min(height, width) > LARGEST_BOTTLENECK:
            raise ValueError(
                f"resolution must be sides that can be halved down to {LARGEST_BOTTLENECK} pixels or fewer, "
                f"or num_downs be given; got {resolution}, which ends at {height}x{width}"
            )
    elif height % 2**num_downs or width % 2**num_downs:
        raise ValueError(f"resolution must be multiples of 2^num_downs={2**num_downs}, got {resolution}")
    return num_downs


class UNet(MixedPrecision, FromImage):
    """[convolution ↓2, norm, lrelu 0.2]… → [transposed convolution ↑2, norm, relu, encoder's level beside]… → tanh.

    Level i of the encoder has min(channel_base·2^i, 8·channel_base) channels; kernels are 4x4. The first and the
    innermost convolution are not normalised. In what the decoder joins, the encoder's channels come first.

    Args:
        in_channels: channels of the images that come.
        out_channels: channels of the images that it makes.
        num_downs: halvings; 8 make a 256x256 image 1x1.
        channel_base: channels of the first level.
        norm: "batch" or "instance" (`norm_layer`). In evaluation mode batch normalisation uses running averages, so
            that an image's translation does not depend on the others of its batch; the paper uses the test batch.
        dropout: probability that a value after the three innermost levels of the decoder is dropped.

    Attributes: in_channels, out_channels, multiple = 2^num_downs, smallest: sides of images are multiples of multiple,
    and at least smallest.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        num_downs: int = 8,
        channel_base: int = 64,
        norm: str = "batch",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.dropout = in_channels, out_channels, dropout
        self.multiple = self.smallest = 2**num_downs
        widths = [min(channel_base * 2**i, channel_base * 8) for i in range(num_downs)]
        settings: dict[str, Any] = {"kernel_size": 4, "stride": 2, "padding": 1, **FLOAT32}
        bias = not norm_has_offset(norm)
        last = num_downs - 1
        self.downs = nn.ModuleList(
            ConvNorm(
                Conv2d(i, o, bias=bias, **settings),
                norm_layer(norm, o) if 0 < level < last else None,
                "relu" if level == last else "lrelu",
            )
            for level, (i, o) in enumerate(zip([in_channels, *widths], widths, strict=False))
        )
        self.ups = nn.ModuleList(
            ConvNorm(
                ConvTranspose2d(widths[level] * (1 if level == last else 2), widths[level - 1], bias=bias, **settings),
                norm_layer(norm, widths[level - 1]),
                "relu",
            )
            for level in range(last, 0, -1)
        )
        self.ups.append(
            ConvNorm(ConvTranspose2d(widths[0] * (2 if last else 1), out_channels, **settings), None, "tanh")
        )
        initialise(self)

    def forward(self, image: Tensor, *, dropout: bool | None = None) -> Tensor:
        """image [N, in_channels, H, W] -> [N, out_channels, H, W], both in [-1, 1].

        Args:
            image: H and W multiples of `multiple`.
            dropout: whether values are dropped, by torch's global generator; None: in training mode only. The paper
                drops at test time too, with True.

        Raises:
            ValueError, TypeError: image has the wrong shape, dtype or device.
        """
        like = next(self.parameters())
        image = as_images_of_any_size("image", image, self.in_channels, self.multiple, self.smallest, like)
        x = in_format_of(self, image)
        check_choice("dropout", dropout, (None, False, True))
        drop = self.training if dropout is None else dropout
        # Of the larger side of each level: what comes into the encoder's, and what the decoder's give.
        dtypes = [self.precision.at(1, 2**level, like.dtype) for level in range(len(self.downs))]
        skips = []
        for down, dtype in zip(self.downs, dtypes, strict=True):
            x = down(x.to(dtype))
            skips.append(x)
        for level, (up, dtype) in enumerate(zip(self.ups, reversed(dtypes), strict=True)):
            x = x.to(dtype)
            if level > 0:  # relu(lrelu(x)) = relu(x): the decoder's activation of what the encoder normalised
                x = torch.cat([bias_act(skips[-1 - level], act="relu", gain=1), x], dim=1)
            x = up(x)
            if level < min(DROPOUT_LEVELS, len(self.ups) - 1):
                x = nn.functional.dropout(x, self.dropout, training=drop)
        return x
