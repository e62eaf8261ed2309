"""What is drawn for filtered_lrelu; see test_fuzz_ops.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st

import fastgan
from tests.fuzz.arguments import factors, filters, flags, images, numbers, odd_values, optional, paddings, tensors

_OPTIONS = optional(
    fu=filters(),
    fd=filters(),
    b=st.one_of(tensors((3,)), tensors((1,)), odd_values),
    up=factors,
    down=factors,
    padding=paddings,
    gain=numbers,
    slope=numbers,
    clamp=numbers,
    flip_filter=flags,
)


@st.composite
def _arguments(draw: st.DrawFn) -> tuple[Any, dict[str, Any]]:
    return draw(images()), draw(_OPTIONS)


CALLS = {fastgan.filtered_lrelu: _arguments()}


def sizes(call: Callable, x: torch.Tensor, options: dict[str, Any]) -> tuple[float, float]:
    scale = 2.0 * max(abs(float(options.get("gain") or 1.5)), 1e-30) * max(abs(float(options.get("slope") or 1)), 1.0)
    for name in ("fu", "fd"):  # sums of positive and negative products may come to nothing
        f = options.get(name)
        if isinstance(f, torch.Tensor):
            scale *= f.double().abs().sum().item() ** (2 if f.ndim == 1 else 1)
    scale *= float(options.get("up") or 1) ** 2
    largest = x.detach().double().nan_to_num(0, 0, 0).abs().max().item() if x.numel() else 0.0
    b = options.get("b")
    if isinstance(b, torch.Tensor) and b.numel():
        largest += b.detach().double().nan_to_num(0, 0, 0).abs().max().item()
    return scale * largest, scale
