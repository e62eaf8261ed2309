"""`fastgan bench ops`: the operators beside plain torch on this machine."""

from __future__ import annotations

from fastgan.bench import ops
from fastgan.cli.options.bench import BenchOptions


def run(options: BenchOptions) -> int:
    """The verb; returns the exit status: 1 if an operator computes something wrong."""
    return ops.run(options, options.what)
