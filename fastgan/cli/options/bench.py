"""What `fastgan bench` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from fastgan.bench.options import OpsOptions


@dataclass(kw_only=True)
class BenchOptions(OpsOptions):
    __doc__ = OpsOptions.__doc__

    what: Annotated[Literal["ops", "roofline"], tyro.conf.Positional]
    """what to time: the operators, or only the device's copy and matrix product"""
