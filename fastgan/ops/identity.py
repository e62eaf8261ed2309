"""Which device, and which build of the operators on it, a measurement is of."""

from __future__ import annotations

import functools
import hashlib
import platform
import re
from importlib import metadata
from pathlib import Path

import torch

from fastgan.ops import native

Identity = dict[str, str]
_DRIVER = Path("/proc/driver/nvidia/version")


def identity(device: torch.device) -> Identity:
    """All that must be equal for figures of a device to hold.

    Args:
        device: cpu, or cuda with or without an index.

    Returns:
        type, device (its name), capability (of a GPU "9.0"; of a CPU the instruction set of the native library),
        driver, threads (of a CPU), torch, triton and build (see `build`); "" for what there is none of.
    """
    about = {"type": device.type, "device": processor(), "capability": "", "driver": "", "threads": ""}
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        about["device"] = torch.cuda.get_device_name(index)
        about["capability"] = ".".join(map(str, torch.cuda.get_device_capability(index)))
        about["driver"] = driver()
    else:
        about |= {"capability": native.info.get("cpu_isa", ""), "threads": str(torch.get_num_threads())}
    return {**about, "torch": torch.__version__, "triton": version("triton") or "", "build": build()}


@functools.cache
def processor() -> str:
    """Name of the CPU."""
    try:
        name = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        name = None
    return name[1] if name else platform.processor() or platform.machine()


@functools.cache
def driver() -> str:
    """Version of NVIDIA's driver; where that cannot be read, the CUDA version that it knows."""
    try:
        found = re.search(r"\b\d{3}\.[\d.]+\b", _DRIVER.read_text(encoding="utf-8"))
    except OSError:
        found = None
    if found:
        return found[0]
    ask = getattr(torch._C, "_cuda_getDriverVersion", None)
    return f"CUDA {ask()}" if ask else ""


@functools.cache
def version(name: str) -> str | None:
    """Of an installed distribution; None: it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


@functools.cache
def build() -> str:
    """A digest of what computes the operators: the native library, Triton's kernels, the Python around them."""
    digest = hashlib.sha256()
    folders = (native.PACKAGE / "ops", native.PACKAGE / "kernels")
    files = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    for path in (native.PACKAGE / "_native.so", *files):
        if path.is_file():
            digest.update(f"{path.relative_to(native.PACKAGE)}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
