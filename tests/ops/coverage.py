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

from fastgan.ops import bias_act, setup_filter, skip_weight_gradients, upfirdn2d
from tests.ops.cases import DTYPE_IDS, DTYPES, arranged

LAYOUTS = {"n": "contiguous", "c": "channels_last", "u": "unaligned"}  # by their names in cases.arranged
Coverage = dict[str, dict[str, str]]  # kernel -> dtype -> letters of the layouts it ran in


def _bias_act(dtype: torch.dtype, layout: str) -> None:
    """Forward, backward and double backward with and without db, which is summed in one step and in several."""
    for size in (3, 40):
        x = arranged(torch.randn(2, 8, size, size).to(dtype), LAYOUTS[layout]).requires_grad_()
        b = torch.randn(8).to(dtype).requires_grad_()
        for act, clamp in (("lrelu", 1.0), ("swish", None)):
            y = bias_act(x, b, act=act, clamp=clamp)
            torch.autograd.grad(y.sum(), [x, b], retain_graph=True)
            with skip_weight_gradients():
                (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
            torch.autograd.grad(dx.square().sum(), [x, b])
    (dx,) = torch.autograd.grad(bias_act(x, act="swish").sum(), x, create_graph=True)
    torch.autograd.grad(dx.square().sum(), x)


def _upfirdn2d(dtype: torch.dtype, layout: str) -> None:
    """The filter of StyleGAN2 up, down and in place, separable and full, both ways; and others."""
    x = arranged(torch.randn(2, 16, 9, 8).to(dtype), LAYOUTS[layout]).requires_grad_()
    taps = setup_filter([1, 3, 3, 1], separable=True)
    for f in (taps, taps.outer(taps)):
        torch.autograd.grad(upfirdn2d(x, f, up=2, padding=[2, 1, 2, 1]).sum(), x)
        torch.autograd.grad(upfirdn2d(x, f, padding=[2, 1, 2, 1]).sum(), x)
        upfirdn2d(x, f, up=3, down=2, padding=3)


def _long_filter(dtype: torch.dtype, layout: str) -> None:
    """A filter that no tile of CUDA's shared memory holds the inputs of; Triton has one kernel for all."""
    upfirdn2d(arranged(torch.randn(1, 8, 5, 4).to(dtype), LAYOUTS[layout]), torch.ones(120) / 120, padding=60)


@contextmanager
def _triton_launches(counts: Counter[str], label: str) -> Iterator[None]:
    from fastgan.kernels.launch import Plan

    launch = Plan.launch

    def counted(plan: Plan) -> None:
        counts[f"{plan.kernel.__name__.removesuffix('_kernel')} {label}"] += 1
        launch(plan)

    with mock.patch.object(Plan, "launch", counted):
        yield


def covered(stand_in) -> Coverage:
    """Where the kernels of a stand-in (module tests.ops.shim or tests.ops.interpreter) run."""
    table: Coverage = {}
    # Kernels of the shim name the dtype that they are compiled for; those not run stay in the table, with no layout.
    for dtype, name in zip(DTYPES, DTYPE_IDS, strict=True):
        for layout in LAYOUTS:
            counts: Counter[str] = Counter()
            with stand_in.selected(), _triton_launches(counts, str(dtype)[6:]):
                before = stand_in.launches() if stand_in.NAME == "shim" else {}
                _bias_act(dtype, layout)
                _upfirdn2d(dtype, layout)
                if before:
                    _long_filter(dtype, layout)
                for kernel, total in stand_in.launches().items() if before else ():
                    counts[kernel] = total - before[kernel]
            for kernel, count in counts.items():
                form, of = kernel.rsplit(" ", 1)
                row = table.setdefault(form, dict.fromkeys(DTYPE_IDS, ""))
                if of == str(dtype)[6:]:
                    row[name] += layout if count else ""
    return table


def missing(table: Coverage) -> list[str]:
    """Kernels that a dtype leaves out."""
    return [f"{kernel} {dtype}" for kernel, row in table.items() for dtype, layouts in row.items() if not layouts]


def text(title: str, table: Coverage) -> str:
    """The table to be printed."""
    width = max(map(len, table))
    lines = [f"{title:{width}}  " + "  ".join(f"{name:5}" for name in DTYPE_IDS)]
    for kernel in sorted(table):
        lines.append(f"{kernel:{width}}  " + "  ".join(f"{table[kernel][name] or '-':5}" for name in DTYPE_IDS))
    return "\n".join(lines)


if __name__ == "__main__":
    os.environ["TRITON_INTERPRET"] = "1"
    from tests.ops import interpreter, shim

    print("layouts: " + "; ".join(f"{letter} {name}" for letter, name in LAYOUTS.items()))
    for heading, module in (("CUDA, under the shim", shim), ("Triton, in its interpreter", interpreter)):
        print("\n" + (text(heading, covered(module)) if module.unavailable is None else module.unavailable))
