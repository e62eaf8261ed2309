"""Convolution with up- or down-sampling by a FIR filter."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from fastgan.ops import upfirdn2d

BINOMIAL_TAPS = (1, 3, 3, 1)


def _four_paddings(padding: int | Sequence[int]) -> tuple[int, int, int, int]:
    values = [padding] if isinstance(padding, int) else list(padding)
    if len(values) == 1:
        values = values * 4
    elif len(values) == 2:
        values = [values[0], values[0], values[1], values[1]]
    if len(values) != 4:
        raise ValueError(f"padding must be an int, [x, y] or [x0, x1, y0, y1], got {padding!r}")
    return values[0], values[1], values[2], values[3]


def _conv2d(x: Tensor, w: Tensor, stride: int, padding: Sequence[int], groups: int) -> Tensor:
    px0, px1, py0, py1 = padding
    if px0 == px1 and py0 == py1 and min(px0, py0) >= 0:
        return F.conv2d(x, w, stride=stride, padding=(py0, px0), groups=groups)
    return F.conv2d(F.pad(x, [px0, px1, py0, py1]), w, stride=stride, groups=groups)


def _conv2d_up(x: Tensor, w: Tensor, f: Tensor | None, up: int, padding: Sequence[int], groups: int) -> Tensor:
    """Zero-insertion, true convolution with w, FIR, as a transposed convolution and a FIR pass over its full output."""
    o, i, kh, kw = w.shape
    px0, px1, py0, py1 = padding
    w = w.reshape(groups, o // groups, i, kh, kw).transpose(1, 2).reshape(groups * i, o // groups, kh, kw)
    x = F.conv_transpose2d(x, w, stride=up, groups=groups)  # [N, O, (H - 1)·up + kh, (W - 1)·up + kw]
    # The transposed convolution starts kw - 1 pixels before a valid one and leaves out the last up - 1 inserted zeros.
    crop = [px0 - (kw - 1), px1 - (kw - up), py0 - (kh - 1), py1 - (kh - up)]
    return upfirdn2d(x, f, padding=crop, gain=up**2)


def conv2d_resample(
    x: Tensor,
    w: Tensor,
    f: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: int | Sequence[int] = 0,
    groups: int = 1,
    flip_weight: bool = True,
) -> Tensor:
    """y = ↓down(w ∗ f ∗ x), or w ∗ f ∗ ↑up(x) with gain up².

    Up-sampling by a kernel is a transposed convolution, then the FIR; down-sampling is the FIR, then a strided
    convolution. A 1×1 kernel is applied at the lower of the two rates.

    Args:
        x: input [N, I, H, W].
        w: weight [O, I / groups, kh, kw].
        f: FIR filter, 1-D (used on both axes) or 2-D, sum 1. None: no filter.
        up: up-sampling factor.
        down: down-sampling factor; only one of up and down may exceed 1.
        padding: int, [x, y] or [x0, x1, y0, y1], pixels at the up-sampled rate; the FIR's own padding is added.
        groups: convolution groups.
        flip_weight: True: correlation, as torch.nn.functional.conv2d. False: true convolution.

    Returns:
        [N, O, H·up / down, W·up / down] for padding = k // 2 and an odd kernel; in x's memory format.

    Raises:
        ValueError: x or w is not 4-D, their channels do not fit, padding has a wrong length, both up and down exceed 1.

    Gradients: any order.
    Source: Karras et al. 2020 (StyleGAN2), appendix B.
    """
    if x.ndim != 4 or w.ndim != 4:
        raise ValueError(f"x and w must be 4-dimensional, got {list(x.shape)} and {list(w.shape)}")
    if x.shape[1] != w.shape[1] * groups:
        raise ValueError(f"x must have shape [N, {w.shape[1] * groups}, H, W] to match w, got {list(x.shape)}")
    if up > 1 and down > 1:
        raise ValueError(f"up and down must not both exceed 1, got {up} and {down}")
    px0, px1, py0, py1 = _four_paddings(padding)
    if f is not None:
        fh, fw = f.shape[0], f.shape[-1]
        if up > 1:
            px0, px1 = px0 + (fw + up - 1) // 2, px1 + (fw - up) // 2
            py0, py1 = py0 + (fh + up - 1) // 2, py1 + (fh - up) // 2
        if down > 1:
            px0, px1 = px0 + (fw - down + 1) // 2, px1 + (fw - down) // 2
            py0, py1 = py0 + (fh - down + 1) // 2, py1 + (fh - down) // 2
    pads = [px0, px1, py0, py1]
    pointwise = w.shape[2] == w.shape[3] == 1
    if not pointwise and flip_weight == (up > 1):  # a transposed convolution is a true one, conv2d a correlation
        w = w.flip([2, 3])

    if up == 1 and down == 1:
        return _conv2d(x, w, 1, pads, groups)
    if up == 1 and pointwise:
        return F.conv2d(upfirdn2d(x, f, down=down, padding=pads), w, groups=groups)
    if up == 1:
        return F.conv2d(upfirdn2d(x, f, padding=pads), w, stride=down, groups=groups)
    if pointwise:
        return upfirdn2d(F.conv2d(x, w, groups=groups), f, up=up, padding=pads, gain=up**2)
    return _conv2d_up(x, w, f, up, pads, groups)
