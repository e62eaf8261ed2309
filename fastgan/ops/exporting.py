"""torch.jit.trace, torch.export and ONNX: graphs that leave this process."""

from __future__ import annotations

import torch
from torch import Tensor


def exporting() -> bool:
    """Whether a graph is recorded that will run elsewhere: by torch.jit.trace, torch.export or torch.onnx.export."""
    return torch.compiler.is_exporting() or torch.jit.is_tracing()


def sizes(x: Tensor) -> torch.Size:
    """x.shape in plain ints, for checks and what is constant: under torch.jit.trace, x.shape holds recorded tensors."""
    if not torch.jit.is_tracing():
        return x.shape
    state = torch._C._get_tracing_state()
    torch._C._set_tracing_state(None)
    try:
        return x.shape
    finally:
        torch._C._set_tracing_state(state)
