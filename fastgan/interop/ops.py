"""The operators under the signatures of the published StyleGAN code, for programs that were written for it.

    from fastgan.interop import ops
    y = ops.upfirdn2d(x, ops.setup_filter([1, 3, 3, 1]), up=2, padding=[2, 1, 2, 1], gain=4)

`impl` is "ref", plain torch, or "cuda", whatever fastgan would choose, on a CPU too. Formulas,
shapes, gradients and errors are those of the functions of the same name in `fastgan.ops`. StyleGAN2 and StyleGAN3
published different functions called modulated_conv2d: StyleGAN2's has the name here, StyleGAN3's is
`modulated_conv2d_stylegan3`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from fastgan import ops
from fastgan.ops.arguments import check_dense, flag

__all__ = [
    "bias_act",
    "conv2d_resample",
    "downsample2d",
    "filter2d",
    "grid_sample",
    "modulated_conv2d",
    "modulated_conv2d_stylegan3",
    "no_weight_gradients",
    "setup_filter",
    "upfirdn2d",
    "upsample2d",
]

# The least mean square that is divided by: zeros stay zeros.
_TINY = 1e-30


def _provider(impl: str) -> AbstractContextManager[None]:
    if impl not in ("ref", "cuda"):
        raise ValueError(f"impl must be 'ref' or 'cuda', got {impl!r}")
    return ops.provider("reference") if impl == "ref" else nullcontext()


def bias_act(
    x: Tensor,
    b: Tensor | None = None,
    dim: int = 1,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
    impl: str = "cuda",
) -> Tensor:
    """y = clamp(act(x + b)·gain, ±clamp): `fastgan.ops.bias_act`; `impl`: "ref" is plain torch.

    Raises:
        ValueError, TypeError: an argument that does not fit, named with what was expected and what came.
    """
    with _provider(impl):
        return ops.bias_act(x, b, dim, act, alpha, gain, clamp)


def upfirdn2d(
    x: Tensor,
    f: Tensor | None,
    up: int | Sequence[int] = 1,
    down: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    flip_filter: bool = False,
    gain: float = 1,
    impl: str = "cuda",
) -> Tensor:
    """y = gain · downsample(f ∗ pad(upsample(x))): `fastgan.ops.upfirdn2d`; `impl`: "ref" is plain torch.

    Raises:
        ValueError, TypeError: an argument that does not fit, named with what was expected and what came.
    """
    with _provider(impl):
        return ops.upfirdn2d(x, f, up, down, padding, flip_filter, gain)


def setup_filter(
    f: Sequence | Tensor | float | None,
    device: torch.device | str = "cpu",
    normalize: bool = True,
    flip_filter: bool = False,
    gain: float = 1,
    separable: bool | None = None,
) -> Tensor:
    """A filter from its taps, summing to gain, on the CPU unless another device is named: `fastgan.ops.setup_filter`.

    Raises:
        ValueError, TypeError: f is empty, has more than two axes, or sums to 0 where it has to be normalised.
    """
    return ops.setup_filter(f, device, normalize, flip_filter, gain, separable)


def filter2d(
    x: Tensor,
    f: Tensor | None,
    padding: int | Sequence[int] = 0,
    flip_filter: bool = False,
    gain: float = 1,
    impl: str = "cuda",
) -> Tensor:
    """y = gain · (f ∗ x) at x's size: `fastgan.ops.filter2d`; `impl`: "ref" is plain torch."""
    with _provider(impl):
        return ops.filter2d(x, f, padding, flip_filter, gain)


def upsample2d(
    x: Tensor,
    f: Tensor | None,
    up: int | Sequence[int] = 2,
    padding: int | Sequence[int] = 0,
    flip_filter: bool = False,
    gain: float = 1,
    impl: str = "cuda",
) -> Tensor:
    """x up-sampled by `up` at unchanged brightness: `fastgan.ops.upsample2d`; `impl`: "ref" is plain torch."""
    with _provider(impl):
        return ops.upsample2d(x, f, up, padding, flip_filter, gain)


def downsample2d(
    x: Tensor,
    f: Tensor | None,
    down: int | Sequence[int] = 2,
    padding: int | Sequence[int] = 0,
    flip_filter: bool = False,
    gain: float = 1,
    impl: str = "cuda",
) -> Tensor:
    """x filtered and decimated by `down`: `fastgan.ops.downsample2d`; `impl`: "ref" is plain torch."""
    with _provider(impl):
        return ops.downsample2d(x, f, down, padding, flip_filter, gain)


