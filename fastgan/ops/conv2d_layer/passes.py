"""What a convolution layer and its derivatives are composed of: convolutions with an epilogue, their adjoints, FIR
passes. `Passes` has torch's convolutions between kernels of ours; `CpuPasses`, and `GpuPasses` in gpu_passes.py, take
our own convolutions where those serve better. Called below autograd."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from fastgan.ops import tf32
from fastgan.ops.arguments import dense_format, in_format
from fastgan.ops.conv2d_layer import products
from fastgan.ops.fir import FirPass, Padding, Size, output_size
from fastgan.ops.providers import choose_form

_NARROW = 16  # channels of a result that no convolution of oneDNN suits
# Below these, transforms and weights cost Winograd's algorithm more than its products save; measured on an Intel Xeon
# with AVX-512, as ratios to oneDNN.
_LEAST_CHANNELS, _LEAST_TILES = 8, 16
# (stride, transposed) of a 3×3 convolution -> tiles of Winograd's algorithm, the best first.
_TILES = {(1, False): (4, 2), (1, True): (4, 2), (2, False): (4,), (2, True): (3,)}
_DIRECTIONS = {(2, False): " down 2", (2, True): " up 2"}


def winograd_forms(stride: int, transposed: bool) -> dict[str, int]:
    """Names of the forms of a 3×3 convolution by Winograd's algorithm, the best first -> its tile."""
    return {f"winograd {tile}x{tile}": tile for tile in _TILES.get((stride, transposed), ())}


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
        stride, transposed, padding, _ = self
        if not transposed:
            return output_size(size, kernel, (1, 1), (stride, stride), padding)
        px0, px1, py0, py1 = padding
        return (size[0] - 1) * stride + kernel[0] - py0 - py1, (size[1] - 1) * stride + kernel[1] - px0 - px1

    def adjoint(self, size: Size, result: Size, kernel: Size) -> Convolution:
        """From the gradient of a result of this size to that of an image of `size`, with w's O and I exchanged."""
        if kernel == (1, 1) and self.stride == 1 and not any(self.padding):
            return self
        px0, px1, py0, py1 = self.padding
        if not self.transposed:
            px1 = (result[1] - 1) * self.stride + kernel[1] - px0 - size[1]
            py1 = (result[0] - 1) * self.stride + kernel[0] - py0 - size[0]
        return self._replace(transposed=not self.transposed, padding=(px0, px1, py0, py1))


