"""filtered_lrelu: public function, argument checks, torch operators with their derivatives, description."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fastgan.ops import fir, providers
from fastgan.ops.arguments import (
    activation,
    as_int,
    check_dense,
    dense_format,
    exporting,
    flag,
    in_format,
    layout_name,
    number,
    sizes,
)
from fastgan.ops.filtered_lrelu import triton_form
from fastgan.ops.filtered_lrelu.flops import filtered_lrelu_flops, masked_flops
from fastgan.ops.filtered_lrelu.geometry import Geometry, mask_shape
from fastgan.ops.filtered_lrelu.reference import filtered_lrelu_reference
from fastgan.ops.gradients import needed
from fastgan.ops.operator import OPERATORS, Default, Operator
from fastgan.ops.registration import register, transforming

# A bound that no image needs: a slip is named instead of asking for terabytes.
_MOST_VALUES = 2**40
_LARGEST_FACTOR = 64


def filtered_lrelu(
    x: Tensor,
    fu: Tensor | None = None,
    fd: Tensor | None = None,
    b: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: int | Sequence[int] = 0,
    gain: float = math.sqrt(2),
    slope: float = 0.2,
    clamp: float | None = None,
    flip_filter: bool = False,
) -> Tensor:
    """y = downsample(fd ∗ clamp(lrelu(up² · fu ∗ pad(upsample(x + b))) · gain, ±clamp)), in one pass.

    The non-linearity acts at `up` times the resolution, where what it adds beyond the band limit can be filtered away
    before the image is decimated. Resampling is as in `upfirdn2d`: the padding is of zeros, which get no bias.

    Args:
        x: [N, C, H, W], float64, float32, float16 or bfloat16. Contiguous and channels_last tensors are read in place,
            other layouts are copied first.
        fu: filter after up-sampling, [taps] (separable, along both axes) or [fh, fw]; None for the identity. A
            constant: it may not require grad.
        fd: filter before down-sampling, likewise.
        b: [C], cast to x's dtype; None adds nothing.
        up: zero-insertion factor of both axes, 1 to 64.
        down: decimation factor of both axes, 1 to 64.
        padding: at the up-sampled rate, negative values crop: one number, [x, y] or [x0, x1, y0, y1].
        gain: factor after the leaky ReLU.
        slope: of the leaky ReLU for negative values.
        clamp: bound of what the second filter sees; None for no bound.
        flip_filter: False convolves with both filters, True correlates.

    Returns:
        [N, C, H', W'], dtype and memory format of x, with Hm = H·up + y0 + y1 - taps(fu) + 1 and
        H' = ⌊(Hm - taps(fd)) / down⌋ + 1; the same along x.

    Raises:
        ValueError, TypeError: an argument that does not fit, named with what was expected and what came.

    Gradients: any order, for x and b.
    Keeps for backward: two bits an element between the filters; the filters.
    Source: Karras et al. 2021 (StyleGAN3), sec. 3.2 and app. D.

    >>> filtered_lrelu(torch.tensor([[[[-1.0, 2.0]]]]), gain=1.0)
    tensor([[[[-0.2000,  2.0000]]]])
    """
    _, slope, gain, clamp = activation("lrelu", number("slope", slope), number("gain", gain), clamp)
    check_dense("x", x)
    if x.ndim != 4:
        raise ValueError(f"x must have shape [N, C, H, W], got {list(x.shape)}")
    fu, fd = fir.checked_filter(fu, x, "fu"), fir.checked_filter(fd, x, "fd")
    flip_filter = flag("flip_filter", flip_filter)
    geometry = Geometry(_factor("up", up), _factor("down", down), fir.checked_padding(padding))
    n, c, h, w = sizes(x)
    if b is not None:
        check_dense("b", b, optional=True)
        if b.ndim != 1 or sizes(b)[0] != c:
            raise ValueError(f"b must have shape [C]=[{c}] to match x, got {list(b.shape)}")
        if b.device != x.device:
            raise ValueError(f"b must be on x's device {x.device}, got {b.device}")
        b = b.to(x.dtype).contiguous()
    middle, (height, width) = _sizes(geometry, (h, w), fir.taps_of(fu), fir.taps_of(fd))
    # Not of a symbolic batch, which the comparison would bound.
    if not torch.compiler.is_compiling() and n * c * middle[0] * middle[1] > _MOST_VALUES:
        raise ValueError(f"padding and up make {[n, c, *middle]} between the filters, more than {_MOST_VALUES} values")
    full = " full" if max(fu.ndim, fd.ndim) == 2 else ""
    kind, pixels = f"up {geometry.up} down {geometry.down}{full}", n * c * middle[0] * middle[1]
    provider = providers.choose("filtered_lrelu", x.device, x.dtype, "", lambda: (layout_name(x), kind, (pixels,)))
    memory_format = dense_format(x)
    if provider == "reference":
        return in_format(
            filtered_lrelu_reference(x, fu, fd, b, geometry, gain, slope, clamp, flip_filter), memory_format
        )
    x = in_format(x, memory_format)
    compiled = OPERATORS["filtered_lrelu"].registered[provider]
    differentiable = x.requires_grad or (b is not None and b.requires_grad) or transforming()
    # What is recorded may be differentiated where it runs, whatever holds here.
    keep_mask = (differentiable and torch.is_grad_enabled()) or exporting()
    bound = -1.0 if clamp is None else clamp
    settings = geometry.up, geometry.down, *geometry.padding, gain, slope, bound, flip_filter
    return compiled.forward_op(x, fu, fd, b, *settings, keep_mask)[0]


def _factor(name: str, value: int) -> int:
    factor = as_int(value)
    if factor is None or not 1 <= factor <= _LARGEST_FACTOR:
        raise ValueError(f"{name} must be an int from 1 to {_LARGEST_FACTOR}, got {value!r}")
    return factor


def _sizes(geometry: Geometry, size: fir.Size, up_taps: fir.Size, down_taps: fir.Size) -> tuple[fir.Size, fir.Size]:
    """Of the middle and of the result, which must not be empty."""
    middle = geometry.middle(size, up_taps)
    for axis, place in (("x", 1), ("y", 0)):
        if middle[place] < down_taps[place]:
            raise ValueError(
                f"padding leaves {middle[place]} samples along {axis} between the filters, but fd has "
                f"{down_taps[place]} taps: the output would be empty"
            )
        if middle[place] > fir.LONGEST:
            raise ValueError(f"padding and up make {middle[place]} samples along {axis}, at most {fir.LONGEST} work")
    return middle, geometry.output(middle, down_taps)


_PADDING = "int padx0, int padx1, int pady0, int pady1"


class FilteredLrelu:
    """Forward and masked pass of one provider, each an operator with its own derivative.

    The masked pass is linear: FIR, times what the mask has for each element, FIR. It is the derivative of the forward
    pass, and with up and down exchanged that of itself.

    Args:
        provider: its name.
        kernels: as `Provider.kernels`.
    """

    def __init__(self, provider: str, kernels: Mapping[str, str]):
        self.forward_op = register(
            f"filtered_lrelu_{provider}",
            f"(Tensor x, Tensor fu, Tensor fd, Tensor? b, int up, int down, {_PADDING}, float gain, float slope, "
            "float clamp, bool flip_filter, bool keep_mask) -> (Tensor, Tensor)",
            self.forward_fake,
            self.forward_context,
            self.forward_backward,
            filtered_lrelu_flops,
        )
        inner, size = _PADDING.replace("int ", "int inner_"), "int height, int width"
        self.masked_op = register(
            f"filtered_lrelu_masked_{provider}",
            f"(Tensor x, Tensor mask, Tensor fu, Tensor fd, int up, int down, {_PADDING}, {inner}, {size}, float gain, "
            "float slope, bool flip_filter, bool need_db) -> (Tensor, Tensor)",
            self.masked_fake,
            self.masked_context,
            self.masked_backward,
            masked_flops,
        )

    def forward_fake(self, x, fu, fd, b, up, down, padx0, padx1, pady0, pady1, gain, slope, clamp, flip, keep_mask):
        geometry = Geometry(up, down, (padx0, padx1, pady0, pady1))
        middle = geometry.middle(x.shape[2:], fir.taps_of(fu))
        shape = mask_shape(x.shape[0], x.shape[1], middle, up, down) if keep_mask else (0,)
        return _images(x, geometry.output(middle, fir.taps_of(fd))), x.new_empty(shape, dtype=torch.uint8)

    def forward_context(self, ctx, inputs, output):
        x, fu, fd, _, up, down, *padding, ctx.gain, ctx.slope, _, ctx.flip_filter, ctx.keep_mask = inputs
        geometry = Geometry(up, down, tuple(padding))
        ctx.middle = geometry.middle(x.shape[2:], fir.taps_of(fu))
        ctx.geometry = geometry.adjoint(x.shape[2:], ctx.middle, output[0].shape[2:], fir.taps_of(fu), fir.taps_of(fd))
        ctx.size, ctx.gain = x.shape[2:], ctx.gain * up**2
        ctx.memory_format = dense_format(x)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(fu, fd, output[1] if ctx.keep_mask else None)

    def forward_backward(self, ctx, dy, dmask):
        none = (None,) * 15
        if dy is None:
            return none
        fu, fd, mask = ctx.saved_tensors
        if mask is None:
            raise RuntimeError("filtered_lrelu kept nothing for a backward pass: it ran where no gradient was wanted")
        needs = needed(ctx)
        if 0 in ctx.size:  # nothing but padding went in
            empty = dy.new_zeros((*dy.shape[:2], *ctx.size))
            return (empty, None, None, dy.new_zeros(dy.shape[1]) if needs[3] else None, *none[4:])
        settings = *_flat(ctx.geometry), *ctx.middle, ctx.gain, ctx.slope, not ctx.flip_filter, needs[3]
        dx, db = self.masked_op(in_format(dy, ctx.memory_format), mask, fd, fu, *settings)
        return (dx, None, None, db if needs[3] else None, *none[4:])

    def masked_fake(self, x, mask, fu, fd, up, down, *settings):
        inner, (_, _, _, need_db) = settings[4:8], settings[10:]
        size = Geometry(up, down, settings[:4], inner).output(settings[8:10], fir.taps_of(fd))
        return _images(x, size), x.new_empty([x.shape[1] if need_db else 0])

    def masked_context(self, ctx, inputs, output):
        x, mask, fu, fd, up, down, *numbers, ctx.gain, ctx.slope, ctx.flip_filter, ctx.need_db = inputs
        geometry, ctx.middle = Geometry(up, down, tuple(numbers[:4]), tuple(numbers[4:8])), tuple(numbers[8:])
        taps = fir.taps_of(fu), fir.taps_of(fd)
        ctx.geometry = geometry.adjoint(x.shape[2:], ctx.middle, output[0].shape[2:], *taps)
        ctx.output_shape, ctx.memory_format = output[0].shape, dense_format(x)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(mask, fu, fd)

    def masked_backward(self, ctx, dy, ddb):
        none = (None,) * 20
        if not ctx.need_db:
            ddb = None  # the cotangent of an empty placeholder
        if dy is None and ddb is None:
            return none
        if ddb is not None:  # db sums the result: its cotangent spreads over it
            spread = ddb.reshape(1, -1, 1, 1).expand(ctx.output_shape)
            dy = spread if dy is None else dy + spread
        assert dy is not None
        mask, fu, fd = ctx.saved_tensors
        settings = *_flat(ctx.geometry), *ctx.middle, ctx.gain, ctx.slope, not ctx.flip_filter, False
        return (self.masked_op(in_format(dy, ctx.memory_format), mask, fd, fu, *settings)[0], *none[1:])


def _flat(geometry: Geometry) -> tuple[int, ...]:
    return geometry.up, geometry.down, *geometry.padding, *geometry.inner


def _images(x: Tensor, size: Sequence[int]) -> Tensor:
    """As x, of another size, without values."""
    shape = (x.shape[0], x.shape[1], *size)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=dense_format(x))


def _example() -> Tensor:
    x, f = torch.linspace(-1, 1, 2 * 3 * 6 * 5).reshape(2, 3, 6, 5), torch.tensor([0.25, 0.5, 0.25])
    return filtered_lrelu(x, f, f, torch.tensor([0.5, 0.0, -0.5]), up=2, down=2, padding=2)


OPERATORS["filtered_lrelu"] = Operator(
    "filtered_lrelu",
    _example,
    kernels=("cpu", "cuda", "triton"),
    register=FilteredLrelu,
    triton=triton_form.LAUNCHES,
    defaults=(Default("cpu", ("native",), "bench/results/cpu_targets_epyc.json: AMD EPYC with AVX-512, 2 cores"),),
)
