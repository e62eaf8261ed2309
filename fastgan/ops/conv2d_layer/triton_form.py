"""The raw operators of a convolution layer by Triton's kernels: allocates what they write, and launches them.

Images are read and written as they lie in memory. The weights are wanted channels_last; others are copied.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fastgan.ops.arguments import dense_format
from fastgan.ops.bias_act.activations import mask_bytes
from fastgan.ops.conv2d_layer.passes import Convolution


def _format(*images: Tensor | None) -> torch.memory_format:
    """Of all images of a call: one that is channels_last alone decides."""
    found = [dense_format(x) for x in images if x is not None]
    return torch.channels_last if torch.channels_last in found else torch.contiguous_format


def _sums_type(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _empty_mask(y: Tensor, keep_mask: bool) -> Tensor:
    return torch.empty([mask_bytes(y.numel()) if keep_mask else 0], dtype=torch.uint8, device=y.device)


def _epilogue(
    u: Tensor,
    scale: Tensor | None,
    noise: Tensor | None,
    b: Tensor | None,
    residual: Tensor | None,
    act: int,
    alpha: float,
    gain: float,
    clamp: float,
    keep_mask: bool,
) -> tuple[Tensor, Tensor]:
    y = torch.empty_like(u, memory_format=_format(u, residual))
    mask = _empty_mask(y, keep_mask)
    operands = {"scale": scale, "noise": noise, "b": b, "residual": residual}
    _finish(u, operands, y, mask, (act, alpha, gain, clamp))
    return y, mask


def _finish(
    u: Tensor, operands: dict[str, Tensor | None], y: Tensor, mask: Tensor, formula: tuple[int, float, float, float]
) -> None:
    """y, and the mask where it is not empty, from the convolution's result u."""
    from fastgan.kernels import conv2d_launch

    last = _format(y) == torch.channels_last
    if y.numel():
        with torch.cuda.device_of(y):
            conv2d_launch.conv2d_epilogue(u, operands, y, mask if mask.numel() else None, last, formula).launch()


