"""What `fastgan doctor` can be told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class DoctorOptions:
    """Tell what of fastgan works on this machine, and why the rest does not; status 0 if nothing is broken, else 1."""

    json: bool = False
    """print one JSON object instead of tables"""
