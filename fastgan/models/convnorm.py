"""A convolution, what normalises its outputs, and the activation after it: the layer that networks of images share."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from fastgan.models.dcgan import FLOAT32
from fastgan.ops import bias_act

NORMS = ("batch", "instance")


def norm_layer(norm: str, channels: int) -> nn.Module:
    """The normalisation called norm.

    Args:
        norm: "batch", with scale and offset, and in evaluation mode with running averages; "instance", each channel of
            each image to mean 0 and deviation 1, without scale and offset, alike in both modes.
        channels: of its input.
    """
    if norm == "batch":
        return nn.BatchNorm2d(channels, **FLOAT32)
    # Groups of one channel: the same values as InstanceNorm2d, which would turn channels_last into contiguous.
    return nn.GroupNorm(channels, channels, affine=False)


def norm_has_offset(norm: str) -> bool:
    """Whether the normalisation adds an offset: convolutions before it then have no bias.

    Before instance normalisation a convolution keeps its bias, as the published weights do, though the mean that is
    subtracted takes the bias with it: it changes no value, and its gradient is 0 up to rounding.
    """
    return norm == "batch"


class ConvNorm(nn.Module):
    """act(norm(conv(x))), or act(conv(x) + bias) in one pass where nothing normalises.

    Args:
        conv: the convolution; without norm its bias, if it has one, becomes the layer's.
        norm: what normalises its outputs, or None.
        act: relu, lrelu (slope 0.2), tanh, or None for no activation.

    In half precision the normalisation takes its means in float32, and what ends a network, an image or logits, is in
    the dtype of the bias.
    """

    bias: nn.Parameter | None

    def __init__(self, conv: nn.Conv2d | nn.ConvTranspose2d, norm: nn.Module | None, act: str | None) -> None:
        super().__init__()
        self.conv, self.norm, self.act = conv, norm, act
        self.ends = norm is None and act in ("tanh", None)
        self.register_parameter("bias", cast("nn.Parameter | None", conv.bias) if norm is None else None)
        if norm is None:
            conv.bias = None

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        if self.bias is None and self.act is None:
            return x
        if self.ends and self.bias is not None:
            x = x.to(self.bias.dtype)
        return bias_act(x, self.bias, act=self.act or "linear", gain=1)