class Passes:
    """The passes of a provider; convolutions are torch's (oneDNN, cuDNN) between passes of ours.

    Args:
        provider: suffix of the raw operators.
    """

    def __init__(self, provider: str):
        self.provider = provider
        self._subject = f"conv2d_layer/{provider}"  # of measurements

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
        # For scale's gradient the kernel computes u back from y, which takes noise and b.
        inverse = (y, e.scale, e.noise, e.b) if need_scale else (None, e.scale, None, None)
        settings = (e.act, e.alpha, e.gain, e.clamp)
        return self._raw("conv2d_epilogue_backward")(dy, mask, *inverse, *settings, need_scale, need_noise, need_b)

    def style_gradient(self, dz: Tensor, x: Tensor, styles: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of x and styles from dz, that of z = styles·x."""
        return self._raw("conv2d_style_gradient")(dz, x, styles)

    def scaled(self, x: Tensor, in_scale: Tensor | None) -> Tensor:
        """in_scale·x, for torch's convolutions."""
        return x if in_scale is None else x * in_scale[:, :, None, None].to(x.dtype)

    def fir(self, x: Tensor, fir: FirPass) -> Tensor:
        """upfirdn2d, in x's memory format."""
        if fir.f is None:
            one = x.new_ones([1], dtype=torch.float64 if x.dtype == torch.float64 else torch.float32)
            fir = fir._replace(f=one)
        return self._raw("upfirdn2d")(x, *fir.arguments)

    def convolve(
        self, x: Tensor, w: Tensor, in_scale: Tensor | None, convolution: Convolution, e: Epilogue, keep_mask: bool
    ) -> tuple[Tensor, Tensor]:
        """The epilogue of w ∗ (in_scale·x), and its mask: x [N, I, H, W], w [O, I, kh, kw], in_scale [N, I]."""
        stride, transposed, (px0, px1, py0, py1), fast = convolution
        layout = dense_format(x)  # before a crop to one pixel, which has no format of its own
        x = self.scaled(x, in_scale)
        if transposed:
            py, px = max(0, min(py0, py1)), max(0, min(px0, px1))
            u = _convolution(x, w.transpose(0, 1), stride, (py, px), True, fast)
            u = _padded(u, (px - px0, px - px1, py - py0, py - py1))
        else:
            x, same = _common_padding(x, convolution.padding)
            u = _convolution(x, w, stride, same, False, fast)
        return self.epilogue(u.contiguous(memory_format=layout), e, keep_mask)

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
        """As `convolve`, with a FIR pass between the convolution and the epilogue."""
        u, _ = self.convolve(x, w, in_scale, convolution, Epilogue(), False)
        return self.epilogue(self.fir(u, fir), e, keep_mask)

    def input_gradient(self, dy: Tensor, w: Tensor, size: Size, convolution: Convolution) -> Tensor:
        """The gradient of z [N, I, H, W] of this (H, W) for `convolve(z, w)`, from dy of its result."""
        adjoint = convolution.adjoint(size, (dy.shape[2], dy.shape[3]), (w.shape[2], w.shape[3]))
        back = in_format(w.transpose(0, 1), dense_format(w))
        return self.convolve(dy, back, None, adjoint, Epilogue(), False)[0]

    def weight_gradient(
        self, x: Tensor, dy: Tensor, in_scale: Tensor | None, w: Tensor, convolution: Convolution
    ) -> Tensor:
        """The gradient of w for `convolve(x, w, in_scale)`, from dy of its result."""
        stride, transposed, padding, fast = convolution
        x = self.scaled(x, in_scale)
        if transposed:
            dy, turned = _padded(dy, padding), w.transpose(0, 1)
            dw = _weight_gradient(x, dy, turned, stride, [0, 0], True, fast).transpose(0, 1)
        else:
            x, same = _common_padding(x, padding)
            dw = _weight_gradient(x, dy, w, stride, same, False, fast)
        return dw.contiguous()


class CpuPasses(Passes):
    """On a CPU: Winograd's algorithm where it is faster, matrix products for narrow 1×1 kernels, oneDNN elsewhere."""

    def _winograd_tile(self, kind: str, x: Tensor, w: Tensor, convolution: Convolution, size: Size) -> int:
        """The tile of Winograd's algorithm, 0 where another is better; size is the result's (H, W)."""
        stride, transposed, (px0, _, py0, _), fast = convolution
        forms = winograd_forms(stride, transposed)
        if not (fast and forms and w.shape[2:] == (3, 3)) or dense_format(x) != torch.contiguous_format:
            return 0
        up = stride if transposed else 1  # pixels of the result for one of a tile
        if 0 in x.shape or 0 in size or px0 % up or py0 % up:
            return 0
        count = {t: x.shape[0] * -(-size[0] // (t * up)) * -(-size[1] // (t * up)) for t in forms.values()}
        suits = min(w.shape[:2]) >= _LEAST_CHANNELS
        rule = next((form for form, t in forms.items() if count[t] >= _LEAST_TILES and suits), "torch")
        call = lambda: products.convolution(  # noqa: E731
            kind + _DIRECTIONS.get((stride, transposed), ""), x, w, fast
        )
        return forms.get(choose_form(self._subject, x, (*forms, "torch"), rule, call), 0)

    def _winograd(
        self,
        x: Tensor,
        w: Tensor,
        exchanged: bool,
        in_scale: Tensor | None,
        convolution: Convolution,
        e: Epilogue,
        keep_mask: bool,
        tile: int,
    ) -> tuple[Tensor, Tensor]:
        stride, transposed, padding, _ = convolution
        return self._raw("conv2d_winograd")(
            x, w, exchanged, in_scale, stride, transposed, *padding, *e, keep_mask, tile
        )

    def convolve(
        self, x: Tensor, w: Tensor, in_scale: Tensor | None, convolution: Convolution, e: Epilogue, keep_mask: bool
    ) -> tuple[Tensor, Tensor]:
        size = convolution.output_size((x.shape[2], x.shape[3]), (w.shape[2], w.shape[3]))
        if tile := self._winograd_tile("convolution", x, w, convolution, size):
            return self._winograd(x, w, False, in_scale, convolution, e, keep_mask, tile)
        if in_scale is not None and _is_narrow(x, w, convolution):
            matrices = w[:, :, 0, 0] * in_scale.to(w.dtype)[:, None]  # [N, O, I]: less than a pass over x
            u = x.new_empty(x.shape[0], w.shape[0], *x.shape[2:])
            torch.bmm(matrices, x.flatten(2), out=u.flatten(2))
            return self.epilogue(u, e, keep_mask)
        return super().convolve(x, w, in_scale, convolution, e, keep_mask)

    def input_gradient(self, dy: Tensor, w: Tensor, size: Size, convolution: Convolution) -> Tensor:
        adjoint = convolution.adjoint(size, (dy.shape[2], dy.shape[3]), (w.shape[2], w.shape[3]))
        if tile := self._winograd_tile("input gradient", dy, w, adjoint, size):
            return self._winograd(dy, w, True, None, adjoint, Epilogue(), False, tile)[0]
        return super().input_gradient(dy, w, size, convolution)

    def weight_gradient(
        self, x: Tensor, dy: Tensor, in_scale: Tensor | None, w: Tensor, convolution: Convolution
    ) -> Tensor:
        if tile := self._winograd_tile("weight gradient", x, w, convolution, (dy.shape[2], dy.shape[3])):
            stride, transposed, padding, _ = convolution
            return self._raw("conv2d_winograd_weight_gradient")(x, dy, in_scale, stride, transposed, *padding, tile)
        if in_scale is not None and _is_narrow(x, w, convolution):
            matrices = torch.bmm(dy.flatten(2), x.flatten(2).transpose(1, 2))
            return (matrices * in_scale.to(w.dtype)[:, None]).sum(dim=0)[:, :, None, None]
        return super().weight_gradient(x, dy, in_scale, w, convolution)


def _convolution(x: Tensor, w: Tensor, stride: int, padding: Sequence[int], transposed: bool, fast: bool) -> Tensor:
    with nullcontext() if fast else tf32.exactly(x):
        return torch.ops.aten.convolution(x, w, None, [stride] * 2, padding, [1, 1], transposed, [0, 0], 1)


def _weight_gradient(
    x: Tensor, dy: Tensor, w: Tensor, stride: int, padding: Sequence[int], transposed: bool, fast: bool
) -> Tensor:
    need = [False, True, False]
    settings = (None, [stride] * 2, padding, [1, 1], transposed, [0, 0], 1, need)
    with nullcontext() if fast else tf32.exactly(x):
        return torch.ops.aten.convolution_backward(dy, x, w, *settings)[1]


def _padded(x: Tensor, padding: Padding) -> Tensor:
    return torch.constant_pad_nd(x, padding).contiguous(memory_format=dense_format(x)) if any(padding) else x


def _common_padding(x: Tensor, padding: Padding) -> tuple[Tensor, list[int]]:
    """x and [y, x] such that padding x by these on both sides is padding it by `padding`."""
    px0, px1, py0, py1 = padding
    py, px = max(0, min(py0, py1)), max(0, min(px0, px1))
    return _padded(x, (px0 - px, px1 - px, py0 - py, py1 - py)), [py, px]


def _is_narrow(x: Tensor, w: Tensor, convolution: Convolution) -> bool:
    """A modulated 1×1 kernel to a few channels, such as to-RGB: one product of matrices an image."""
    plain = convolution == (1, False, (0, 0, 0, 0), convolution.fast)
    return plain and w.shape[0] < _NARROW and w.shape[2:] == (1, 1) and x.is_contiguous() and x.numel() > 0
