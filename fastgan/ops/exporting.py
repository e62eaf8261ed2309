"""torch.jit.trace, torch.export and ONNX: graphs that leave this process."""

from __future__ import annotations

import torch
from torch import Tensor


def tracing() -> bool:
    """Whether torch.jit.trace records."""
    return torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]


def exporting() -> bool:
    """Whether a graph is recorded that will run elsewhere: by torch.jit.trace, torch.export or torch.onnx.export."""
    return torch.compiler.is_exporting() or tracing()


def sizes(x: Tensor) -> torch.Size:
    """x.shape in plain ints, for checks and what is constant: under torch.jit.trace, x.shape holds recorded tensors."""
    shape = x.shape
    if not shape or not isinstance(shape[0], Tensor):
        return shape
    state = torch._C._get_tracing_state()
    torch._C._set_tracing_state(None)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        return x.shape
    finally:
        torch._C._set_tracing_state(state)  # pyright: ignore[reportAttributeAccessIssue]
