"""upfirdn2d and the resampling functions built on it: public functions, argument checks, torch operator,
description."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from fastgan.ops import fir, providers
from fastgan.ops.arguments import check_dense, check_real, dense_format, flag, in_format, layout_name, number, sizes
from fastgan.ops.fir import checked_factors, checked_filter, checked_padding, checked_taps, keeping_padding
from fastgan.ops.operator import OPERATORS, Default, Operator
from fastgan.ops.registration import register
from fastgan.ops.upfirdn2d import triton_form
from fastgan.ops.upfirdn2d.flops import upfirdn2d_flops
from fastgan.ops.upfirdn2d.reference import upfirdn2d_reference

# A bound that no image needs: a slip is named instead of asking for terabytes.
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
    f = checked_filter(f, x)
    up, down, padding = checked_factors("up", up), checked_factors("down", down), checked_padding(padding)
    flip_filter, gain = flag("flip_filter", flip_filter), number("gain", gain)
    n, c, h, w = sizes(x)
    taps = fir.taps_of(f)
    for axis, size, length, low in (("x", w, taps[1], 0), ("y", h, taps[0], 2)):
        padded = size * up[low // 2] + padding[low] + padding[low + 1]
        if padded < length:
            raise ValueError(
                f"padding leaves {padded} samples along {axis}, but f has {length} taps: the output would be empty"
            )
        if padded > fir.LONGEST:
            raise ValueError(f"padding and up make {padded} samples along {axis}, at most {fir.LONGEST} are supported")
    height, width = fir.output_size((h, w), taps, up, down, padding)
    # Not of a symbolic batch, which the comparison would bound.
    if not torch.compiler.is_compiling() and n * c * height * width > _MOST_VALUES:
        raise ValueError(
            f"padding and up make an output of {[n, c]} by {height}x{width}, more than {_MOST_VALUES} values"
        )
    kind = f"up {max(up)} down {max(down)} {'separable' if f.ndim == 1 else 'full'}"
    pixels = n * c * max(h * w, height * width)
    provider = providers.choose("upfirdn2d", x.device, x.dtype, "", lambda: (layout_name(x), kind, (pixels,)))
    memory_format = dense_format(x)
    if provider == "reference":
        y = upfirdn2d_reference(x, f, up, down, padding, flip_filter, gain)
        return in_format(y, memory_format)
    x = in_format(x, memory_format)
    return OPERATORS["upfirdn2d"].registered[provider](x, f, *up, *down, *padding, flip_filter, gain)


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
    kept = keeping_padding(checked_padding(padding), checked_taps(f))
    return upfirdn2d(x, f, padding=kept, flip_filter=flip_filter, gain=gain)


def upsample2d(
    x: Tensor,
    f: Tensor | None,
    up: int | Sequence[int] = 2,
    padding: int | Sequence[int] = 0,
    flip_filter: bool = False,
    gain: float = 1,
) -> Tensor:
    """x up-sampled by `up` at unchanged brightness, [N, C, H·up, W·up]; arguments as in `upfirdn2d`."""
    up = checked_factors("up", up)
    kept = keeping_padding(checked_padding(padding), checked_taps(f), up=up)
    gain = number("gain", gain) * up[0] * up[1]
    return upfirdn2d(x, f, up=up, padding=kept, flip_filter=flip_filter, gain=gain)


def downsample2d(
    x: Tensor,
    f: Tensor | None,
    down: int | Sequence[int] = 2,
    padding: int | Sequence[int] = 0,
    flip_filter: bool = False,
    gain: float = 1,
) -> Tensor:
    """x filtered and decimated by `down`, [N, C, H/down, W/down]; arguments as in `upfirdn2d`."""
    down = checked_factors("down", down)
    kept = keeping_padding(checked_padding(padding), checked_taps(f), down=down)
    return upfirdn2d(x, f, down=down, padding=kept, flip_filter=flip_filter, gain=gain)


def _register(provider: str, kernels: Mapping[str, str]) -> Callable:
    """Register the operator of one provider; its derivative is itself with other arguments."""

    def fake(x, f, upx, upy, downx, downy, padx0, padx1, pady0, pady1, flip_filter, gain):
        taps, padding = (f.shape[0], f.shape[-1]), (padx0, padx1, pady0, pady1)
        size = fir.output_size(x.shape[2:], taps, (upx, upy), (downx, downy), padding)
        shape = (x.shape[0], x.shape[1], *size)
        return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=dense_format(x))

    def setup_context(ctx, inputs, output):
        x, f, *numbers, flip_filter, gain = inputs
        ctx.settings = numbers[:2], numbers[2:4], numbers[4:], flip_filter, gain
        ctx.input_size, ctx.memory_format = x.shape[2:], dense_format(x)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(f)

    def backward(ctx, dy):
        if dy is None:
            return (None,) * 12
        if 0 in ctx.input_size:  # nothing but padding went in
            return dy.new_zeros((*dy.shape[:2], *ctx.input_size)), *(None,) * 11
        (f,), (up, down, padding, flip_filter, gain) = ctx.saved_tensors, ctx.settings
        padding = fir.adjoint_padding(ctx.input_size, dy.shape[2:], (f.shape[0], f.shape[-1]), up, down, padding)
        dy = in_format(dy, ctx.memory_format)
        return compiled(dy, f, *down, *up, *padding, not flip_filter, gain), *(None,) * 11

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


def _example() -> Tensor:
    x, f = torch.linspace(-1, 1, 2 * 3 * 6 * 5).reshape(2, 3, 6, 5), torch.tensor([0.25, 0.5, 0.25])
    return upfirdn2d(x, f, up=2, padding=1)


OPERATORS["upfirdn2d"] = Operator(
    "upfirdn2d",
    _example,
    kernels=("cpu", "cuda", "triton"),
    register=_register,
    triton=triton_form.LAUNCHES,
    defaults=(Default("cpu", ("native",), "bench/results/cpu_targets.json: Intel Xeon with AVX-512, 2 cores"),),
)
