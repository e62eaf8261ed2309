"""What a convolution layer and its derivatives are composed of, for one provider: convolutions with an epilogue, their
adjoints, FIR passes. Called below autograd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fastgan.ops.layout import dense_format

Size = tuple[int, int]  # height, width
Padding = tuple[int, int, int, int]  # x0, x1, y0, y1


class Epilogue(NamedTuple):
    """y = residual + clamp(act(scale·u + noise + b)·gain, ±clamp).

    Attributes:
        scale: [N, O].
        noise: [N or 1, 1, H, W].
        b: [O].
        residual: [N, O, H, W].
        act: 0 linear, 1 relu, 2 lrelu.
        alpha: lrelu's slope.
        gain: factor after the activation.
        clamp: bound, negative for none.
    """

    scale: Tensor | None = None
    noise: Tensor | None = None
    b: Tensor | None = None
    residual: Tensor | None = None
    act: int = 0
    alpha: float = 0.0
    gain: float = 1.0
    clamp: float = -1.0

    @property
    def has_kink(self) -> bool:
        return self.act != 0 or self.clamp >= 0

    @property
    def is_identity(self) -> bool:
        operands = (self.scale, self.noise, self.b, self.residual)
        return not self.has_kink and self.gain == 1 and all(operand is None for operand in operands)


class Convolution(NamedTuple):
    """How a kernel meets an image.

    Attributes:
        stride: see transposed.
        transposed: False: the correlation of x, padded, at every stride-th place. True: the true convolution with
            stride - 1 zeros between x's samples, over its full range, cropped by padding.
        padding: [x0, x1, y0, y1].
        fast: float32 products may be Winograd's (CPU) or tf32 (CUDA).
    """

    stride: int
    transposed: bool
    padding: Padding
    fast: bool

    def output_size(self, size: Size, kernel: Size) -> Size:
        """(H', W') of an image of (H, W)."""
        px0, px1, py0, py1 = self.padding
        if self.transposed:
            return (
                (size[0] - 1) * self.stride + kernel[0] - py0 - py1,
                (size[1] - 1) * self.stride + kernel[1] - px0 - px1,
            )
        return (
            (size[0] + py0 + py1 - kernel[0]) // self.stride + 1,
            (size[1] + px0 + px1 - kernel[1]) // self.stride + 1,
        )

    def adjoint(self, size: Size, result: Size, kernel: Size) -> Convolution:
        """From the gradient of a result of this size to that of an image of `size`, with w's O and I exchanged."""
        if kernel == (1, 1) and self.stride == 1 and not any(self.padding):
            return self
        px0, px1, py0, py1 = self.padding
        if not self.transposed:
            px1 = (result[1] - 1) * self.stride + kernel[1] - px0 - size[1]
            py1 = (result[0] - 1) * self.stride + kernel[0] - py0 - size[0]
        return self._replace(transposed=not self.transposed, padding=(px0, px1, py0, py1))


class Fir(NamedTuple):
    """One upfirdn2d; see there. f is None for the identity."""

    f: Tensor | None
    up: int
    down: int
    padding: Padding
    gain: float
    flip: bool = False

    @property
    def taps(self) -> Size:
        return (1, 1) if self.f is None else (self.f.shape[0], self.f.shape[-1])

    def output_size(self, size: Size) -> Size:
        (fh, fw), (px0, px1, py0, py1) = self.taps, self.padding
        return (
            (size[0] * self.up + py0 + py1 - fh) // self.down + 1,
            (size[1] * self.up + px0 + px1 - fw) // self.down + 1,
        )

    def adjoint(self, size: Size, result: Size) -> Fir:
        """From the gradient of a result of this size to that of an input of `size`."""
        (fh, fw), (px0, _, py0, _) = self.taps, self.padding
        padding = (
            fw - px0 - 1,
            size[1] * self.up - result[1] * self.down + px0 - self.up + 1,
            fh - py0 - 1,
            size[0] * self.up - result[0] * self.down + py0 - self.up + 1,
        )
        return self._replace(up=self.down, down=self.up, padding=padding, flip=not self.flip)


