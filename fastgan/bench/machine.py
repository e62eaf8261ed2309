"""What the figures were measured on and with."""

from __future__ import annotations

import importlib
import os
import platform
import re
import shutil
import subprocess
from datetime import datetime, timezone
from typing import Any

import torch

from fastgan.ops import native
from fastgan.ops.identity import processor, version

_CLOCKS = ("driver_version", "clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem", "power.limit")


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Device, versions, commit and date; the machine's name is left out.

    Args:
        device: that is measured.
    """
    about: dict[str, Any] = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "device": processor(),
        "device_type": device.type,
        "threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "fastgan": version("fastgan"),
        "torch": torch.__version__,
        "triton": version("triton"),
        "nvcc": _nvcc(),
        "native": native.unavailable or native.info,
        "commit": _commit(),
    }
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        major, minor = torch.cuda.get_device_capability(index)
        about |= {"device": torch.cuda.get_device_name(index), "capability": f"{major}.{minor}"}
        about |= {"properties": cuda_properties(index), "settings": _settings(index)}
    return about


def cuda_properties(index: int) -> dict[str, Any] | str:
    """What `fastgan._host.cuda_devices` tells of a device, or why it tells nothing."""
    try:
        return importlib.import_module("fastgan._host").cuda_devices()[index]
    except (ImportError, AttributeError, RuntimeError, IndexError) as error:
        return str(error)


def _settings(index: int) -> dict[str, str]:
    """Driver and clocks, as nvidia-smi reads them; empty where it is missing."""
    identifier = f"GPU-{torch.cuda.get_device_properties(index).uuid}"
    answer = _output("nvidia-smi", f"--id={identifier}", f"--query-gpu={','.join(_CLOCKS)}", "--format=csv,noheader")
    values = [value.strip() for value in (answer or "").split(",")]
    return dict(zip(_CLOCKS, values, strict=True)) if len(values) == len(_CLOCKS) else {}


def _nvcc() -> str | None:
    release = re.search(r"release [\d.]+, (V[\d.]+)", _output("nvcc", "--version") or "")
    return release[1] if release else None


def _commit() -> str | None:
    """The commit of the checkout that runs, with "+" where files were changed since; None outside of one."""
    root = native.PACKAGE.parent
    if not (root / ".git").exists():
        return None
    head = _output("git", "-C", str(root), "rev-parse", "--short=12", "HEAD")
    changed = _output("git", "-C", str(root), "status", "--porcelain", "--untracked-files=no")
    return f"{head}{'+' if changed else ''}" if head else None


def _output(*command: str) -> str | None:
    """What a program prints, None where it is missing or fails."""
    if shutil.which(command[0]) is None:
        return None
    result = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return result.stdout.strip() if result.returncode == 0 else None
