"""What a convolution layer is composed of on a GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from fastgan.ops.arguments import dense_format
from fastgan.ops.conv2d_layer import products
from fastgan.ops.conv2d_layer.passes import Convolution, Epilogue, Passes
from fastgan.ops.fir import FirPass
from fastgan.ops.providers import choose_form

_FORMS = ("own", "torch")


class GpuPasses(Passes):
    """On a GPU: our own convolutions, products of matrices that read and write a layer's images once.

    Args:
        provider: suffix of the raw operators.
        contiguous: whether the products take contiguous images too; else those go between passes through cuDNN.
        fused_up: whether it has a kernel of a transposed convolution with the FIR after it.
    """

    def __init__(self, provider: str, contiguous: bool, fused_up: bool):
        super().__init__(provider)
        self.contiguous = contiguous
        self.fused_up = fused_up

    def scaled(self, x: Tensor, in_scale: Tensor | None) -> Tensor:
        return x if in_scale is None else self.epilogue(x, Epilogue(scale=in_scale))[0]  # one launch, no cast

    def _serves(self, kind: str, convolution: Convolution, x: Tensor, w: Tensor) -> bool:
        """Whether our product is taken, where it can be."""
        if not self.contiguous and dense_format(x) != torch.channels_last:
            return False
        kind = f"{kind} stride {convolution.stride}{' transposed' if convolution.transposed else ''}"
        call = lambda: products.convolution(kind, x, w, convolution.fast)  # noqa: E731
        return choose_form(self._subject, x, _FORMS, "own", call) == "own"

    def convolve(
        self, x: Tensor, w: Tensor, in_scale: Tensor | None, convolution: Convolution, e: Epilogue, keep_mask: bool
    ) -> tuple[Tensor, Tensor]:
        if not self._serves("convolution" if in_scale is None else "scaled convolution", convolution, x, w):
            return super().convolve(x, w, in_scale, convolution, e, keep_mask)
        stride, transposed, padding, fast = convolution
        return self._raw("conv2d")(x, w, in_scale, stride, transposed, *padding, *e, keep_mask, fast)

    def convolve_up(
        self,
        x: Tensor,
        w: Tensor,
        in_scale: Tensor | None,
        convolution: Convolution,
        fir: FirPass,
        e: Epilogue,
        keep_mask: bool,
    ) -> tuple[Tensor, Tensor]:
        fused = self.fused_up and _is_up(x, w, convolution, fir) and self._serves("up", convolution, x, w)
        if not fused or fir.f is None:
            return super().convolve_up(x, w, in_scale, convolution, fir, e, keep_mask)
        padding = [of_fir - crop for of_fir, crop in zip(fir.padding, convolution.padding, strict=True)]
        return self._raw("conv2d_up")(
            x, w, fir.f, in_scale, *padding, fir.flip_filter, fir.gain, *e, keep_mask, convolution.fast
        )

    def weight_gradient(
        self, x: Tensor, dy: Tensor, in_scale: Tensor | None, w: Tensor, convolution: Convolution
    ) -> Tensor:
        alike = self.contiguous or dense_format(dy) == torch.channels_last
        kind = "weight gradient" if in_scale is None else "scaled weight gradient"
        if not (alike and self._serves(kind, convolution, x, w)):
            return super().weight_gradient(x, dy, in_scale, w, convolution)
        stride, transposed, padding, fast = convolution
        kernel = (w.shape[2], w.shape[3])
        return self._raw("conv2d_weight_gradient")(x, dy, in_scale, *kernel, stride, transposed, *padding, fast)


def _is_up(x: Tensor, w: Tensor, convolution: Convolution, fir: FirPass) -> bool:
    """What the fused kernel is made for. Zeros that the convolution pads with are the FIR's as well."""
    doubles = convolution.transposed and convolution.stride == 2 and w.shape[2:] == (3, 3)
    padded = max(convolution.padding) <= 0
    filters = fir.f is not None and fir.f.shape == (4,) and fir.f.dtype == torch.float32
    return doubles and padded and filters and fir.up == fir.down == (1, 1) and x.dtype != torch.float64
