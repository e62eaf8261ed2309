"""Whether torch's convolutions of float32 images on CUDA may round to tf32: a setting of the whole process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

_SETTING = torch.backends.cudnn.conv  # pyright: ignore[reportAttributeAccessIssue]
_lock = threading.Lock()
_blocks = 0  # of all threads: the setting is "ieee" while there are any
_set_outside = ""


def allowed() -> bool:
    """Whether `torch.backends.cudnn.conv.fp32_precision` allows it, whatever blocks of ours run in other threads."""
    with _lock:
        return (_set_outside if _blocks else _SETTING.fp32_precision) == "tf32"


@contextmanager
def permission(granted: bool) -> Iterator[None]:
    """For the length of a block: tf32 is allowed, or it is not, whatever was set before."""
    before = _set("tf32" if granted else "ieee")
    try:
        yield
    finally:
        _set(before)


def _set(precision: str) -> str:
    """The setting <- precision, where blocks of `exactly` are open when the last of them ends; what it was."""
    global _set_outside
    with _lock:
        before = _set_outside if _blocks else _SETTING.fp32_precision
        if _blocks:
            _set_outside = precision
        else:
            _SETTING.fp32_precision = precision
        return before


def exactly(x: Tensor) -> AbstractContextManager[None]:
    """For the length of a call of torch's convolution of x: without tf32."""
    return _without() if _follows(x) else nullcontext()


def _follows(x: Tensor) -> bool:
    return x.is_cuda and x.dtype == torch.float32


@contextmanager
def _without() -> Iterator[None]:
    """The first block to begin turns tf32 off, the last to end turns it back on: those of several threads overlap, for
    a convolution leaves the interpreter's lock. One of another thread that might have used tf32 is then exact too."""
    global _blocks, _set_outside
    with _lock:
        if _blocks == 0:
            _set_outside = _SETTING.fp32_precision
            if _set_outside == "tf32":
                _SETTING.fp32_precision = "ieee"
        _blocks += 1
    try:
        yield
    finally:
        with _lock:
            _blocks -= 1
            if _blocks == 0 and _set_outside == "tf32":
                _SETTING.fp32_precision = "tf32"
