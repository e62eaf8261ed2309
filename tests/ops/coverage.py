"""Runs every CUDA and Triton kernel on the CPU and tells in which dtypes and layouts: python -m tests.ops.coverage.

The shim counts launches of the CUDA kernels, the plans of kernels/launch.py those of Triton's. Values are compared
elsewhere; this shows that no kernel is left out of it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch

from tests.ops.cases import DTYPE_IDS, DTYPES, arranged
from tests.ops.operators import OPERATORS, cases_of

LAYOUTS = {"n": "contiguous", "c": "channels_last", "u": "unaligned"}  # by their names in cases.arranged
CAPABILITIES = {"8.0": {}, "9.0": {"FASTGAN_SHIM_WARPGROUPS": "1"}}  # of GPUs, and what the shim is told of them
Coverage = dict[str, dict[str, str | None]]  # kernel -> dtype -> letters of the layouts it ran in; None: no such kernel


def calls(dtype: torch.dtype, layout: str, device: str = "cpu", cuda: bool = True) -> None:
    """Launches every kernel of a provider that this dtype and layout have one of.

    Args:
        dtype: of the images.
        layout: a letter of LAYOUTS.
        device: where the tensors are.
        cuda: whether to launch what only CUDA has kernels of its own for: many slices of db, filters that fit no tile.
    """

    def leaf(*shape: int) -> torch.Tensor:
        return arranged(torch.randn(shape, device=device).to(dtype), LAYOUTS[layout]).requires_grad_()

    for operator in OPERATORS:
        cases_of(operator).launch_all(leaf, dtype, device, cuda)


@contextmanager
def _triton_launches(counts: Counter[str], label: str) -> Iterator[None]:
    from fastgan.kernels.launch import Plan

    launch = Plan.launch

    def counted(plan: Plan) -> None:
        counts[f"{plan.kernel.__name__.removesuffix('_kernel')} {label}"] += 1
        launch(plan)

    with mock.patch.object(Plan, "launch", counted):
        yield


def covered(stand_in, capability: str = "9.0") -> Coverage:
    """Where the kernels of a stand-in (module tests.ops.shim or tests.ops.interpreter) run, and on a GPU would.

    Args:
        stand_in: the module.
        capability: what of CAPABILITIES the GPU has.
    """
    table: Coverage = {}
    # Kernels of the shim name the dtype that they are compiled for; those not run stay in the table, with no layout.
    for dtype, name in zip(DTYPES, DTYPE_IDS, strict=True):
        for layout in LAYOUTS:
            counts: Counter[str] = Counter()
            told = mock.patch.dict(os.environ, CAPABILITIES[capability])
            with stand_in.selected(), told, _triton_launches(counts, str(dtype)[6:]):
                before = stand_in.launches() if stand_in.NAME == "shim" else {}
                calls(dtype, layout, cuda=bool(before))
                for kernel, total in stand_in.launches().items() if before else ():
                    counts[kernel] = total - before[kernel]
            for kernel, count in counts.items():
                form, of = kernel.rsplit(" ", 1)
                row = table.setdefault(form, dict.fromkeys(DTYPE_IDS))
                if of in (str(dtype)[6:], "uint8"):
                    row[name] = (row[name] or "") + (layout if count else "")
    return table


def missing(table: Coverage) -> list[str]:
    """Kernels that a dtype leaves out."""
    return [f"{kernel} {dtype}" for kernel, row in table.items() for dtype, layouts in row.items() if layouts == ""]


def text(title: str, table: Coverage) -> str:
    """The table to be printed."""
    width = max(map(len, table))
    lines = [f"{title:{width}}  " + "  ".join(f"{name:5}" for name in DTYPE_IDS)]
    for kernel in sorted(table):
        lines.append(f"{kernel:{width}}  " + "  ".join(f"{_cell(table[kernel][name]):5}" for name in DTYPE_IDS))
    return "\n".join(lines)


def _cell(layouts: str | None) -> str:
    return "" if layouts is None else layouts or "-"


if __name__ == "__main__":
    os.environ["TRITON_INTERPRET"] = "1"
    from tests.ops import interpreter, shim

    print("layouts: " + "; ".join(f"{letter} {name}" for letter, name in LAYOUTS.items()))
    for heading, module in (("CUDA, under the shim", shim), ("Triton, in its interpreter", interpreter)):
        print("\n" + (text(heading, covered(module)) if module.unavailable is None else module.unavailable))
