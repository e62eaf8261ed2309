"""What the tests of all operators share: dtypes, memory layouts, how results are compared.

What they run of one operator is in cases_<operator>.py, found by its name (tests.ops.operators.cases_of):

- CALLS: functions of images [2, 3, H, W], a vector [3] and weights [4, 3, 3, 3], by name; twice
  differentiable.
- launch_all(leaf, dtype, device, cuda): launches every kernel that a dtype has; see tests.ops.coverage.
- device_call(device): a call of a small layer's size, its leaves and a cotangent of its result.
- large_call(x): images as large as x's [N, C, H, W], at no more memory than they take, for tensors above 2^31
  elements.
"""

from __future__ import annotations

import torch
from torch import Tensor

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
DTYPE_IDS = ["fp64", "fp32", "fp16", "bf16"]
FORMATS = ["contiguous", "channels_last", "strided"]


def arranged(x: Tensor, memory_format: str) -> Tensor:
    """x with the same values in another memory layout."""
    if memory_format == "channels_last" and x.ndim == 4:
        return x.contiguous(memory_format=torch.channels_last)
    if memory_format == "strided":
        return torch.stack([x, torch.full_like(x, float("nan"))], dim=-1)[..., 0]  # every other element is poison
    if memory_format == "unaligned":  # one element beyond the 16 bytes that an allocation begins at
        return torch.cat([x.flatten()[:1], x.flatten()])[1:].view(x.shape)
    return x.contiguous()


def poison_allocator(x: Tensor) -> None:
    """Leave NaN in the memory that the next allocations of x's size will get."""
    for factor in (1, 2, 4):
        torch.full((max(1, x.numel() * factor),), float("nan"), dtype=x.dtype)


def assert_close_to(actual: Tensor, exact: Tensor, reference: Tensor | None = None) -> None:
    """Compare with a float64 result.

    float64 near-exact; float32 to 1e-5 of the largest value; halves at most twice the reference's own error, plus one
    rounding of the largest value.
    """
    assert actual.shape == exact.shape
    if actual.numel() == 0:
        return
    assert actual.isfinite().all(), "not every output element was written"
    scale = exact.abs().max().clamp_min(1e-3)
    error = (actual.double() - exact).abs().max()
    if actual.dtype == torch.float64:
        assert error <= 1e-12 * scale
    elif actual.dtype == torch.float32:
        assert error <= 1e-5 * scale
    else:
        own = (reference.double() - exact).abs().max() if reference is not None else 0.0
        assert error <= 2 * own + torch.finfo(actual.dtype).eps * scale
