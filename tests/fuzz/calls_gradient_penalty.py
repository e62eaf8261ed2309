"""What is drawn for squared_norm and interpolate; see test_fuzz_ops.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st

import fastgan
from tests.fuzz.arguments import images, odd_tensors, odd_values, tensors


@st.composite
def _norm_arguments(draw: st.DrawFn) -> tuple[Any, dict[str, Any]]:
    return draw(images((1, 5))), {}


@st.composite
def _points_arguments(draw: st.DrawFn) -> tuple[Any, dict[str, Any]]:
    x, fits = draw(images((1, 5))), draw(st.integers(0, 4)) > 0
    if not isinstance(x, torch.Tensor) or x.dtype not in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        fits = False
    shape, dtype = (tuple(x.shape), x.dtype) if fits else ((2, 3), torch.float32)
    anything = st.one_of(odd_tensors, odd_values, tensors((3,)), tensors(shape))
    fake = draw(tensors(shape, dtype=dtype) if fits else anything)
    epsilon = draw(tensors(shape[:1]) if fits and draw(st.integers(0, 4)) else anything)
    return x, {"fake": fake, "epsilon": epsilon}


CALLS = {fastgan.squared_norm: _norm_arguments(), fastgan.interpolate: _points_arguments()}


def sizes(call: Callable, x: torch.Tensor, options: dict[str, Any]) -> tuple[float, float]:
    if call is fastgan.squared_norm:
        return 0.0, 0.0
    epsilon, largest = (
        max((t.detach().double().abs().max().item() for t in some if t.numel()), default=0.0)
        for some in ([options["epsilon"]], [x, options["fake"]])
    )
    return 2 * largest * (1 + epsilon), 1 + epsilon
