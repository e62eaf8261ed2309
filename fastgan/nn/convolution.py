"""torch's convolutions, in the dtype of the images that they are given."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Conv2d(nn.Conv2d):
    """`torch.nn.Conv2d` in x's dtype, to which the parameters are cast for each call."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(input, weight.to(input.dtype), _cast(bias, input))


class ConvTranspose2d(nn.ConvTranspose2d):
    """`torch.nn.ConvTranspose2d`, likewise; the size of its result is that of `output_padding`."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """x [N, I, H, W] -> [N, O, H', W'].

        Raises:
            ValueError: an output_size.
        """
        if output_size is not None:
            raise ValueError(f"output_size must be None, got {output_size}; set output_padding instead")
        weight, bias = self.weight.to(input.dtype), _cast(self.bias, input)
        settings: tuple = (self.stride, self.padding, self.output_padding, self.groups, self.dilation)
        return F.conv_transpose2d(input, weight, bias, *settings)


def _cast(bias: Tensor | None, like: Tensor) -> Tensor | None:
    return None if bias is None else bias.to(like.dtype)
