"""Checks of arguments that operators share."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
import torch

from fastgan.ops.exporting import tracing

# The largest float32: kernels take numbers as float.
_LARGEST = torch.finfo(torch.float32).max


def as_int(value: Any) -> Any:
    """The value as an int, or None if it is none.

    Args:
        value: Python's, NumPy's, that of an integer tensor of no dimensions, or, under torch.compile, a symbolic one.
            A bool is no int, nor is 2.0.
    """
    if type(value) is int or isinstance(value, torch.SymInt):
        return value
    if isinstance(value, bool) or getattr(value, "dtype", None) in _BOOLS or getattr(value, "ndim", 0) > 0:
        return None
    try:
        index = operator.index(value)
    except TypeError:
        return None
    return int(value) if tracing() else index  # int() warns that the trace keeps the number


def number(name: str, value: Any) -> float:
    """The value as a float.

    Args:
        name: of the argument.
        value: a Python, NumPy or zero-dimensional torch number; under torch.compile a symbolic one.

    Raises:
        TypeError: it is no number.
        ValueError: it is NaN, infinite or larger than float32 holds, or a tensor that wants a gradient: it gets none.
    """
    result = value if type(value) is float else _as_float(name, value)
    if not abs(result) <= _LARGEST:
        raise ValueError(f"{name} must be finite and within float32, got {result}")
    return result


def _as_float(name: str, value: Any) -> float:
    if isinstance(value, torch.Tensor) and value.requires_grad:
        raise ValueError(f"{name} must not require grad, for it gets no gradient: multiply by it instead")
    try:
        if isinstance(value, (bool, str, bytes)) or getattr(value, "dtype", None) in _BOOLS:
            raise TypeError
        if getattr(value, "ndim", 0) > 0:
            raise TypeError
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}") from None
    except OverflowError:
        return math.inf


_BOOLS = (torch.bool, np.dtype(bool))


def flag(name: str, value: Any) -> bool:
    """The value as a bool.

    Raises:
        TypeError: it is neither a bool, NumPy's too, nor an int.
    """
    if not isinstance(value, (int, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {type(value).__name__}")
    return bool(value)


def check_dense(name: str, x: Any, optional: bool = False) -> None:
    """Raises TypeError unless x is a dense tensor of float64, float32, float16 or bfloat16."""
    if not isinstance(x, torch.Tensor) or x.layout is not torch.strided or x.dtype not in _DTYPES:
        got = type(x).__name__
        if isinstance(x, torch.Tensor):
            got = f"{x.dtype}" if x.layout is torch.strided else f"{x.dtype}, {x.layout}"
        raise TypeError(f"{name} must be a floating-point tensor{' or None' if optional else ''}, got {got}")


_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def check_real(name: str, x: torch.Tensor) -> None:
    """Raises TypeError unless x is dense and its values are real numbers."""
    if x.layout is not torch.strided or x.is_complex():
        raise TypeError(f"{name} must be a dense tensor of real numbers, got {x.dtype}, {x.layout} on {x.device}")
