"""The C allocator's settings, which element-wise operators on a CPU depend on more than on their arithmetic."""

from __future__ import annotations

import ctypes
import importlib
import platform

# Names of <malloc.h>, whose values are part of glibc's binary interface.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_OLD_LIMIT = 1 << 25  # the largest mmap threshold that glibc before 2.35 takes

LARGEST_THRESHOLD = 2**31 - 1  # mallopt takes an int


def tune_cpu_allocator(mmap_threshold: int = 1 << 30, trim_threshold: int = LARGEST_THRESHOLD) -> bool:
    """Make glibc keep freed memory in the process, so that a new tensor does not fault in its pages anew.

    By default every allocation above 32 MiB, and many above 128 KiB, is mapped and unmapped by the kernel; a fresh
    32 MiB tensor then costs several times what filling it does. The price is resident memory: what was once used stays
    with the process. Other C libraries are left alone. The setting lasts for the life of the process.

    Args:
        mmap_threshold: bytes from which an allocation gets a mapping of its own, returned to the system when freed.
            glibc before 2.35 takes at most 32 MiB, and gets that.
        trim_threshold: free bytes at the top of the heap above which they are returned to the system.

    Returns:
        True if both settings were taken; False where the C library is not glibc.

    Raises:
        ValueError: a threshold outside [0, 2^31 - 1].
    """
    for name, value in (("mmap_threshold", mmap_threshold), ("trim_threshold", trim_threshold)):
        if not 0 <= value <= LARGEST_THRESHOLD:
            raise ValueError(f"{name} must be between 0 and 2^31 - 1 bytes, got {value}")
    try:
        apply = importlib.import_module("fastgan._host").set_allocator
    except ImportError:  # a pure Python install
        apply = _set_through_ctypes
    if apply(mmap_threshold, trim_threshold):
        return True
    return mmap_threshold > _OLD_LIMIT and apply(_OLD_LIMIT, trim_threshold)


def release_free_memory() -> bool:
    """Give the pages of freed memory back to the system; True where the C library is glibc, which can.

    Small tensors that live from the forward to the backward pass split the holes that large ones leave, so the heap of
    a training process grows although what is in use does not. A call takes milliseconds; once in some hundred steps is
    plenty.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    ctypes.CDLL(None).malloc_trim(0)
    return True


def _set_through_ctypes(mmap_threshold: int, trim_threshold: int) -> bool:
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    accepted = [mallopt(_M_MMAP_THRESHOLD, mmap_threshold), mallopt(_M_TRIM_THRESHOLD, trim_threshold)]
    return all(accepted)
