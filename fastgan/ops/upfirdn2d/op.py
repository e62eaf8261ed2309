"""upfirdn2d and the resampling functions built on it: public functions, argument checks, registration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from fastgan.ops import native, providers, triton_provider
from fastgan.ops.arguments import as_int, check_dense, check_real, flag, number
from fastgan.ops.exporting import sizes
from fastgan.ops.layout import dense_format, in_format
from fastgan.ops.registration import register
from fastgan.ops.upfirdn2d import triton_form
from fastgan.ops.upfirdn2d.flops import upfirdn2d_flops
from fastgan.ops.upfirdn2d.reference import upfirdn2d_reference

_SEQUENCE = (list, tuple)  # a union of types would be built anew on every call
# Bounds that no image needs: offsets stay within 64 bits, and a slip is named instead of asking for terabytes.
_LARGEST_FACTOR = 2**12
_LONGEST = 2**24
_MOST_VALUES = 2**40


def upfirdn2d(
    x: Tensor,
    f: Tensor | None,
    up: int | Sequence[int] = 1,
    down: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    flip_filter: bool = False,
    gain: float = 1,
) -> Tensor:
    """y = gain · downsample(f ∗ pad(upsample(x))): insert zeros, pad, filter and decimate each image, in one pass.

    Per axis: up − 1 zeros follow every sample (length n·up), `padding` samples of zero are added on each side
    (negative values crop), the true convolution with f is taken where its footprint lies inside, and every down-th
    sample from index 0 is kept: ⌊(n·up + p0 + p1 − taps) / down⌋ + 1 samples.

    Args:
        x: [N, C, H, W], float64, float32, float16 or bfloat16. Contiguous and channels_last tensors are read in
            place, other layouts are copied first.
        f: [taps], applied along both axes (separable), or [fh, fw]; None filters nothing. A constant: it may not
            require grad.
        up: zero-insertion factor, or [x, y].
        down: decimation factor, or [x, y].
        padding: at the up-sampled rate: one number, [x, y] or [x0, x1, y0, y1].
        flip_filter: False convolves, True correlates.
        gain: factor of the result.

    Returns:
        [N, C, H', W'], dtype and memory format of x.

    Raises:
        ValueError, TypeError: an argument that does not fit, named with what was expected and what came.

    Gradients: any order, for x.
    Keeps for backward: nothing but f.
    Source: Karras et al. 2020, app. B; Crochiere & Rabiner 1983.

    >>> upfirdn2d(torch.ones(1, 1, 1, 2), torch.tensor([[1.0, 2.0]]), padding=[1, 1, 0, 0])
    tensor([[[[1., 3., 2.]]]])
    """
    check_dense("x", x)
    if x.ndim != 4:
        raise ValueError(f"x must have shape [N, C, H, W], got {list(x.shape)}")
    f = check_filter(f, x)
    up, down, padding = _pair("up", up), _pair("down", down), four_paddings(padding)
    flip_filter, gain = flag("flip_filter", flip_filter), number("gain", gain)
    n, c, h, w = sizes(x)
    fh, fw = sizes(f)[0], sizes(f)[-1]
    for axis, size, taps, low in (("x", w, fw, 0), ("y", h, fh, 2)):
        padded = size * up[low // 2] + padding[low] + padding[low + 1]
        if padded < taps:
            raise ValueError(
                f"padding leaves {padded} samples along {axis}, but f has {taps} taps: the output would be empty"
            )
        if padded > _LONGEST:
            raise ValueError(f"padding and up make {padded} samples along {axis}, at most {_LONGEST} are supported")
    height = (h * up[1] + padding[2] + padding[3] - fh) // down[1] + 1
    width = (w * up[0] + padding[0] + padding[1] - fw) // down[0] + 1
    # Not of a symbolic batch, which the comparison would bound.
    if not torch.compiler.is_compiling() and n * c * height * width > _MOST_VALUES:
        raise ValueError(
            f"padding and up make an output of {[n, c]} by {height}x{width}, more than {_MOST_VALUES} values"
        )
    provider = providers.choose("upfirdn2d", x.device.type, x.dtype)
    memory_format = dense_format(x)
    if provider == "reference":
        y = upfirdn2d_reference(x, f, up, down, padding, flip_filter, gain)
        return in_format(y, memory_format)
    x = in_format(x, memory_format)
    return _COMPILED[provider](x, f, *up, *down, *padding, flip_filter, gain)


def setup_filter(
    f: Sequence | Tensor | float | None,
    device: torch.device | str | None = None,
    normalize: bool = True,
    flip_filter: bool = False,
    gain: float = 1,
    separable: bool | None = None,
) -> Tensor:
    """A filter for `upfirdn2d` from its taps, summing to gain.

    Args:
        f: taps [taps] or [fh, fw], a number, or None for the identity.
        device: of the result; None keeps a tensor's own, else the CPU.
        normalize: divide by the sum of the taps.
        flip_filter: reverse every axis.
        gain: factor of the whole two-dimensional filter.
        separable: keep a 1-D f as it is (both axes); None does so from 8 taps on, shorter ones become their outer
            product.

    Returns:
        float32 [taps] or [fh, fw].

    Raises:
        ValueError: f is empty, has more than two axes, or sums to 0 where it has to be normalised.
        TypeError: f holds no numbers.

    >>> setup_filter([1, 3, 3, 1], separable=True)
    tensor([0.1250, 0.3750, 0.3750, 0.1250])
    """
    if device is None:
        device = f.device if isinstance(f, Tensor) else torch.get_default_device()
    if isinstance(f, Tensor):
        check_real("f", f)
    try:
        device = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device must be a torch.device or its name, got {device!r}") from error
    try:
        given = 1.0 if f is None else f
        place = "meta" if isinstance(f, Tensor) and f.is_meta else "cpu"
        taps = torch.as_tensor(given, dtype=torch.float32, device=place)
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise TypeError(f"f must hold taps, numbers in one or two axes: {error}") from error
    if taps.ndim > 2 or taps.numel() == 0:
        raise ValueError(f"f must hold taps [taps] or [fh, fw], got shape {list(taps.shape)}")
    gain, normalize, flip_filter = number("gain", gain), flag("normalize", normalize), flag("flip_filter", flip_filter)
    taps = taps.reshape(1) if taps.ndim == 0 else taps
    separable = taps.ndim == 1 and taps.numel() >= 8 if separable is None else flag("separable", separable)
    if separable and taps.ndim == 2:
        raise ValueError(f"f must be 1-D to be separable, got shape {list(taps.shape)}")
    if taps.ndim == 1 and not separable:
        taps = taps.outer(taps)
    if normalize:
        if _has_values(taps) and taps.sum() == 0:
            raise ValueError("f sums to 0 and cannot be normalised; pass normalize=False")
        taps = taps / taps.sum()
    if gain < 0 and taps.ndim == 1:
        raise ValueError(f"gain must be at least 0 for a separable f, which is applied twice; got {gain}")
    taps = taps * gain ** (taps.ndim / 2)
    if _has_values(taps) and not taps.isfinite().all():
        raise ValueError("f must hold finite taps, also after normalisation and gain")
    if flip_filter:
        taps = taps.flip(list(range(taps.ndim)))
    return taps.to(device)


def _has_values(x: Tensor) -> bool:
    return not (x.is_meta or isinstance(x, FakeTensor))


def filter2d(
    x: Tensor, f: Tensor | None, padding: int | Sequence[int] = 0, flip_filter: bool = False, gain: float = 1
) -> Tensor:
    """y = gain · (f ∗ x) at x's size; arguments as in `upfirdn2d`, `padding` is added to what keeps the size."""
    extra, (fw, fh) = four_paddings(padding), _taps(f)
    same = (fw // 2, (fw - 1) // 2, fh // 2, (fh - 1) // 2)
    return upfirdn2d(x, f, padding=_sum(extra, same), flip_filter=flip_filter, gain=gain)


def upsample2d(
    x: Tensor,
    f: Tensor | None,
    up: int | Sequence[int] = 2,
    padding: int | Sequence[int] = 0,
    flip_filter: bool = False,
    gain: float = 1,
) -> Tensor:
    """x up-sampled by `up` at unchanged brightness, [N, C, H·up, W·up]; arguments as in `upfirdn2d`."""
    (ux, uy), extra, (fw, fh) = _pair("up", up), four_paddings(padding), _taps(f)
    gain = number("gain", gain) * ux * uy
    same = ((fw + ux - 1) // 2, (fw - ux) // 2, (fh + uy - 1) // 2, (fh - uy) // 2)
    return upfirdn2d(x, f, up=(ux, uy), padding=_sum(extra, same), flip_filter=flip_filter, gain=gain)


def downsample2d(
    x: Tensor,
    f: Tensor | None,
    down: int | Sequence[int] = 2,
    padding: int | Sequence[int] = 0,
    flip_filter: bool = False,
    gain: float = 1,
) -> Tensor:
    """x filtered and decimated by `down`, [N, C, H/down, W/down]; arguments as in `upfirdn2d`."""
    (dx, dy), extra, (fw, fh) = _pair("down", down), four_paddings(padding), _taps(f)
    same = ((fw - dx + 1) // 2, (fw - dx) // 2, (fh - dy + 1) // 2, (fh - dy) // 2)
    return upfirdn2d(x, f, down=(dx, dy), padding=_sum(extra, same), flip_filter=flip_filter, gain=gain)


def check_filter(f: Tensor | None, x: Tensor) -> Tensor:
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    if f is None:
        return x.new_ones([1], dtype=dtype)
    _taps(f)
    if f.requires_grad:
        raise ValueError("f must not require grad: upfirdn2d has gradients for x only")
    if f.device != x.device:
        raise ValueError(f"f must be on x's device {x.device}, got {f.device}")
    return f if f.dtype == dtype and f.is_contiguous() else f.to(dtype).contiguous()


def _pair(name: str, value: int | Sequence[int]) -> tuple[int, int]:
    pair: Any = _ints(value) if isinstance(value, _SEQUENCE) else _ints(value) * 2
    if len(pair) != 2 or not all(factor is not None and 1 <= factor <= _LARGEST_FACTOR for factor in pair):
        raise ValueError(f"{name} must be an int or [x, y], each from 1 to {_LARGEST_FACTOR}; got {value!r}")
    return pair


def four_paddings(value: int | Sequence[int]) -> tuple[int, int, int, int]:
    sides: Any = _ints(value)
    if len(sides) not in (1, 2, 4) or not all(side is not None and abs(side) <= _LONGEST for side in sides):
        raise ValueError(f"padding must be an int, [x, y] or [x0, x1, y0, y1] within ±{_LONGEST}; got {value!r}")
    if len(sides) < 4:
        sides = (sides[0], sides[0], sides[-1], sides[-1])
    return sides


def _ints(value: int | Sequence[int]) -> tuple[int | None, ...]:
    """One int, or those of a list; None for what is none."""
    return tuple(as_int(each) for each in value) if isinstance(value, _SEQUENCE) else (as_int(value),)


def _taps(f: Tensor | None) -> tuple[int, int]:
    """(fw, fh) of a filter, which is checked."""
    if f is None:
        return (1, 1)
    check_dense("f", f, optional=True)
    if f.ndim not in (1, 2) or 0 in sizes(f):
        raise ValueError(f"f must have shape [taps] or [fh, fw], got {list(f.shape)}")
    return (sizes(f)[-1], sizes(f)[0])


def _sum(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3])


def _register_compiled(provider: str) -> Callable:
    """Register one compiled provider; the derivative is the operator itself with other arguments."""

    def output_size(x, f, ux, uy, dx, dy, px0, px1, py0, py1):
        height = (x.shape[2] * uy + py0 + py1 - f.shape[0]) // dy + 1
        width = (x.shape[3] * ux + px0 + px1 - f.shape[-1]) // dx + 1
        return height, width

    def fake(x, f, ux, uy, dx, dy, px0, px1, py0, py1, flip_filter, gain):
        size = output_size(x, f, ux, uy, dx, dy, px0, px1, py0, py1)
        return torch.empty(
            (x.shape[0], x.shape[1], *size), dtype=x.dtype, device=x.device, memory_format=dense_format(x)
        )

    def setup_context(ctx, inputs, output):
        x, f, *ctx.settings = inputs
        ctx.input_size, ctx.output_size, ctx.memory_format = x.shape[2:], output.shape[2:], dense_format(x)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(f)

    def backward(ctx, dy):
        if dy is None:
            return (None,) * 12
        (f,) = ctx.saved_tensors
        ux, uy, dx, dy_factor, px0, _, py0, _, flip_filter, gain = ctx.settings
        (height, width), (out_height, out_width) = ctx.input_size, ctx.output_size
        if height == 0 or width == 0:  # nothing but padding went in
            return (dy.new_zeros((*dy.shape[:2], height, width)),) + (None,) * 11
        padding = (
            f.shape[-1] - px0 - 1,
            width * ux - out_width * dx + px0 - ux + 1,
            f.shape[0] - py0 - 1,
            height * uy - out_height * dy_factor + py0 - uy + 1,
        )
        dy = in_format(dy, ctx.memory_format)
        dx_ = compiled(dy, f, dx, dy_factor, ux, uy, *padding, not flip_filter, gain)
        return (dx_,) + (None,) * 11

    compiled = register(
        f"upfirdn2d_{provider}",
        "(Tensor x, Tensor f, int upx, int upy, int downx, int downy, int padx0, int padx1, int pady0, int pady1, "
        "bool flip_filter, float gain) -> Tensor",
        fake,
        setup_context,
        backward,
        upfirdn2d_flops,
    )
    return compiled


_COMPILED = {name: _register_compiled(name) for name in ("native", "triton")}
triton_form.implement("triton", "CUDA")
providers.register_provider("upfirdn2d", "native", lambda device, dtype, _: native.refusal(device, dtype))
providers.register_provider("upfirdn2d", "triton", lambda device, dtype, _: triton_provider.refusal(device, dtype))
providers.register_provider("upfirdn2d", "reference", lambda device, dtype, _: None)
