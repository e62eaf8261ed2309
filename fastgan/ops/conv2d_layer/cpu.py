"""The passes on a CPU: Winograd's algorithm where it is faster, matrix products for narrow 1×1 kernels, oneDNN's
convolutions elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor

from fastgan.ops.conv2d_layer.passes import Convolution, Epilogue, Padding, Passes
from fastgan.ops.layout import dense_format

_NARROW = 16  # channels of a result that no convolution of oneDNN suits
# Below these, transforms and weights cost Winograd's algorithm more than its products save; measured on an Intel Xeon
# with AVX-512, as ratios to oneDNN.
_LEAST_CHANNELS, _LEAST_TILES = 8, 16


class CpuPasses(Passes):
    """See `Passes`."""

    def convolve(
        self, x: Tensor, w: Tensor, in_scale: Tensor | None, convolution: Convolution, e: Epilogue, keep_mask: bool
    ) -> tuple[Tensor, Tensor]:
        size = convolution.output_size((x.shape[2], x.shape[3]), (w.shape[2], w.shape[3]))
        if tile := _winograd_tile(x, w, convolution, size):
            return self._raw("conv2d_winograd")(x, w, False, in_scale, *convolution.padding, *e, keep_mask, tile)
        if in_scale is not None and _is_narrow(x, w, convolution):
            matrices = w[:, :, 0, 0] * in_scale.to(w.dtype)[:, None]  # [N, O, I]: less than a pass over x
            u = x.new_empty(x.shape[0], w.shape[0], *x.shape[2:])
            torch.bmm(matrices, x.flatten(2), out=u.flatten(2))
            return self.epilogue(u, e, keep_mask)
        return super().convolve(x, w, in_scale, convolution, e, keep_mask)

    def input_gradient(self, dy: Tensor, w: Tensor, size: tuple[int, int], convolution: Convolution) -> Tensor:
        if tile := _winograd_tile(dy, w, convolution, size):
            padding = _turned(convolution.padding, size, (dy.shape[2], dy.shape[3]))
            return self._raw("conv2d_winograd")(dy, w, True, None, *padding, *Epilogue(), False, tile)[0]
        return super().input_gradient(dy, w, size, convolution)

    def weight_gradient(
        self, x: Tensor, dy: Tensor, in_scale: Tensor | None, w: Tensor, convolution: Convolution
    ) -> Tensor:
        if tile := _winograd_tile(x, w, convolution, (dy.shape[2], dy.shape[3])):
            padding = convolution.padding
            return self._raw("conv2d_winograd_weight_gradient")(x, dy, in_scale, *padding, tile)
        if in_scale is not None and _is_narrow(x, w, convolution):
            matrices = torch.bmm(dy.flatten(2), x.flatten(2).transpose(1, 2))
            return (matrices * in_scale.to(w.dtype)[:, None]).sum(dim=0)[:, :, None, None]
        return super().weight_gradient(x, dy, in_scale, w, convolution)


def _winograd_tile(x: Tensor, w: Tensor, convolution: Convolution, size: tuple[int, int]) -> int:
    """The tile of Winograd's algorithm, 0 where another is better; size is the result's (H, W)."""
    allowed = convolution.fast and w.shape[2:] == (3, 3) and convolution.stride == 1 and not convolution.transposed
    if not allowed or dense_format(x) != torch.contiguous_format or min(w.shape[:2]) < _LEAST_CHANNELS:
        return 0
    for tile in (4, 2):
        if x.shape[0] * -(-size[0] // tile) * -(-size[1] // tile) >= _LEAST_TILES:
            return tile
    return 0


def _is_narrow(x: Tensor, w: Tensor, convolution: Convolution) -> bool:
    """A modulated 1×1 kernel to a few channels, such as to-RGB: one product of matrices an image."""
    plain = convolution == (1, False, (0, 0, 0, 0), convolution.fast)
    return plain and w.shape[0] < _NARROW and w.shape[2:] == (1, 1) and x.is_contiguous() and x.numel() > 0


def _turned(padding: Padding, size: tuple[int, int], result: tuple[int, int]) -> Padding:
    """Padding of the gradient of a 3×3 convolution's result, which the kernel, turned by 180°, takes back to `size`."""
    px0, py0 = 2 - padding[0], 2 - padding[2]
    return px0, size[1] + 2 - result[1] - px0, py0, size[0] + 2 - result[0] - py0