def conv2d_resample(
    x: Tensor,
    w: Tensor,
    f: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: int | Sequence[int] = 0,
    groups: int = 1,
    flip_weight: bool = True,
    flip_filter: bool = False,
) -> Tensor:
    """y = ↓down(w ∗ f ∗ x), or w ∗ f ∗ ↑up(x): `fastgan.ops.conv2d_resample`.

    Args:
        x, w, f, up, down, padding, groups, flip_weight: as there; only one of up and down may exceed 1.
        flip_filter: True: correlation with f.

    Returns:
        [N, O, H', W'], dtype and memory format of x.

    Raises:
        ValueError, TypeError: an argument that does not fit, named with what was expected and what came.
    """
    if flag("flip_filter", flip_filter) and f is not None:
        check_dense("f", f, optional=True)
        f = f.flip(list(range(f.ndim)))
    return ops.conv2d_resample(x, w, f, up, down, padding, groups, flip_weight)


def grid_sample(input: Tensor, grid: Tensor) -> Tensor:
    """input at the places of grid, zeros beyond it: `fastgan.ops.grid_sample`.

    Raises:
        ValueError, TypeError: as in `grid_sample`.
    """
    return ops.grid_sample(input, grid)


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    noise: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: int | Sequence[int] = 0,
    resample_filter: Tensor | None = None,
    demodulate: bool = True,
    flip_weight: bool = True,
    fused_modconv: bool = True,
) -> Tensor:
    """StyleGAN2's modulated convolution: `fastgan.ops.modulated_conv2d`.

    Args:
        x, weight, styles, noise, up, down, padding, resample_filter, demodulate, flip_weight: as there.
        fused_modconv: changes nothing: weights are shared by the batch, the fast way, either way.

    Returns:
        [N, O, H', W'], dtype and memory format of x.

    Raises:
        ValueError, TypeError: an argument that does not fit, named with what was expected and what came.
    """
    return ops.modulated_conv2d(
        x, weight, styles, noise, up, down, padding, resample_filter, demodulate, flip_weight
    )  # fmt: skip


def modulated_conv2d_stylegan3(
    x: Tensor,
    w: Tensor,
    s: Tensor,
    demodulate: bool = True,
    padding: int | Sequence[int] = 0,
    input_gain: Tensor | None = None,
) -> Tensor:
    """StyleGAN3's modulated convolution: y[n, o] = Σ_i (w[o, i]·s[n, i]·dcoefs[n, o]) ∗ (input_gain·x[n, i]).

    With demodulation, w has unit mean square per output channel and s over the whole batch before; up to the 1e-8 under
    the root of dcoefs, demodulation cancels it.

    Args:
        x: [N, I, H, W].
        w: [O, I, kh, kw].
        s: styles [N, I].
        demodulate: scale each modulated filter to unit norm.
        padding: as `fastgan.ops.conv2d_resample`.
        input_gain: [], [I] or [N, I]. None: 1.

    Returns:
        [N, O, H', W'], dtype and memory format of x.

    Raises:
        ValueError, TypeError: an argument that does not fit, named with what was expected and what came.

    Source: Karras et al. 2021, appendix C.
    """
    check_dense("x", x)
    check_dense("w", w)
    check_dense("s", s)
    if x.ndim != 4 or w.ndim != 4 or s.shape != (x.shape[0], w.shape[1]):
        shapes = f"{list(x.shape)}, {list(w.shape)} and {list(s.shape)}"
        raise ValueError(f"x must have shape [N, I, H, W], w [O, I, kh, kw] and s [N, I], got {shapes}")
    if input_gain is not None:
        check_dense("input_gain", input_gain, optional=True)
    if flag("demodulate", demodulate):
        wide = torch.promote_types(x.dtype, torch.float32)  # squares of halves overflow
        w, s = w.to(wide), s.to(wide)
        w = w * w.square().mean(dim=[1, 2, 3], keepdim=True).clamp_min(_TINY).rsqrt()
        s = s * s.square().mean().clamp_min(_TINY).rsqrt()
    if input_gain is not None and input_gain.ndim == 2:  # what a row scales cannot be a part of the shared weight
        if input_gain.shape != (x.shape[0], w.shape[1]):
            raise ValueError(
                f"input_gain must be [], [I]=[{w.shape[1]}] or [N, I]=[{x.shape[0]}, {w.shape[1]}], "
                f"got {list(input_gain.shape)}"
            )
        x, input_gain = x * input_gain[:, :, None, None].to(x.dtype), None
    return ops.modulated_conv2d(x, w, s, padding=padding, demodulate=demodulate, input_gain=input_gain)


def no_weight_gradients(disable: bool = True) -> AbstractContextManager[None]:
    """A block that changes nothing: a backward pass that is not asked for gradients of weights computes none.

    Args:
        disable: taken for its callers' sake.

    Returns:
        a context manager.
    """
    return nullcontext()
