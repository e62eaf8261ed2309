"""The residual network that translates images. Source: Zhu et al. 2017, section 7.2, after Johnson et al. 2016."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from fastgan.models.convnorm import ConvNorm, norm_has_offset, norm_layer
from fastgan.models.dcgan import FLOAT32, initialise
from fastgan.models.inputs import as_images_of_any_size, in_format_of
from fastgan.models.protocols import FromImage
from fastgan.nn import MixedPrecision
from fastgan.nn.convolution import Conv2d, ConvTranspose2d


class ResidualBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))), 3x3 with reflected borders."""

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        settings: dict[str, Any] = {
            "kernel_size": 3, "padding": 1, "padding_mode": "reflect", "bias": not norm_has_offset(norm), **FLOAT32,
        }  # fmt: skip
        self.first = ConvNorm(Conv2d(channels, channels, **settings), norm_layer(norm, channels), "relu")
        self.second = ConvNorm(Conv2d(channels, channels, **settings), norm_layer(norm, channels), None)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x))


class ResNet(MixedPrecision, FromImage):
    """c7s1-64, d128, d256, [R256]…, u128, u64, c7s1-3, tanh in the paper's notation: 1/4 of the resolution inside.

    c7s1: 7x7, reflected borders; d: 3x3 ↓2; R: `ResidualBlock`; u: transposed 3x3 ↑2; each normalised, then relu, but
    the last, which has tanh only.

    Args:
        in_channels: channels of the images that come.
        out_channels: channels of the images that it makes.
        num_blocks: residual blocks, in the paper 6 for images of 128x128 and 9 for larger ones.
        channel_base: channels of the first layer.
        norm: "instance" as in the paper, or "batch" (`norm_layer`).

    Attributes: in_channels, out_channels, multiple = 4, smallest = 8: sides of images are multiples of multiple,
    and at least smallest.
    """

    multiple = 4
    smallest = 8  # 2x2 inside: a border that can be reflected, and more than one value to normalise

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        num_blocks: int = 9,
        channel_base: int = 64,
        norm: str = "instance",
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        outer, middle, inner = channel_base, channel_base * 2, channel_base * 4
        bias = not norm_has_offset(norm)
        wide: dict[str, Any] = {"kernel_size": 7, "padding": 3, "padding_mode": "reflect", **FLOAT32}
        strided: dict[str, Any] = {"kernel_size": 3, "stride": 2, "padding": 1, "bias": bias, **FLOAT32}
        self.stem = ConvNorm(Conv2d(in_channels, outer, bias=bias, **wide), norm_layer(norm, outer), "relu")
        self.downs = nn.ModuleList(
            ConvNorm(Conv2d(i, o, **strided), norm_layer(norm, o), "relu")
            for i, o in ((outer, middle), (middle, inner))
        )
        self.blocks = nn.ModuleList(ResidualBlock(inner, norm) for _ in range(num_blocks))
        self.ups = nn.ModuleList(
            ConvNorm(ConvTranspose2d(i, o, output_padding=1, **strided), norm_layer(norm, o), "relu")
            for i, o in ((inner, middle), (middle, outer))
        )
        self.head = ConvNorm(Conv2d(outer, out_channels, **wide), None, "tanh")
        initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        """image [N, in_channels, H, W] -> [N, out_channels, H, W], both in [-1, 1].

        Raises:
            ValueError, TypeError: image has the wrong shape, dtype or device.
        """
        like = self.stem.conv.weight
        image = as_images_of_any_size("image", image, self.in_channels, self.multiple, self.smallest, like)
        x = in_format_of(self, image)
        outer, middle, inner = (self.precision.at(1, 2**level, like.dtype) for level in range(3))
        dtypes = (outer, outer, middle, *(inner for _ in self.blocks), middle, outer, outer)
        layers = (self.stem, *self.downs, *self.blocks, *self.ups, self.head)
        for layer, dtype in zip(layers, dtypes, strict=True):
            x = layer(x.to(dtype))
        return x
