"""How much memory there is, on a GPU or for a process, and how much of it the process holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

_NO_LIMIT = 2**60  # version 1 of cgroups writes a number as large as this where there is none


def held_bytes(device: torch.device) -> int:
    """Bytes that this process holds: resident, or of a GPU's memory by torch's allocator; 0 where that is not told."""
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device)
    status = _fields(Path("/proc/self/status"))
    return status.get("VmRSS", 0) * 1024


def free_bytes(device: torch.device, root: Path = Path("/")) -> int | None:
    """Bytes that this process can still take; None where the system does not tell.

    On a GPU what the driver calls free and what torch's allocator keeps unused; else the least of what the kernel
    calls available and of what the limits of the control groups leave, of either version, this process's own and those
    around it. Their cached files count as free.

    Args:
        device: whose memory.
        root: of the file system, in which /proc and /sys are read.
    """
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    known = [left for left in _left_by_groups(root) if left is not None]
    if (available := _fields(root / "proc/meminfo").get("MemAvailable")) is not None:
        known.append(available * 1024)
    return max(0, min(known)) if known else None


def _left_by_groups(root: Path) -> Iterator[int | None]:
    for line in _lines(root / "proc/self/cgroup"):
        number, kinds, path = line.split(":", 2)
        if number == "0" and not kinds:
            mount, limit, usage, cached = "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
        elif "memory" in kinds.split(","):
            mount, cached = "sys/fs/cgroup/memory", "total_inactive_file"
            limit, usage = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        top = root / mount
        group = top / path.lstrip("/")  # in a container it may be a path outside of what is mounted; the top is there
        for each in (group, *group.parents):
            if each == top or top in each.parents:
                yield _left(each, limit, usage, cached)


def _left(group: Path, limit: str, usage: str, cached: str) -> int | None:
    most, used = _number(group / limit), _number(group / usage)
    if most is None or used is None or most >= _NO_LIMIT:
        return None
    return most - used + _fields(group / "memory.stat").get(cached, 0)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _number(path: Path) -> int | None:
    text = "".join(_lines(path))
    return int(text) if text.isdecimal() else None


def _fields(path: Path) -> dict[str, int]:
    """The numbers of a file whose lines are a name and a number."""
    words = [line.replace(":", " ").split() for line in _lines(path)]
    return {each[0]: int(each[1]) for each in words if len(each) > 1 and each[1].isdecimal()}
