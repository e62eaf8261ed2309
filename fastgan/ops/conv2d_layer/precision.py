"""How exactly float32 convolutions are computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from fastgan.ops.scoped import Scoped

_exact = Scoped[bool]("fastgan.exact_convolutions", False)


@contextmanager
def exact_convolutions() -> Iterator[None]:
    """Compute the float32 convolutions of layers called inside term by term: neither Winograd's algorithm nor tf32.

    Outside, 3×3 convolutions of float32 images on a CPU may be Winograd's, which rounds more (docs/kernels.md has its
    error) and lets NaN, infinity or an outlier in one pixel reach results up to 3 pixels away instead of 1; and those
    on a GPU follow `torch.backends.cudnn.conv.fp32_precision`. The choice is made in the forward pass and its backward
    keeps it. What goes through cuDNN (contiguous images, the reference) follows torch's setting inside as well.
    """
    with _exact.holding(True):
        yield


def fast_products(x: Tensor) -> bool:
    """Whether a layer of x may round more than its formula needs."""
    if _exact.get() or x.dtype != torch.float32:
        return False
    if not x.is_cuda:
        return True
    return torch.backends.cudnn.conv.fp32_precision == "tf32"  # pyright: ignore[reportAttributeAccessIssue]
