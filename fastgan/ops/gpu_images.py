"""Which GPUs the kernels can run on, told before one is launched: by compute capability and by the driver's version."""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from typing import Any

import torch

from fastgan.ops import native

TRITON_LEAST = (8, 0)  # Triton's own claim


@dataclass(frozen=True)
class Gpu:
    """A device.

    Attributes:
        name: as its driver tells it.
        capability: compute capability, (major, minor).
    """

    name: str
    capability: tuple[int, int]


def image(targets: str, capability: tuple[int, int], jit: bool = True) -> str | None:
    """Which image of a library a GPU runs.

    Machine code (SASS) of x.y runs on x.z with z >= y, that of x.ya on x.y alone; PTX of x.y is compiled for any GPU
    from x.y on, that of x.ya for x.y alone, that of x.yf for its major version alone.

    Args:
        targets: as CMake writes them, such as "80 90a-real 120-real"; a word that is no target ("native") may be any.
        capability: of the GPU.
        jit: whether the driver compiles PTX.

    Returns:
        "SASS sm_90a", "PTX compute_80", compiled at first use, or None.
    """
    found: list[tuple[bool, int, str]] = []
    for word in targets.split():
        parsed = re.fullmatch(r"(\d+)(\d)([af]?)(?:-(real|virtual))?", word)
        if not parsed:
            return f"one of {word}"
        of, kind, form = (int(parsed[1]), int(parsed[2])), parsed[3], parsed[4]
        same_major = of[0] == capability[0] and of[1] <= capability[1]
        name = f"{of[0]}{of[1]}{kind}"
        if form != "virtual" and (of == capability if kind == "a" else same_major):
            found.append((True, of[1] + bool(kind), f"SASS sm_{name}"))
        serves = {"a": of == capability, "f": same_major}.get(kind, of <= capability)
        if form != "real" and jit and serves:
            found.append((False, 10 * of[0] + of[1], f"PTX compute_{name}"))
    return max(found)[2] if found else None


def native_refusal(gpus: list[Gpu], driver: tuple[int, int] | None, info: dict[str, Any]) -> str | None:
    """Why the native library's CUDA kernels cannot run, or None where they can on all of the GPUs.

    Args:
        gpus: the devices.
        driver: the newest CUDA that the driver knows; None: not known.
        info: of the library, `native.info`, with CUDA.
    """
    runtime = toolkit(info)
    if driver is not None and driver[0] < runtime[0]:
        return (
            f"the driver is for CUDA {driver[0]}.{driver[1]}, and the native library was built with CUDA"
            f" {runtime[0]}.{runtime[1]}, which needs a driver for CUDA {runtime[0]}.0 or newer: update the driver, or"
            " build fastgan with an older nvcc (12.8 or newer)"
        )
    for gpu in gpus:
        if image(info["cuda"], gpu.capability, compiles(driver, info)) is None:
            number = f"{gpu.capability[0]}.{gpu.capability[1]}"
            reason = f"{gpu.name} has compute capability {number}, and the native library is built for {info['cuda']}"
            if gpu.capability < (8, 0):
                return f"{reason}; its kernels need 8.0 or newer{_HIDE}"
            return f"{reason}: build it again with TORCH_CUDA_ARCH_LIST={number}{_HIDE}"
    return None


def triton_refusal(gpus: list[Gpu]) -> str | None:
    """Why Triton's kernels cannot run, or None where they can on all of the GPUs."""
    for gpu in gpus:
        if gpu.capability < TRITON_LEAST:
            return f"{gpu.name} has compute capability {gpu.capability[0]}.{gpu.capability[1]}, Triton needs 8.0{_HIDE}"
    return None


# Of machines with two kinds of GPU: a provider serves a type of device, so that one it cannot serve takes it from all.
_HIDE = "; or hide that device with CUDA_VISIBLE_DEVICES"


def toolkit(info: dict[str, Any]) -> tuple[int, int]:
    """Version of the CUDA toolkit, whose runtime is linked into the library: of "nvcc 13.0.88"."""
    major, minor = re.findall(r"\d+", info["cuda_compiler"])[:2]
    return int(major), int(minor)


def compiles(driver: tuple[int, int] | None, info: dict[str, Any]) -> bool:
    """Whether a driver compiles the library's PTX: one older than the toolkit may not know it."""
    return driver is None or driver >= toolkit(info)


def driver_version() -> tuple[int, int] | None:
    """The newest CUDA that this machine's driver knows, which starts no device; None where there is no driver."""
    try:
        driver, version = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(0)
        if driver.cuDriverGetVersion(ctypes.byref(version)):
            return None
    except (OSError, AttributeError):
        return None
    return version.value // 1000, version.value % 1000 // 10


def visible() -> list[Gpu]:
    """The GPUs that torch sees."""
    devices = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    return [Gpu(torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index)) for index in devices]


_refusals: dict[str, str | None] = {}  # provider -> why it cannot run on what torch sees; devices do not change


def refusal(provider: str) -> str | None:
    """Why "native" or "triton" cannot run on the GPUs that torch sees, or None; found out once a process."""
    if provider not in _refusals:
        gpus = visible()
        if not gpus:  # none to ask: what needs one will say so
            return None
        _refusals["native"] = native_refusal(gpus, driver_version(), native.info) if native.info.get("cuda") else None
        _refusals["triton"] = triton_refusal(gpus)
    return _refusals[provider]


# torch.compile takes the answer as it is (torch.compiler.assume_constant_result, which would import its compiler here).
refusal._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess]
