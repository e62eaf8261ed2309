"""Arguments of every public operator: the reference's result, or a ValueError or TypeError that names an argument."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st

import fastgan
from fastgan.ops.bias_act.activations import ACTIVATIONS
from tests.fuzz.limits import bounded

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
odd_numbers = st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e300, -1e300, 10**400, 1e-300, 1e20, 2**40])
odd_values = st.sampled_from(
    [
        None,
        "a",
        "2",
        b"1",
        [],
        {},
        (1, 2, 3),
        [1, "x"],
        object(),
        True,
        1j,
        2.5,
        torch.ones(2),
        np.float32(2),
        np.int64(2),
    ]
)
odd_tensors = st.sampled_from(
    [
        torch.ones(2, 3, 4, 4, dtype=torch.int64),
        torch.ones(2, 3, 4, 4, dtype=torch.complex64),
        torch.ones(2, 3, 4, 4).to(torch.float8_e4m3fn),
        torch.ones(3, 4).to_sparse(),
        torch.ones(2, 3, 4, 4, device="meta"),
        torch.tensor(1.5),
        torch.ones(2, dtype=torch.bool),
        torch.ones(3, requires_grad=True),
    ]
)
numbers = st.one_of(st.floats(-4, 4), st.integers(-3, 5), odd_numbers, odd_values)
flags = st.one_of(st.booleans(), st.booleans(), odd_values)


@st.composite
def tensors(draw: st.DrawFn, shape: tuple[int, ...], dtype: torch.dtype | None = None) -> torch.Tensor:
    """Random values, a few of them special, in one of many layouts."""
    dtype = dtype or draw(st.sampled_from(DTYPES))
    x = torch.randn(shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 99))), dtype=torch.float64)
    x = (x * draw(st.sampled_from([1.0, 1.0, 0.0, 30.0]))).to(dtype)
    layout = draw(st.sampled_from(["contiguous", "last", "expanded", "sliced", "transposed", "offset"]))
    if layout == "last" and len(shape) == 4:
        return x.contiguous(memory_format=torch.channels_last)
    if layout == "expanded" and shape and shape[0] > 0:
        return x[:1].expand(shape)
    if layout == "sliced" and shape:
        return torch.stack([x, torch.full_like(x, float("nan"))], dim=-1)[..., 0]
    if layout == "transposed" and len(shape) >= 2:
        return x.transpose(-1, -2).contiguous().transpose(-1, -2)
    if layout == "offset":
        return torch.cat([torch.zeros(1, dtype=dtype), x.flatten()])[1:].reshape(shape)
    return x


def shapes(low: int, high: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(st.integers(0, 9) | st.integers(1, 40), min_size=low, max_size=high).map(tuple)


factors = st.one_of(
    st.integers(1, 4), st.lists(st.integers(1, 4), min_size=2, max_size=2),
    st.lists(st.integers(-1, 5), max_size=3), st.sampled_from([0, -1, 512, 10**9, 2**63, 10**30]), odd_values,
)  # fmt: skip
paddings = st.one_of(
    st.integers(-3, 6), st.lists(st.integers(-6, 9), min_size=4, max_size=4), st.lists(st.integers(-3, 6), max_size=5),
    st.sampled_from([10**6, 2**31, 2**62, -(2**62), 10**30]), odd_values,
)  # fmt: skip


@st.composite
def filters(draw: st.DrawFn) -> Any:
    if draw(st.integers(0, 9)) == 0:
        return draw(st.one_of(odd_tensors, odd_values))
    shape = draw(st.one_of(shapes(1, 1), st.tuples(st.integers(1, 6), st.integers(1, 6)), shapes(0, 3)))
    return draw(tensors(shape, dtype=draw(st.sampled_from([torch.float32, torch.float32, torch.float64]))))


@st.composite
def images(draw: st.DrawFn, ranks: tuple[int, int] = (4, 4)) -> Any:
    if draw(st.integers(0, 14)) == 0:
        return draw(st.one_of(odd_tensors, odd_values))
    x = draw(tensors(draw(st.one_of(shapes(*ranks), shapes(*ranks), shapes(0, 5)))))
    return x if x.numel() <= 20_000 else x[:1, :1]


def optional(**arguments: st.SearchStrategy) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=arguments)


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


def compare(call: Callable, x: Any, options: dict[str, Any], provider: Callable[[], AbstractContextManager]) -> None:
    expected, gradient = attempt(call, x, options, fastgan.provider("reference"))
    if isinstance(x, torch.Tensor) and x.is_meta:
        return
    actual, same_gradient = attempt(call, x, options, provider())
    assert (actual is None) == (expected is None), (same_gradient, gradient)
    if expected is None:
        assert str(gradient) == str(same_gradient)
        return
    gain = options.get("gain")
    size = 2.0 if gain is None else 2 * abs(float(gain))
    if isinstance(options.get("f"), torch.Tensor):  # sums of positive and negative products may come to nothing
        factors = options.get("up", 1)
        size *= options["f"].double().abs().sum().item() ** (2 if options["f"].ndim == 1 else 1)
        size *= np.prod(np.broadcast_to(factors, 2)) if call is fastgan.upsample2d else 1
    largest = x.detach().double().nan_to_num(0, 0, 0).abs().max().item() if actual.numel() and x.numel() else 0.0
    assert_same(actual, expected, size=size * largest if "f" in options else 0.0)
    assert actual.is_contiguous() or actual.is_contiguous(memory_format=torch.channels_last)
    if gradient is not None:
        assert_same(same_gradient, gradient, size=size)


@settings.get_profile("fuzz")
@given(
    data=st.data(),
    x=images((1, 4)),
    options=optional(
        dim=st.one_of(st.integers(-5, 5), odd_values),
        act=st.one_of(st.sampled_from(sorted(ACTIVATIONS)), st.sampled_from(sorted(ACTIVATIONS)), odd_values),
        alpha=numbers,
        gain=numbers,
        clamp=st.one_of(st.floats(0, 3), numbers),
    ),
)
def test_bias_act(kernels: Callable, data: st.DataObject, x: Any, options: dict[str, Any]) -> None:
    dim = options.get("dim", 1)
    if isinstance(x, torch.Tensor) and type(dim) is int and -x.ndim <= dim < x.ndim and data.draw(st.booleans()):
        dtype = x.dtype if x.dtype in DTYPES and data.draw(st.booleans()) else torch.float32
        options["b"] = data.draw(tensors((x.shape[dim],), dtype=dtype))
    else:
        options["b"] = data.draw(st.one_of(st.none(), odd_tensors, odd_values, tensors((3,))))
    compare(fastgan.bias_act, x, options, kernels)


@pytest.mark.parametrize("call", [fastgan.upfirdn2d, fastgan.filter2d, fastgan.upsample2d, fastgan.downsample2d])
@settings.get_profile("fuzz")
@given(
    x=images(),
    f=filters(),
    options=optional(up=factors, down=factors, padding=paddings, flip_filter=flags, gain=numbers),
)
def test_resampling(kernels: Callable, call: Callable, x: Any, f: Any, options: dict[str, Any]) -> None:
    known = inspect.signature(call).parameters
    compare(call, x, {"f": f} | {name: value for name, value in options.items() if name in known}, kernels)


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
