"""Whether Triton's kernels can serve. Triton itself is imported where one of them is first launched."""

from __future__ import annotations

import importlib.util

import torch

_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)

# None where Triton is installed, else the reason.
unavailable = None if importlib.util.find_spec("triton") else "triton is not installed: pip install 'fastgan[triton]'"


def refusal(device: str, dtype: torch.dtype) -> str | None:
    """Why no Triton kernel can serve tensors of this device type and dtype; None where one can."""
    if unavailable is not None:
        return unavailable
    if device != "cuda":
        return f"x is on {device}, Triton kernels need a CUDA tensor"
    if dtype not in _DTYPES:
        return f"the Triton kernels have no {dtype} form"
    return None
