"""What convolutions are known by where `fastgan calibrate` compares ways to compute them: layout, kind and size."""

from __future__ import annotations

import torch
from torch import Tensor

from fastgan.ops.arguments import layout_name, sizes
from fastgan.ops.fir import Sampling
from fastgan.ops.verdicts import Size


def layer(x: Tensor, w: Tensor, modulated: bool, sampling: Sampling, fast: bool) -> tuple[str, str, Size]:
    """A whole layer of x [N, I, H, W] and w [O, I, kh, kw]; its size is (I, O, N·H·W).

    Args:
        x, w: image and weight.
        modulated: whether the input is scaled.
        sampling: see there.
        fast: as `providers.fast_products` has it.
    """
    (o, i, kh, kw), (n, _, height, width) = sizes(w), sizes(x)
    kind = f"{'modulated ' if modulated else ''}{kh}x{kw} up {sampling.up} down {sampling.down}"
    return layout_name(x), kind + _exactly(x, fast), (i, o, n * height * width)


def convolution(kind: str, x: Tensor, w: Tensor, fast: bool) -> tuple[str, str, Size]:
    """A convolution inside a layer, `kind` in words."""
    (o, i, kh, kw), (n, _, height, width) = w.shape, x.shape
    return layout_name(x), f"{kh}x{kw} {kind}{_exactly(x, fast)}", (i, o, max(n * height * width, 1))


def _exactly(x: Tensor, fast: bool) -> str:
    """Float32 without tf32 and Winograd's algorithm is computed by other kernels."""
    return " exactly" if x.dtype == torch.float32 and not fast else ""