class Passes:
    """The compiled passes of a provider; convolutions are torch's (oneDNN, cuDNN) between passes of ours.

    Args:
        provider: suffix of the raw operators.
    """

    def __init__(self, provider: str):
        self.provider = provider

    def _raw(self, name: str):
        return getattr(torch.ops.fastgan, f"{name}_{self.provider}").default

    def epilogue(self, u: Tensor, e: Epilogue, keep_mask: bool = False) -> tuple[Tensor, Tensor]:
        """y and the mask of bias_act, empty if not kept."""
        if e.is_identity and not keep_mask:
            return u, u.new_empty([0], dtype=torch.uint8)
        return self._raw("conv2d_epilogue")(u, *e, keep_mask)

    def epilogue_backward(
        self,
        dy: Tensor,
        mask: Tensor | None,
        y: Tensor | None,
        e: Epilogue,
        need_scale: bool = False,
        need_noise: bool = False,
        need_b: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gradients of u, and where needed of scale, noise ([N, 1, H, W]) and b."""
        if not e.has_kink and e.gain == 1 and e.scale is None and not (need_scale or need_noise or need_b):
            empty = dy.new_empty([0])
            return dy, empty, empty, empty
        inverse = (y, e.scale, e.noise, e.b) if need_scale else (None, e.scale, None, None)  # u is found from y
        settings = (e.act, e.alpha, e.gain, e.clamp)
        return self._raw("conv2d_epilogue_backward")(dy, mask, *inverse, *settings, need_scale, need_noise, need_b)

    def style_gradient(self, dz: Tensor, x: Tensor, styles: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of x and styles from dz, that of z = styles·x."""
        return self._raw("conv2d_style_gradient")(dz, x, styles)

    def fir(self, x: Tensor, fir: Fir) -> Tensor:
        """upfirdn2d, in x's memory format."""
        f, up, down, padding, gain, flip = fir
        if f is None:
            f = x.new_ones([1], dtype=torch.float64 if x.dtype == torch.float64 else torch.float32)
        return self._raw("upfirdn2d")(x, f, up, up, down, down, *padding, flip, gain)

    def convolve(
        self, x: Tensor, w: Tensor, in_scale: Tensor | None, convolution: Convolution, e: Epilogue, keep_mask: bool
    ) -> tuple[Tensor, Tensor]:
        """The epilogue of w ∗ (in_scale·x), and its mask: x [N, I, H, W], w [O, I, kh, kw], in_scale [N, I]."""
        stride, transposed, (px0, px1, py0, py1), _ = convolution
        x = _scaled(x, in_scale)
        if transposed:
            py, px = max(0, min(py0, py1)), max(0, min(px0, px1))
            u = _convolution(x, w.transpose(0, 1), stride, (py, px), True)
            u = _padded(u, (px - px0, px - px1, py - py0, py - py1))
        else:
            x, same = _common_padding(x, convolution.padding)
            u = _convolution(x, w, stride, same, False)
        return self.epilogue(u.contiguous(memory_format=dense_format(x)), e, keep_mask)

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
        """As `convolve`, with a FIR pass between the convolution and the epilogue."""
        u, _ = self.convolve(x, w, in_scale, convolution, Epilogue(), False)
        return self.epilogue(self.fir(u, fir), e, keep_mask)

    def input_gradient(self, dy: Tensor, w: Tensor, size: Size, convolution: Convolution) -> Tensor:
        """The gradient of z [N, I, H, W] of this (H, W) for `convolve(z, w)`, from dy of its result."""
        adjoint = convolution.adjoint(size, (dy.shape[2], dy.shape[3]), (w.shape[2], w.shape[3]))
        return self.convolve(dy, w.transpose(0, 1).contiguous(), None, adjoint, Epilogue(), False)[0]

    def weight_gradient(
        self, x: Tensor, dy: Tensor, in_scale: Tensor | None, w: Tensor, convolution: Convolution
    ) -> Tensor:
        """The gradient of w for `convolve(x, w, in_scale)`, from dy of its result."""
        stride, transposed, padding, _ = convolution
        x = _scaled(x, in_scale)
        if transposed:
            dw = _weight_gradient(x, _padded(dy, padding), w.transpose(0, 1), stride, [0, 0], True).transpose(0, 1)
        else:
            x, same = _common_padding(x, padding)
            dw = _weight_gradient(x, dy, w, stride, same, False)
        return dw.contiguous()


def _convolution(x: Tensor, w: Tensor, stride: int, padding: Sequence[int], transposed: bool) -> Tensor:
    return torch.ops.aten.convolution(x, w, None, [stride] * 2, padding, [1, 1], transposed, [0, 0], 1)


def _weight_gradient(x: Tensor, dy: Tensor, w: Tensor, stride: int, padding: Sequence[int], transposed: bool) -> Tensor:
    need = [False, True, False]
    settings = (None, [stride] * 2, padding, [1, 1], transposed, [0, 0], 1, need)
    return torch.ops.aten.convolution_backward(dy, x, w, *settings)[1]


def _scaled(x: Tensor, in_scale: Tensor | None) -> Tensor:
    return x if in_scale is None else x * in_scale[:, :, None, None].to(x.dtype)


def _padded(x: Tensor, padding: Padding) -> Tensor:
    return torch.constant_pad_nd(x, padding).contiguous(memory_format=dense_format(x)) if any(padding) else x


def _common_padding(x: Tensor, padding: Padding) -> tuple[Tensor, list[int]]:
    """x and [y, x] such that padding x by these on both sides is padding it by `padding`."""
    px0, px1, py0, py1 = padding
    py, px = max(0, min(py0, py1)), max(0, min(px0, px1))
    return _padded(x, (px0 - px, px1 - px, py0 - py, py1 - py)), [py, px]
