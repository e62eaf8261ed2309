"""What is drawn for bias_act; see test_fuzz_ops.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st

import fastgan
from fastgan.ops.bias_act.activations import ACTIVATIONS
from tests.fuzz.arguments import DTYPES, images, numbers, odd_tensors, odd_values, optional, tensors

_OPTIONS = optional(
    dim=st.one_of(st.integers(-5, 5), odd_values),
    act=st.one_of(st.sampled_from(sorted(ACTIVATIONS)), st.sampled_from(sorted(ACTIVATIONS)), odd_values),
    alpha=numbers,
    gain=numbers,
    clamp=st.one_of(st.floats(0, 3), numbers),
)


@st.composite
def _arguments(draw: st.DrawFn) -> tuple[Any, dict[str, Any]]:
    x, options = draw(images((1, 4))), draw(_OPTIONS)
    dim = options.get("dim", 1)
    if isinstance(x, torch.Tensor) and type(dim) is int and -x.ndim <= dim < x.ndim and draw(st.booleans()):
        dtype = x.dtype if x.dtype in DTYPES and draw(st.booleans()) else torch.float32
        options["b"] = draw(tensors((x.shape[dim],), dtype=dtype))
    else:
        options["b"] = draw(st.one_of(st.none(), odd_tensors, odd_values, tensors((3,))))
    return x, options


CALLS = {fastgan.bias_act: _arguments()}


def sizes(call: Callable, x: torch.Tensor, options: dict[str, Any]) -> tuple[float, float]:
    gain = options.get("gain")
    return 0.0, 2.0 if gain is None else 2 * abs(float(gain))
