"""Arguments of operators to be drawn: those that fit, odd ones, and tensors of every layout."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

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
