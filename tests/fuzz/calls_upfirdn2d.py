"""What is drawn for upfirdn2d and the functions built on it; see test_fuzz_ops.py."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

import fastgan
from tests.fuzz.arguments import factors, filters, flags, images, numbers, optional, paddings

_OPTIONS = optional(up=factors, down=factors, padding=paddings, flip_filter=flags, gain=numbers)


@st.composite
def _arguments(draw: st.DrawFn, call: Callable) -> tuple[Any, dict[str, Any]]:
    x, f, options, known = draw(images()), draw(filters()), draw(_OPTIONS), inspect.signature(call).parameters
    return x, {"f": f} | {name: value for name, value in options.items() if name in known}


CALLS = {
    call: _arguments(call) for call in (fastgan.upfirdn2d, fastgan.filter2d, fastgan.upsample2d, fastgan.downsample2d)
}


def sizes(call: Callable, x: torch.Tensor, options: dict[str, Any]) -> tuple[float, float]:
    gain, f = options.get("gain"), options["f"]
    size = 2.0 if gain is None else 2 * abs(float(gain))
    if isinstance(f, torch.Tensor):  # sums of positive and negative products may come to nothing
        size *= f.double().abs().sum().item() ** (2 if f.ndim == 1 else 1)
        size *= np.prod(np.broadcast_to(options.get("up", 1), 2)) if call is fastgan.upsample2d else 1
    largest = x.detach().double().nan_to_num(0, 0, 0).abs().max().item() if x.numel() else 0.0
    return size * largest, size
