"""The passes with our own products of matrices on a GPU (implicit GEMM), which read and write a layer's images once."""

from __future__ import annotations

import torch
from torch import Tensor

from fastgan.ops.conv2d_layer.passes import Convolution, Epilogue, Passes
from fastgan.ops.layout import dense_format


class GemmPasses(Passes):
    """See `Passes`.

    Args:
        provider: suffix of the raw operators.
        contiguous: whether the products take contiguous images too; else those go between passes through cuDNN.
    """

    def __init__(self, provider: str, contiguous: bool):
        super().__init__(provider)
        self.contiguous = contiguous

    def _serves(self, x: Tensor) -> bool:
        return self.contiguous or dense_format(x) == torch.channels_last

    def convolve(
        self, x: Tensor, w: Tensor, in_scale: Tensor | None, convolution: Convolution, e: Epilogue, keep_mask: bool
    ) -> tuple[Tensor, Tensor]:
        if not self._serves(x):
            return super().convolve(x, w, in_scale, convolution, e, keep_mask)
        stride, transposed, padding, fast = convolution
        return self._raw("conv2d")(x, w, in_scale, stride, transposed, *padding, *e, keep_mask, fast)

    def weight_gradient(
        self, x: Tensor, dy: Tensor, in_scale: Tensor | None, w: Tensor, convolution: Convolution
    ) -> Tensor:
        if not (self._serves(x) and self._serves(dy)):
            return super().weight_gradient(x, dy, in_scale, w, convolution)
        stride, transposed, padding, fast = convolution
        kernel = (w.shape[2], w.shape[3])
        return self._raw("conv2d_weight_gradient")(x, dy, in_scale, *kernel, stride, transposed, *padding, fast)