def _epilogue_backward(
    dy: Tensor,
    mask: Tensor | None,
    y: Tensor | None,
    scale: Tensor | None,
    noise: Tensor | None,
    b: Tensor | None,
    act: int,
    alpha: float,
    gain: float,
    clamp: float,
    need_scale: bool,
    need_noise: bool,
    need_b: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    if not need_scale:
        y = noise = b = None
    tensors = {"dy": dy, "mask": mask if mask is not None and mask.numel() else None}
    tensors |= {"y": y, "scale": scale, "noise": noise, "b": b}
    return _differentiate(tensors, (act, alpha, gain, clamp), need_scale, need_noise, need_b)


def _style_gradient(dz: Tensor, x: Tensor, styles: Tensor) -> tuple[Tensor, Tensor]:
    dx, dstyles, _, _ = _differentiate({"dy": dz, "u": x, "scale": styles}, (0, 0.0, 1.0, -1.0), True, False, False)
    return dx, dstyles


def _differentiate(
    tensors: dict[str, Tensor | None],
    formula: tuple[int, float, float, float],
    need_scale: bool,
    need_noise: bool,
    need_b: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """dy through the epilogue, and the sums of g·u over pixels, of g over channels and over the rest."""
    from fastgan.kernels import conv2d_launch, launch

    dy = tensors["dy"]
    assert dy is not None
    layout, (n, channels, height, width) = _format(dy, tensors["y"] if "y" in tensors else tensors["u"]), dy.shape
    du, dtype = torch.empty_like(dy, memory_format=layout), _sums_type(dy)
    dscale = dy.new_zeros([n, channels] if need_scale else [0], dtype=dtype)
    dnoise = dy.new_zeros([n, 1, height, width] if need_noise else [0])
    db = dy.new_zeros([channels] if need_b else [0])
    if not dy.numel():
        return du, dscale, dnoise, db
    walk = conv2d_launch.Walk.of(dy, layout == torch.channels_last)
    # Partial sums [outer, what they are of, parts], and where their totals go.
    totals = {}
    if need_scale:
        totals["products"] = dy.new_empty([1, n * channels, walk.chunks], dtype=dtype), dscale
    if need_noise:
        totals["noise_sums"] = dy.new_empty([1, n * height * width, walk.channel_blocks], dtype=dtype), dnoise
    if need_b:
        totals["sums"] = dy.new_empty([n, channels, walk.chunks], dtype=dtype), db
    # Those of a single part are the totals themselves.
    partial = {
        name: total if parts.shape[0] * parts.shape[2] == 1 else parts for name, (parts, total) in totals.items()
    }
    with torch.cuda.device_of(dy):
        conv2d_launch.conv2d_epilogue_backward(walk, tensors | {"du": du} | partial, formula).launch()
        for name, (parts, total) in totals.items():
            if partial[name] is parts:
                launch.bias_act_sum(parts, total).launch()
    return du, dscale, dnoise, db


def _conv2d(
    x: Tensor,
    w: Tensor,
    in_scale: Tensor | None,
    stride: int,
    transposed: bool,
    padx0: int,
    padx1: int,
    pady0: int,
    pady1: int,
    scale: Tensor | None,
    noise: Tensor | None,
    b: Tensor | None,
    residual: Tensor | None,
    act: int,
    alpha: float,
    gain: float,
    clamp: float,
    keep_mask: bool,
    tf32: bool,
) -> tuple[Tensor, Tensor]:
    from fastgan.kernels import conv2d_launch

    layout = _format(x, residual)
    convolution = Convolution(stride, transposed, (padx0, padx1, pady0, pady1), tf32)
    size = convolution.output_size((x.shape[2], x.shape[3]), (w.shape[2], w.shape[3]))
    y = torch.empty([len(x), len(w), *size], dtype=x.dtype, device=x.device, memory_format=layout)
    mask = _empty_mask(y, keep_mask)
    if not y.numel():
        return y, mask
    geometry = conv2d_launch.Geometry(stride, transposed, (padx0, pady0))
    last, formula = layout == torch.channels_last, (act, alpha, gain, clamp)
    operands = {"scale": scale, "noise": noise, "b": b, "residual": residual}
    w = w.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
    product = y, mask if keep_mask else None, last, geometry
    apart = keep_mask and not conv2d_launch.packs_mask(y, geometry, last)
    if apart:  # bytes of the mask would be shared by programs: the epilogue is a pass of its own
        product = torch.empty_like(y, dtype=_sums_type(y)), None, last, geometry
    with torch.cuda.device_of(x):
        if apart:
            nothing = dict.fromkeys(operands)
            conv2d_launch.conv2d(x, w, in_scale, nothing, *product, (0, 0.0, 1.0, -1.0), tf32).launch()
        else:
            conv2d_launch.conv2d(x, w, in_scale, operands, *product, formula, tf32).launch()
    if apart:
        _finish(product[0], operands, y, mask, formula)
    return y, mask


def _weight_gradient(
    x: Tensor,
    dy: Tensor,
    in_scale: Tensor | None,
    kh: int,
    kw: int,
    stride: int,
    transposed: bool,
    padx0: int,
    padx1: int,
    pady0: int,
    pady1: int,
    tf32: bool,
) -> Tensor:
    from fastgan.kernels import conv2d_launch

    outputs, inputs = dy.shape[1], x.shape[1]
    if not x.numel() or not dy.numel():
        return x.new_zeros([outputs, inputs, kh, kw])
    dw = x.new_empty([outputs, inputs, kh, kw])
    geometry = conv2d_launch.Geometry(stride, transposed, (padx0, pady0))
    still, moved = (x, dy) if transposed else (dy, x)
    slices = conv2d_launch.Slices.of(still, moved, kh * kw, tf32)
    partial = x.new_empty([slices.number, outputs, kh, kw, inputs], dtype=_sums_type(x))
    last = _format(x, dy) == torch.channels_last
    with torch.cuda.device_of(x):
        conv2d_launch.conv2d_weight_gradient(slices, still, moved, in_scale, partial, last, geometry, tf32).launch()
        conv2d_launch.conv2d_weight_gradient_sum(partial, dw).launch()
    return dw


# Torch operators of schemas.py, less their provider -> what launches the kernels; Winograd's are for CPUs.
LAUNCHES = {
    "conv2d_epilogue": _epilogue,
    "conv2d_epilogue_backward": _epilogue_backward,
    "conv2d_style_gradient": _style_gradient,
    "conv2d": _conv2d,
    "conv2d_weight_gradient": _weight_gradient,
}
