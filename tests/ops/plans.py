"""Asks CUDA's convolutions for a form of their tiles: small calls then run what otherwise much work alone runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

FORMS = ("by shape", "warpgroup", "warpgroup64", "wide", "small", "narrow")  # ConvForm of csrc/conv2d_layer/conv2d.h
_PROVIDERS = ("native", "shim")
_has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key


@contextmanager
def planned(form: str = "by shape", splits: int = 0, stages: int = 0) -> Iterator[None]:
    """All convolutions of this process have such tiles, where there are any for their dtype, on this GPU.

    Args:
        form: one of FORMS.
        splits: blocks that share the sum of a tile, 0 for what suits the shape.
        stages: chunks of a sum that are in shared memory at once, 0 for what suits the GPU.
    """

    def ask(*plan: int) -> None:
        for provider in _PROVIDERS:
            name = f"conv2d_plan_{provider}"
            if hasattr(torch.ops.fastgan, name) and _has_kernel(f"fastgan::{name}", "CompositeExplicitAutograd"):
                getattr(torch.ops.fastgan, name)(*plan)

    ask(FORMS.index(form), splits, stages)
    try:
        yield
    finally:
        ask(0, 0, 0)
