"""What a run runs on, in words; the machine's name is left out."""

from __future__ import annotations

import platform

import torch

from fastgan.ops import native, verdicts
from fastgan.ops.identity import processor, version


def describe_environment(device: torch.device) -> dict[str, str]:
    """Versions, device, threads, and the compiled operators or why there are none.

    Args:
        device: where the run trains.

    Returns:
        text by label.
    """
    info = ", ".join(f"{key} {value}" for key, value in native.info.items())
    return {
        "fastgan": version("fastgan") or "not installed",
        "torch": torch.__version__,
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type}: {processor()}",
        "CPU threads": str(torch.get_num_threads()),
        "calibration": _calibration(device),
        "native operators": native.unavailable or f"loaded ({info})",
    }


def _calibration(device: torch.device) -> str:
    """When that was made by which kernels are chosen: another may choose others, which round otherwise."""
    known = verdicts.table(device)
    return "none" if known is None else known.record.date
