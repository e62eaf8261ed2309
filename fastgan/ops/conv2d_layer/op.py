"""Convolution layers: public functions, argument checks, choice of a provider."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from fastgan.ops import providers
from fastgan.ops.arguments import (
    activation,
    as_int,
    autocasts,
    check_dense,
    dense_format,
    exporting,
    flag,
    in_format,
    sizes,
)
from fastgan.ops.bias_act.op import bias_act
from fastgan.ops.conv2d_layer import products, triton_form
from fastgan.ops.conv2d_layer.autograd import LayerOperators
from fastgan.ops.conv2d_layer.formulas import LayerCall
from fastgan.ops.conv2d_layer.reference import conv2d_layer_reference
from fastgan.ops.conv2d_layer.schemas import SCHEMAS
from fastgan.ops.fir import checked_filter, sampling_of
from fastgan.ops.operator import OPERATORS, Default, Operator
from fastgan.ops.registration import transforming

_ACTIVATIONS = ("linear", "relu", "lrelu")  # of an epilogue, in the numbering of its `act`


def conv2d_resample(
    x: Tensor,
    w: Tensor,
    f: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: int | Sequence[int] = 0,
    groups: int = 1,
    flip_weight: bool = True,
    *,
    b: Tensor | None = None,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
    residual: Tensor | None = None,
) -> Tensor:
    """y = residual + clamp(act(R + b)·gain, ±clamp) with R = ↓down(w ∗ f ∗ x), or w ∗ f ∗ ↑up(x), a layer at once.

    Up-sampling by a kernel is a transposed convolution, then the FIR (gain up²); down-sampling is the FIR, then a
    strided convolution. A 1×1 kernel is applied at the lower of the two rates.

    Args:
        x: input [N, I, H, W], float64, float32, float16 or bfloat16, in which the layer is computed whatever autocast
            says. Contiguous and channels_last tensors are read in place, other layouts are copied first.
        w: weight [O, I / groups, kh, kw], cast to x's dtype.
        f: FIR filter, 1-D (used on both axes) or 2-D, sum 1. None: no filter.
        up: up-sampling factor.
        down: down-sampling factor; only one of up and down may exceed 1.
        padding: int, [x, y] or [x0, x1, y0, y1], pixels at the up-sampled rate; the FIR's own padding is added.
        groups: convolution groups; above 1 the layer is composed of torch's convolution and our other operators.
        flip_weight: True: correlation, as torch.nn.functional.conv2d. False: true convolution.
        b: bias [O]. None: none.
        act: activation of `bias_act`.
        alpha: as `bias_act`.
        gain: factor after the activation; None takes √2 for relu, lrelu and swish, 1 for the others.
        clamp: bound on the magnitude before the residual is added; None: none.
        residual: [N, O, H', W'], added to the result. None: nothing.

    Returns:
        [N, O, H·up / down, W·up / down] for padding = k // 2 and an odd kernel; dtype and memory format of x.

    Raises:
        ValueError, TypeError: an argument that does not fit, named with what was expected and what came.

    Gradients: 2nd order, for x, w, b and residual.
    Keeps for backward: x, w, and two bits an element of y where there is a kink; for smooth activations also R.
    Source: Karras et al. 2020 (StyleGAN2), appendix B.
    """
    groups = _check_images(x, w, groups)
    options = (f, up, down, padding, groups, flip_weight, act, alpha, gain, clamp)
    return _layer(x, w, None, None, None, b, residual, *options)


def demodulation_coefficients(weight: Tensor, styles: Tensor, eps: float = 1e-8) -> Tensor:
    """dcoefs[n, o] = 1 / sqrt(Σ_i styles[n, i]² · Σ_k weight[o, i, k]² + eps).

    Args:
        weight: [O, I, kh, kw].
        styles: [N, I].
        eps: added to the squared norm.

    Returns:
        [N, O]. The modulated weights [N, O, I, kh, kw] are never formed.

    Gradients: any order.
    Source: Karras et al. 2020 (StyleGAN2), eq. 3.
    """
    return (styles.square() @ weight.square().sum(dim=[2, 3]).t() + eps).rsqrt()


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
    input_gain: Tensor | None = None,
    *,
    b: Tensor | None = None,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
    residual: Tensor | None = None,
) -> Tensor:
    """y[n, o] = residual + clamp(act(Σ_i (weight[o, i]·styles[n, i]·dcoefs[n, o]) ∗ x[n, i] + noise + b)·gain, ±clamp).

    Styles scale the input, dcoefs the output, and one convolution with shared weights serves the batch: the whole
    layer of a generator, or its to-RGB, at once.

    Args:
        x: input [N, I, H, W]; see `conv2d_resample`.
        weight: [O, I, kh, kw].
        styles: factor on every input channel [N, I].
        noise: added to the result, broadcastable to [N, 1, H', W'], already scaled. None: none.
        up: up-sampling factor.
        down: down-sampling factor.
        padding: as `conv2d_resample`.
        resample_filter: FIR for up- and down-sampling, 1-D or 2-D, sum 1.
        demodulate: scale each modulated filter to unit norm; in float16, weight and styles are first divided by their
            largest magnitudes, which this cancels, against overflow.
        flip_weight: True: correlation. False: true convolution.
        input_gain: scalar or [I] factor on the input channels, applied after demodulation. None: 1.
        b: bias [O]. None: none.
        act, alpha, gain, clamp, residual: as `conv2d_resample`.

    Returns:
        [N, O, H', W'], dtype and memory format of x.

    Raises:
        ValueError, TypeError: an argument that does not fit, named with what was expected and what came.

    Gradients: 2nd order, for x, weight, styles, noise, b and residual.
    Keeps for backward: x, weight, noise, two bits an element of y where there is a kink, for smooth activations y
    before the activation; with demodulation also y, which the next layer keeps as its x and which must not be changed
    in place, or, in half precision with noise or b, the convolution's result instead: one image more.
    Source: Karras et al. 2020 (StyleGAN2), section 2.2.
    """
    _check_images(x, weight, 1, "weight")
    check_dense("styles", styles)
    expected = (sizes(x)[0], sizes(weight)[1])
    if sizes(styles) != expected:
        raise ValueError(f"styles must have shape [N, I]={list(expected)}, got {list(styles.shape)}")
    _check_device("styles", styles, x)
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    weight, styles = weight.to(wide), styles.to(wide)
    dcoefs = None
    if flag("demodulate", demodulate):
        if x.dtype == torch.float16 and 0 not in (*sizes(weight), *sizes(styles)):
            largest = weight.detach().abs().amax(dim=[1, 2, 3], keepdim=True)
            weight = weight / (largest * math.sqrt(math.prod(sizes(weight)[1:]))).clamp_min(1e-8)
            styles = styles / styles.detach().abs().amax(dim=1, keepdim=True).clamp_min(1e-8)
        with torch.autocast(x.device.type, enabled=False) if autocasts(x.device.type) else nullcontext():
            dcoefs = demodulation_coefficients(weight, styles)
    if input_gain is not None:
        check_dense("input_gain", input_gain, optional=True)
        if sizes(input_gain) not in ((), (1,), expected[1:]):
            raise ValueError(f"input_gain must be a scalar or [I]=[{expected[1]}], got {list(input_gain.shape)}")
        _check_device("input_gain", input_gain, x)
        styles = styles * input_gain
    f = None if resample_filter is None else checked_filter(resample_filter, x, "resample_filter")
    options = (f, up, down, padding, 1, flip_weight, act, alpha, gain, clamp)
    return _layer(x, weight, styles, dcoefs, noise, b, residual, *options)


def _layer(
    x: Tensor,
    w: Tensor,
    in_scale: Tensor | None,
    scale: Tensor | None,
    noise: Tensor | None,
    b: Tensor | None,
    residual: Tensor | None,
    f: Tensor | None,
    up: int,
    down: int,
    padding: int | Sequence[int],
    groups: int,
    flip_weight: bool,
    act: str,
    alpha: float | None,
    gain: float | None,
    clamp: float | None,
) -> Tensor:
    """y = residual + clamp(act(scale·R(w, in_scale·x) + noise + b)·gain, ±clamp)."""
    if autocasts(x.device.type):
        with torch.autocast(x.device.type, enabled=False):
            operands = (in_scale, scale, noise, b, residual)
            options = (f, up, down, padding, groups, flip_weight, act, alpha, gain, clamp)
            return _layer(x, w, *operands, *options)
    function, alpha, gain, clamp = activation(act, alpha, gain, clamp)
    f = None if f is None else checked_filter(f, x)
    sampling, size = sampling_of(x, w, f, up, down, padding)
    w, wide = w.to(x.dtype), torch.float64 if x.dtype == torch.float64 else torch.float32
    in_scale, scale = (s if s is None else s.to(wide).contiguous() for s in (in_scale, scale))
    o, _, *kernel = sizes(w)
    if kernel != [1, 1] and flag("flip_weight", flip_weight) == (sampling.up > 1):
        w = w.flip([2, 3])  # the kernels correlate, but for up-sampling ones, which are transposed
    noise, b, residual = _operands(x, o, size, noise, b, residual)
    detail, modulated, fast = "groups" if groups > 1 else "", in_scale is not None, providers.fast_products(x)
    provider = providers.choose(
        "conv2d_layer", x.device, x.dtype, detail, lambda: products.layer(x, w, modulated, sampling, fast)
    )
    memory_format = dense_format(x)
    if provider == "reference":
        settings = (act, alpha, gain, clamp)
        y = conv2d_layer_reference(x, w, in_scale, scale, noise, b, residual, f, sampling, groups, *settings)
        return in_format(y, memory_format)
    operators: LayerOperators = OPERATORS["conv2d_layer"].registered[provider]
    on_gpu = operators.kernels.get(x.device.type.upper()) in ("cuda", "triton")
    # A GPU's products of channels_last images read weights in either format, and pack only contiguous ones.
    as_it_lies = on_gpu and memory_format == torch.channels_last
    x, w = in_format(x, memory_format), in_format(w, dense_format(w) if as_it_lies else torch.contiguous_format)
    if residual is not None:
        residual = in_format(residual, memory_format)
    smooth = not function.piecewise_linear
    # A smooth activation is bias_act's. The gradient of scale computes the convolution back from y: a residual in y
    # would be in its way, and is added after.
    late = smooth or (residual is not None and scale is not None)
    if smooth:
        epilogue = (0, alpha, 1.0, -1.0)
    else:
        epilogue = (_ACTIVATIONS.index(act), alpha, gain, -1.0 if clamp is None else clamp)
    call = LayerCall(
        x, w, in_scale, scale, noise, None if smooth else b, None if late else residual,
        f, *sampling[:2], list(sampling.padding), *epilogue, fast,
    )  # fmt: skip
    differentiable = any(t is not None and t.requires_grad for t in call[:7]) or transforming()
    # What is recorded may be differentiated where it runs, whatever holds here.
    wanted = (differentiable and torch.is_grad_enabled()) or exporting()
    keep_mask = (epilogue[0] > 0 or epilogue[3] >= 0) and wanted
    keep_u = wanted and call.needs_sum
    y = operators.forward(*call.forward_arguments, keep_mask, keep_u)[0]
    if smooth:
        y = bias_act(y, b, act=act, alpha=alpha, gain=gain, clamp=clamp)
    return y if residual is None or not late else y + residual


def _check_device(name: str, operand: Tensor, x: Tensor) -> None:
    if operand.device != x.device:
        raise ValueError(f"{name} must be on x's device {x.device}, got {operand.device}")


def _check_images(x: Tensor, w: Tensor, groups: int, weight_name: str = "w") -> int:
    """The groups, as an int."""
    check_dense("x", x)
    check_dense(weight_name, w)
    if x.ndim != 4 or w.ndim != 4:
        raise ValueError(f"x and {weight_name} must be 4-dimensional, got {list(x.shape)} and {list(w.shape)}")
    _check_device(weight_name, w, x)
    (o, i, *_), count = sizes(w), as_int(groups)
    if count is None or count < 1 or o % count:
        raise ValueError(f"groups must divide {weight_name}'s {o} output channels, got {groups!r}")
    if sizes(x)[1] != i * count:
        raise ValueError(f"x must have shape [N, {i * count}, H, W] to match {weight_name}, got {list(x.shape)}")
    if 0 in sizes(w):
        raise ValueError(f"{weight_name} must not be empty, got shape {list(w.shape)}")
    return count


def _operands(
    x: Tensor, channels: int, size: tuple[int, int], noise: Tensor | None, b: Tensor | None, residual: Tensor | None
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """What the epilogue adds, checked: noise as [N or 1, 1, H', W'], all in x's dtype."""
    for name, operand in (("noise", noise), ("b", b), ("residual", residual)):
        if operand is not None:
            check_dense(name, operand, optional=True)
            _check_device(name, operand, x)
    if b is not None:
        if sizes(b) != (channels,):
            raise ValueError(f"b must have shape [O]=[{channels}], got {list(b.shape)}")
        b = b.to(x.dtype).contiguous()
    n = sizes(x)[0]
    expected = (n, channels, *size)
    if residual is not None:
        if sizes(residual) != expected:
            raise ValueError(f"residual must have the result's shape {list(expected)}, got {list(residual.shape)}")
        residual = residual.to(x.dtype)
    if noise is not None:
        missing = (1,) * (4 - noise.ndim)
        shape = (*missing, *sizes(noise))
        fits = all(have in (1, want) for have, want in zip(shape, (n, 1, *size), strict=False))
        if len(shape) != 4 or not fits:
            raise ValueError(f"noise must be broadcastable to [N, 1, H', W']={[n, 1, *size]}, got {list(noise.shape)}")
        noise = noise.to(x.dtype)[(None,) * len(missing)].expand(-1, -1, *size).contiguous()
    return noise, b, residual


def _refusal(operators: LayerOperators, detail: str) -> str | None:
    return "groups above 1 are composed of other operators" if detail == "groups" else None


def _example() -> Tensor:
    x, w = torch.linspace(-1, 1, 2 * 3 * 6 * 5).reshape(2, 3, 6, 5), torch.linspace(-0.5, 0.5, 36).reshape(4, 3, 3, 1)
    styles, f = torch.tensor([[1.0, 0.5, 2.0]] * 2), torch.tensor([0.25, 0.5, 0.25])
    return modulated_conv2d(x, w, styles, up=2, padding=[0, 1], resample_filter=f, b=torch.ones(4), act="lrelu")


OPERATORS["conv2d_layer"] = Operator(
    "conv2d_layer",
    _example,
    kernels=("cpu", "cuda", "triton"),
    register=LayerOperators,
    schemas=SCHEMAS,
    triton=triton_form.LAUNCHES,
    refusal=_refusal,
    defaults=(Default("cpu", ("native",), "bench/results/cpu_layers.json: Intel Xeon with AVX-512, 2 cores"),),
)
