"""What a run runs on, in words; the machine's name is left out."""

from __future__ import annotations

import platform
import re
from importlib import metadata
from pathlib import Path

import torch

from fastgan.ops import native


def describe_environment(device: torch.device) -> dict[str, str]:
    """Versions, device, threads, and the compiled operators or why there are none.

    Args:
        device: where the run trains.

    Returns:
        text by label.
    """
    try:
        version = metadata.version("fastgan")
    except metadata.PackageNotFoundError:
        version = "not installed"
    info = ", ".join(f"{key} {value}" for key, value in native.info.items())
    return {
        "fastgan": version,
        "torch": torch.__version__,
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type}: {_processor()}",
        "CPU threads": str(torch.get_num_threads()),
        "native operators": native.unavailable or f"loaded ({info})",
    }


def _processor() -> str:
    try:
        name = re.search(
            r"^model name\s*:\s*(.+)$",
            Path("/proc/cpuinfo").read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    except OSError:
        name = None
    return name[1] if name else platform.machine()
