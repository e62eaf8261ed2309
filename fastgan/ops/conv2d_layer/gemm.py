"""The passes with our own products of matrices on a GPU (implicit GEMM), which read and write a layer's images once."""

from __future__ import annotations

import torch
from torch import Tensor

from fastgan.ops.conv2d_layer.passes import Convolution, Epilogue, Fir, Passes
from fastgan.ops.layout import dense_format


class GemmPasses(Passes):
    """See `Passes`.

    Args:
        provider: suffix of the raw operators.
        contiguous: whether the products take contiguous images too; else those go between passes through cuDNN.
        fused_up: whether it has a kernel of a transposed convolution with the FIR after it.
    """

    def __init__(self, provider: str, contiguous: bool, fused_up: bool):
        super().__init__(provider)
        self.contiguous = contiguous
        self.fused_up = fused_up

    def _serves(self, x: Tensor) -> bool:
        return self.contiguous or dense_format(x) == torch.channels_last

    def convolve(
        self, x: Tensor, w: Tensor, in_scale: Tensor | None, convolution: Convolution, e: Epilogue, keep_mask: bool
    ) -> tuple[Tensor, Tensor]:
        if not self._serves(x):
            return super().convolve(x, w, in_scale, convolution, e, keep_mask)
        stride, transposed, padding, fast = convolution
        return self._raw("conv2d")(x, w, in_scale, stride, transposed, *padding, *e, keep_mask, fast)

    def convolve_up(
        self,
        x: Tensor,
        w: Tensor,
        in_scale: Tensor | None,
        convolution: Convolution,
        fir: Fir,
        e: Epilogue,
        keep_mask: bool,
    ) -> tuple[Tensor, Tensor]:
        if not (self.fused_up and self._serves(x) and _is_up(x, w, convolution, fir)) or fir.f is None:
            return super().convolve_up(x, w, in_scale, convolution, fir, e, keep_mask)
        padding = [of_fir - crop for of_fir, crop in zip(fir.padding, convolution.padding, strict=True)]
        return self._raw("conv2d_up")(
            x, w, fir.f, in_scale, *padding, fir.flip, fir.gain, *e, keep_mask, convolution.fast
        )

    def weight_gradient(
        self, x: Tensor, dy: Tensor, in_scale: Tensor | None, w: Tensor, convolution: Convolution
    ) -> Tensor:
        if not (self._serves(x) and self._serves(dy)):
            return super().weight_gradient(x, dy, in_scale, w, convolution)
        stride, transposed, padding, fast = convolution
        kernel = (w.shape[2], w.shape[3])
        return self._raw("conv2d_weight_gradient")(x, dy, in_scale, *kernel, stride, transposed, *padding, fast)


def _is_up(x: Tensor, w: Tensor, convolution: Convolution, fir: Fir) -> bool:
    """What the fused kernel is made for. Zeros that the convolution pads with are the FIR's as well."""
    doubles = convolution.transposed and convolution.stride == 2 and w.shape[2:] == (3, 3)
    padded = max(convolution.padding) <= 0
    filters = fir.f is not None and fir.f.shape == (4,) and fir.f.dtype == torch.float32 and fir.up == fir.down == 1
    return doubles and padded and filters and x.dtype != torch.float64
