"""Arguments of operators: checks of their values, sizes and memory formats, also while a graph is recorded."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastgan.ops.bias_act.activations import ACTIVATIONS, Activation

# The largest float32: kernels take numbers as float.
_LARGEST = torch.finfo(torch.float32).max


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
    if isinstance(value, Tensor) and value.requires_grad:
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


def activation(
    act: str, alpha: float | None, gain: float | None, clamp: float | None
) -> tuple[Activation, float, float, float | None]:
    """The activation that act names, with alpha and gain, its defaults for None, and clamp.

    Raises:
        ValueError, TypeError: act names none, alpha or gain is no number, clamp is neither None nor one of at least 0.
    """
    if not isinstance(act, str) or act not in ACTIVATIONS:
        raise ValueError(f"act must be one of {', '.join(ACTIVATIONS)}; got {act!r}")
    found = ACTIVATIONS[act]
    alpha = found.alpha if alpha is None else number("alpha", alpha)
    gain = found.gain if gain is None else number("gain", gain)
    clamp = None if clamp is None else number("clamp", clamp)
    if clamp is not None and clamp < 0:
        raise ValueError(f"clamp must be None or at least 0, got {clamp}")
    return found, alpha, gain, clamp


def check_dense(name: str, x: Any, optional: bool = False) -> None:
    """Raises TypeError unless x is a dense tensor of float64, float32, float16 or bfloat16."""
    if not isinstance(x, Tensor) or x.layout is not torch.strided or x.dtype not in _DTYPES:
        got = type(x).__name__
        if isinstance(x, Tensor):
            got = f"{x.dtype}" if x.layout is torch.strided else f"{x.dtype}, {x.layout}"
        raise TypeError(f"{name} must be a floating-point tensor{' or None' if optional else ''}, got {got}")


_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def check_real(name: str, x: Tensor) -> None:
    """Raises TypeError unless x is dense and its values are real numbers."""
    if x.layout is not torch.strided or x.is_complex():
        raise TypeError(f"{name} must be a dense tensor of real numbers, got {x.dtype}, {x.layout} on {x.device}")


def dense_format(x: Tensor, dim: int = 1) -> torch.memory_format:
    """Memory format in which an operator over channel axis `dim` will read and write x.

    channels_last is kept for 4-D tensors with dim 1; every other layout is treated as (or copied to) contiguous.
    """
    if x.ndim == 4 and dim == 1 and not x.is_contiguous() and _is_channels_last(x):
        return torch.channels_last
    return torch.contiguous_format


def layout_name(x: Tensor, dim: int = 1) -> str:
    """`dense_format` in a word."""
    return "channels_last" if dense_format(x, dim) == torch.channels_last else "nchw"


def has_format(x: Tensor) -> bool:
    """Whether contiguous and channels_last differ for x: not for one channel, one pixel, or other than four axes."""
    shape = sizes(x)
    return len(shape) == 4 and shape[1] > 1 and shape[2:] != (1, 1)


def in_format(x: Tensor, memory_format: torch.memory_format) -> Tensor:
    """x itself where it lies so, else a copy that does."""
    if memory_format == torch.contiguous_format:
        return x.contiguous()
    return x if _is_channels_last(x) else x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def joined(images: Sequence[Tensor], memory_format: torch.memory_format) -> Tensor:
    """The channels of images [N, C, H, W] one after the other, in this memory format: torch.cat gives up channels_last
    where one of the images has a single channel."""
    if memory_format == torch.channels_last:
        return torch.cat([image.permute(0, 2, 3, 1) for image in images], dim=3).permute(0, 3, 1, 2)
    return torch.cat(list(images), dim=1)


def stacked(parts: tuple[Tensor, ...] | list[Tensor]) -> Tensor:
    """The tensors along a new first axis, each in the memory format that it has."""
    if dense_format(parts[0]) == torch.channels_last:
        return torch.stack([part.permute(0, 2, 3, 1) for part in parts]).permute(0, 1, 4, 2, 3)
    return torch.stack(parts)


def _is_channels_last(x: Tensor) -> bool:
    """Whether x [N, C, H, W] is."""
    try:
        return x.is_contiguous(memory_format=torch.channels_last)
    except RuntimeError:  # vmap answers no question about memory formats: by the strides
        step, shape = 1, sizes(x)
    for axis in (1, 3, 2, 0):
        if x.stride(axis) != step and shape[axis] != 1:
            return False
        step *= shape[axis]
    return True


def autocasts(device: str) -> bool:
    """Whether autocast is on for tensors of this device type; meta knows none."""
    return device != "meta" and torch.is_autocast_enabled(device)
