"""Arguments of every public operator: the reference's result, or a ValueError or TypeError that names an argument.

What is drawn for an operator is in tests/fuzz/calls_<operator>.py, found by its name:

- CALLS: public function -> strategy of (x, other arguments);
- sizes(call, x, options): what values of the result and of the gradient of x are sums of, for their rounding; None for
  a gradient that rounding may change altogether.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st

import fastgan
from fastgan.ops.operator import OPERATORS
from tests.fuzz.arguments import filters, flags, numbers, odd_numbers, odd_tensors, odd_values, optional
from tests.fuzz.limits import bounded


def calls_of(op: str) -> ModuleType:
    return importlib.import_module(f"tests.fuzz.calls_{op}")


CALLS = [(op, call) for op in OPERATORS for call in calls_of(op).CALLS]


def attempt(call: Callable, x: Any, options: dict[str, Any], provider: AbstractContextManager) -> tuple[Any, Any]:
    """(result, gradient), or (None, error); only our errors are let through."""
    x = x.detach().requires_grad_() if isinstance(x, torch.Tensor) and x.is_floating_point() and x.is_leaf else x
    try:
        with bounded(), provider:
            y = call(x, **options)
            if isinstance(y, torch.Tensor) and y.requires_grad and y.numel() and not y.is_meta:
                return y, torch.autograd.grad(y, x, torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y))[0]
            return y, None
    except (ValueError, TypeError) as error:
        named = [*inspect.signature(call).parameters, "provider"]
        assert re.match(rf"({'|'.join(named)})\b", str(error)), f"no argument is named: {error}"
        return None, error
    except RuntimeError as error:  # a result that would be too large for any machine: nothing else may be said
        assert re.search("out of memory|can't allocate memory", str(error)), error
        reject()


def assert_same(actual: torch.Tensor, expected: torch.Tensor, size: float = 0.0) -> None:
    """Equal but for rounding; `size` is what the values are differences of, as 1 - tanh² is of ones."""
    assert actual.shape == expected.shape and actual.dtype == expected.dtype and actual.device == expected.device
    if actual.is_meta or not actual.numel():
        return
    if actual.numel() > 2**20:  # a million of them say as much, at a hundredth of the memory
        actual, expected = (t.flatten()[:: t.numel() // 2**20] for t in (actual, expected))
    # Sums of some hundred products in another order; halves are rounded once by each.
    relative = {torch.float64: 1e-11, torch.float32: 3e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}[actual.dtype]
    finite = expected.double()[expected.isfinite()].abs()
    scale = max(size, finite.max().item() if finite.numel() else 0.0)
    torch.testing.assert_close(
        actual.double(), expected.double(), rtol=relative, atol=relative * scale + 1e-30, equal_nan=True
    )


def compare(
    op: str, call: Callable, x: Any, options: dict[str, Any], provider: Callable[[], AbstractContextManager]
) -> None:
    expected, gradient = attempt(call, x, options, fastgan.provider("reference"))
    if isinstance(x, torch.Tensor) and x.is_meta:
        return
    actual, same_gradient = attempt(call, x, options, provider())
    assert (actual is None) == (expected is None), (same_gradient, gradient)
    if expected is None:
        assert str(gradient) == str(same_gradient)
        return
    size, of_gradient = calls_of(op).sizes(call, x, options)
    assert_same(actual, expected, size)
    assert actual.is_contiguous() or actual.is_contiguous(memory_format=torch.channels_last)
    if gradient is not None and of_gradient is not None:
        assert_same(same_gradient, gradient, of_gradient)


@pytest.mark.parametrize(("op", "call"), CALLS, ids=[call.__name__ for _, call in CALLS])
@settings.get_profile("fuzz")
@given(data=st.data())
def test_arguments(kernels: Callable, op: str, call: Callable, data: st.DataObject) -> None:
    x, options = data.draw(calls_of(op).CALLS[call])
    compare(op, call, x, options, kernels)


@settings.get_profile("fuzz")
@given(
    f=st.one_of(
        filters(), odd_tensors, odd_values, numbers, st.lists(st.floats(-3, 3) | odd_numbers, max_size=12),
        st.lists(st.lists(st.floats(-3, 3), max_size=3), max_size=3),
    ),
    options=optional(
        device=st.one_of(st.sampled_from(["cpu", "meta", "gpu", "cpu:a"]), odd_values),
        normalize=flags, flip_filter=flags, gain=numbers, separable=flags,
    ),
)  # fmt: skip
def test_setup_filter(f: Any, options: dict[str, Any]) -> None:
    made, _ = attempt(fastgan.setup_filter, f, options, fastgan.provider("reference"))
    if made is not None:
        assert made.dtype == torch.float32 and made.ndim in (1, 2) and made.numel()
        assert made.is_meta or made.isfinite().all()
