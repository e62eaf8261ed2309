"""What is drawn for convolution layers; see test_fuzz_ops.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st

import fastgan
from tests.fuzz.arguments import filters, flags, images, odd_tensors, odd_values, optional, tensors

_NUMBERS = st.one_of(
    *[st.floats(-2, 2), st.integers(-2, 3)] * 4, st.sampled_from([float("nan"), 1e300, 10**400]), odd_values
)
_FACTORS = st.one_of(*[st.integers(1, 3), st.just(1)] * 4, st.sampled_from([0, -1, [2, 2]]), odd_values)
_OPTIONS = optional(
    up=_FACTORS,
    down=_FACTORS,
    padding=st.one_of(st.integers(0, 2), st.integers(-2, 4), st.lists(st.integers(-2, 4), max_size=5), odd_values),
    flip_weight=flags,
    act=st.one_of(st.sampled_from(["linear", "lrelu", "relu", "swish", "tanh"] * 5 + ["gelu", None, 1])),
    alpha=_NUMBERS,
    gain=_NUMBERS,
    clamp=st.one_of(st.floats(0, 3), _NUMBERS),
)


def _some(fitting: torch.Tensor | None) -> st.SearchStrategy:
    """An operand that fits, mostly."""
    return st.sampled_from([fitting] * 24 + [torch.ones(2, 2, 2), torch.ones(3, dtype=torch.int64), "b", 1.0])


@st.composite
def _arguments(draw: st.DrawFn, modulated: bool) -> tuple[Any, dict[str, Any]]:
    whole = tensors(draw(st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 12), st.integers(1, 12))))
    x, options = draw(whole if draw(st.integers(0, 9)) else images()), draw(_OPTIONS)
    channels, k = draw(st.sampled_from([1, 3, 8, 20])), draw(st.sampled_from([(1, 1), (3, 3), (3, 3), (2, 3)]))
    inputs = x.shape[1] if isinstance(x, torch.Tensor) and x.ndim == 4 else 3
    options["weight" if modulated else "w"] = draw(
        st.one_of(tensors((channels, inputs, *k)), tensors((channels, inputs, *k)), odd_tensors)
        if draw(st.integers(0, 9)) == 0
        else tensors((channels, inputs, *k))
    )
    if draw(st.booleans()):
        options["resample_filter" if modulated else "f"] = draw(st.one_of(st.none(), filters()))
    if draw(st.booleans()):
        options["b"] = draw(_some(draw(tensors((channels,)))))
    if modulated:
        batch = len(x) if isinstance(x, torch.Tensor) and x.ndim else 1
        options["styles"] = draw(_some(draw(tensors((batch, inputs)))))
        options |= draw(optional(demodulate=flags, noise=_some(torch.tensor([[0.5]])), input_gain=_some(None)))
    else:
        options |= draw(optional(groups=st.sampled_from([1] * 9 + [2, 0, "a", None])))
    return x, options


CALLS = {
    fastgan.conv2d_resample: _arguments(modulated=False),
    fastgan.modulated_conv2d: _arguments(modulated=True),
}


def sizes(call: Callable, x: torch.Tensor, options: dict[str, Any]) -> tuple[float, float | None]:
    """A layer rounds as often as its provider has passes: only what it computes with is compared to the last digits."""

    def largest(t: Any) -> float:
        return t.detach().double().abs().max().item() if isinstance(t, torch.Tensor) and t.numel() else 1.0

    w = options.get("weight", options.get("w"))
    sums = largest(w.detach().double().square().sum(dim=[1, 2, 3]).sqrt())
    f = options.get("resample_filter", options.get("f"))
    taps = 1.0 if f is None else f.double().abs().sum().item() ** (2 if f.ndim == 1 else 1)
    gain = abs(float(options["gain"])) if options.get("gain") is not None else 1.5
    up = options.get("up", 1)
    styles, demodulated = largest(options.get("styles")), options.get("demodulate", "styles" in options)
    one = (1.0 if demodulated else sums * styles) * (float(up) ** 2) * taps * gain
    alpha = options.get("alpha")
    one *= max(1.0, abs(float(alpha))) if alpha is not None else 1.0
    size = max(one * largest(x) * (sums if demodulated else 1), largest(options.get("b")) * gain)
    kinks = options.get("act", "linear") in ("relu", "lrelu") or options.get("clamp") is not None
    exact = x.dtype in (torch.float64, torch.float32) and not kinks
    return size, one * max(sums, 1.0) * (styles if demodulated else 1.0) if exact else None
