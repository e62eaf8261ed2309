"""What is drawn for affine_warp; see test_fuzz_ops.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st

import fastgan
from tests.fuzz.arguments import DTYPES, images, odd_tensors, odd_values, tensors

# Turns, scales and shifts of all kinds: copies, parts of pixels, lines, points, and what cannot be reached.
_ENTRIES = st.sampled_from([0.0, 0.0, 1.0, 1.0, -1.0, 0.5, -0.75, 1.25, 3.0, -7.0, 0.3, 60.0, 1e5, 1e30, float("nan")])


@st.composite
def _arguments(draw: st.DrawFn) -> tuple[Any, dict[str, Any]]:
    x = draw(images())
    if not isinstance(x, torch.Tensor) or x.ndim != 4 or x.dtype not in DTYPES or draw(st.integers(0, 5)) == 0:
        anything = st.one_of(odd_tensors, odd_values, tensors((2, 2, 3)))
        return x, {"theta": draw(anything), "color": draw(anything)}
    n, channels = x.shape[:2]
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    theta = torch.tensor([draw(_ENTRIES) for _ in range(6 * min(n, 3))], dtype=dtype).view(-1, 2, 3)
    theta = theta[torch.arange(n) % 3] if n else theta.new_zeros(0, 2, 3)
    color = draw(tensors((n, channels, channels + 1))) if channels <= 4 and draw(st.booleans()) else None
    return x, {"theta": theta, "color": color}


CALLS = {fastgan.affine_warp: _arguments()}


def sizes(call: Callable, x: torch.Tensor, options: dict[str, Any]) -> tuple[float, float]:
    """Places between samples are rounded, which moves values by a part of the image's slope; a gradient sums as many
    as lie on a pixel.
    """
    color, largest = options["color"], x.detach().double().abs().max().item() if x.numel() else 0.0
    matrix = 1.0 if color is None or not color.numel() else 1 + color.detach().double().abs().sum(2).max().item()
    return 30 * largest * matrix, 30.0 * matrix * max(1, x.shape[-1] * x.shape[-2])
