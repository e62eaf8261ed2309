"""`python -m fastgan.bench ops ...`: as `fastgan bench ops ...`, for machines without the command line's library."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Literal

from fastgan.bench.case import DTYPES, LAYOUTS
from fastgan.bench.ops import run
from fastgan.bench.options import OPS, OpsOptions


def options(arguments: list[str] | None = None) -> tuple[OpsOptions, Literal["ops", "roofline"]]:
    """The options that the arguments, or the process's own, name, and what to time."""
    parser = argparse.ArgumentParser("python -m fastgan.bench", description=OpsOptions.__doc__)
    parser.add_argument("what", choices=["ops", "roofline"])
    parser.add_argument("--op", nargs="+", choices=OPS)
    parser.add_argument("--device", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", nargs="+", choices=list(DTYPES))
    parser.add_argument("--layout", nargs="+", choices=list(LAYOUTS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--threads", type=int)
    for name in ("--seconds", "--minutes"):
        parser.add_argument(name, type=float)
    given: dict[str, Any] = vars(parser.parse_args(arguments))
    what = given.pop("what")
    for name, value in given.items():
        given[name] = tuple(value) if isinstance(value, list) else value
    return OpsOptions(**{name: value for name, value in given.items() if value is not None}), what


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmarks; an error that the user can mend is one line and status 2."""
    try:
        return run(*options(arguments))
    except (ValueError, OSError) as error:
        print(f"fastgan.bench: error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
