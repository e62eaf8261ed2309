"""`fastgan bench ops`: the operators beside plain torch on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from fastgan.bench import ops


@dataclass(kw_only=True)
class BenchOptions(ops.OpsOptions):
    __doc__ = ops.OpsOptions.__doc__

    what: Annotated[Literal["ops", "roofline"], tyro.conf.Positional]
    """what to time: the operators, or only the device's copy and matrix product"""


def run(options: BenchOptions) -> int:
    """The verb; returns the exit status: 1 if an operator computes something wrong."""
    return ops.run(options, options.what)
