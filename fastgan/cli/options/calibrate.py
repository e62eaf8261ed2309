"""What `fastgan calibrate` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass
class CalibrateOptions:
    """Prove and time the kernels on this machine's device; the best that are right serve from then on.

    Each form of each operator is compared with float64, values, gradients and second gradients, in a process of its
    own: one that is wrong, crashes or hangs loses its place, and nothing else happens. What was found goes to a file in
    the user's cache folder and counts for this device, driver and build.
    """

    minutes: float | None = None
    """begin no further step after this many; default: until all is done, about two on a CPU"""

    op: tuple[str, ...] | None = None
    """operators, e.g. conv2d_layer; default: all"""

    device: Literal["cpu", "cuda"] | None = None
    """default: cuda where there is one"""

    threads: int | None = None
    """CPU threads, for which alone the result counts; default: torch's own"""

    dry_run: bool = False
    """list what would be proved and timed, and stop"""

    show: bool = False
    """print what is known of the device, and stop"""

    json: Path | None = None
    """write what is known to this file, to be sent along with a proposal of other defaults"""
