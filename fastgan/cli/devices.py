"""The CUDA devices of this machine in words, from the driver where the compiled module is there, else from torch; and
what our kernels take of them.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch

from fastgan.ops import gpu_images, native


def cuda_devices() -> tuple[list[dict[str, Any]], str | None]:
    """The devices, and what is to be said about torch and them.

    Returns:
        dicts as `fastgan._host.cuda_devices` makes them, or with name, capability and memory_bytes alone where that
        module is missing; and why torch uses none, with why none are listed, None where it uses them.
    """
    listed, unlisted = [], None
    try:
        listed = importlib.import_module("fastgan._host").cuda_devices()
    except (ImportError, AttributeError):  # not built, or before it knew devices: torch is asked
        for index in range(torch.cuda.device_count()):
            seen = torch.cuda.get_device_properties(index)
            capability = (seen.major, seen.minor)
            listed.append({"name": seen.name, "capability": capability, "memory_bytes": seen.total_memory})
    except RuntimeError as error:
        unlisted = str(error)
    if torch.cuda.is_available():
        return listed, None
    why = "torch sees no CUDA device or driver" if torch.version.cuda else "this torch is built without CUDA"
    return listed, "; ".join(filter(None, (why, unlisted)))


def in_words(device: dict[str, Any]) -> str:
    """One device in a line."""
    words = [f"sm_{''.join(map(str, device['capability']))}", f"{device['memory_bytes'] / 2**30:.1f} GiB"]
    if "multiprocessors" in device:
        words[1] += f" at {device['memory_bytes_per_second'] / 1e9:.0f} GB/s by clock and bus width"
        words += [
            f"{device['multiprocessors']} SMs at {device['clock_khz'] / 1000:.0f} MHz",
            f"L2 {device['l2_bytes'] / 2**20:.0f} MiB",
            f"shared {device['shared_bytes_per_block_optin'] >> 10} KiB a block,"
            f" {device['shared_bytes_per_multiprocessor'] >> 10} an SM",
            f"{device['registers_per_multiprocessor']} registers an SM",
            f"driver for CUDA {device['driver'] // 1000}.{device['driver'] % 1000 // 10}",
        ]
    return f"{device['name']} ({', '.join(words)})"


def image_in_words(device: dict[str, Any]) -> str:
    """Which image of the native library a device runs, and beside which driver; or why none. The library has CUDA."""
    gpu = gpu_images.Gpu(device["name"], tuple(device["capability"]))
    driver, toolkit = gpu_images.driver_version(), gpu_images.toolkit(native.info)
    refused = gpu_images.native_refusal([gpu], driver, native.info)
    image = gpu_images.image(native.info["cuda"], gpu.capability, gpu_images.compiles(driver, native.info))
    if refused or image is None:
        return f"{gpu.name}: none: {refused}"
    known = f"driver for CUDA {driver[0]}.{driver[1]}" if driver else "driver not known"
    when = ", which the driver compiles at first use" if image.startswith("PTX") else ""
    return f"{gpu.name}: {image}{when}; built with CUDA {toolkit[0]}.{toolkit[1]}, {known}"


def kernels_in_words() -> str:
    """The CUDA kernels of the native library, as the driver has loaded them for the current device, or why not."""
    try:
        kernels = native.kernel_resources()
    except RuntimeError as error:
        return f"not loaded: {error}"
    spilling = [kernel["name"] for kernel in kernels if kernel["local_bytes"]]
    most = max(kernel["registers"] for kernel in kernels)
    return f"{len(kernels)}, of up to {most} registers a thread; spilling: {', '.join(spilling) or 'none'}"
