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
from fastgan.ops.conv2d_layer import raw as conv2d_layer
from tests.ops.cases import DTYPE_IDS, DTYPES, arranged

LAYOUTS = {"n": "contiguous", "c": "channels_last", "u": "unaligned"}  # by their names in cases.arranged
# Shapes of x. CUDA sums db in one step of the first two, in several of the third in channels_last, and of the last.
BIAS_ACT = [(2, 5, 7, 3), (2, 8, 3, 3), (2, 8, 40, 40), (8, 3, 65, 129)]
CONV2D_EPILOGUE = [(2, 40, 9, 8), (1, 5, 7, 3)]  # CUDA sums over the channels of the first in several steps
# x, output channels and whether conv2d_up has it too: narrow, small, small and wide tiles.
CONV2D = [
    ((2, 8, 5, 4), 6, True),
    ((2, 24, 5, 4), 40, True),
    ((1, 24, 11, 13), 132, True),
    ((2, 72, 13, 11), 136, False),
]
UPFIRDN2D = [(2, 16, 9, 8), (1, 5, 7, 67)]
Coverage = dict[str, dict[str, str]]  # kernel -> dtype -> letters of the layouts it ran in


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

    for shape in BIAS_ACT if cuda else BIAS_ACT[:-1]:
        _bias_act(leaf(*shape), torch.randn(shape[1], device=device).to(dtype).requires_grad_())
    for shape in UPFIRDN2D:
        _upfirdn2d(leaf(*shape))
    if cuda:
        upfirdn2d(leaf(1, 8, 5, 4), torch.ones(120, device=device) / 120, padding=60)
        for shape in CONV2D_EPILOGUE:
            _conv2d_epilogue(leaf(*shape).detach(), "shim" if device == "cpu" else "native")
    if cuda and device == "cpu" and layout == "c":  # small shapes reach every form under the shim alone
        for shape, channels, up in CONV2D:
            _conv2d(leaf(*shape).detach(), channels, up)


def _bias_act(x: torch.Tensor, b: torch.Tensor) -> None:
    """Forward, backward and double backward with and without db."""
    for act, clamp in (("lrelu", 1.0), ("swish", None)):
        y = bias_act(x, b, act=act, clamp=clamp)
        torch.autograd.grad(y.sum(), [x, b], retain_graph=True)
        with skip_weight_gradients():
            (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        torch.autograd.grad(dx.square().sum(), [x, b])
    (dx,) = torch.autograd.grad(bias_act(x, act="swish").sum(), x, create_graph=True)
    torch.autograd.grad(dx.square().sum(), x)


def _conv2d_epilogue(u: torch.Tensor, name: str) -> None:
    """Forward, backward with and without sums, by the raw operators."""
    passes = {op: getattr(torch.ops.fastgan, f"{op}_{name}") for op in conv2d_layer.SCHEMAS}
    n, o, h, w = u.shape
    scale = torch.rand(n, o, device=u.device, dtype=torch.promote_types(u.dtype, torch.float32)) + 0.5
    noise, b, numbers = u.new_ones(n, 1, h, w), u.new_ones(o), (2, 0.2, 1.4, 1.0)
    y, mask = passes["conv2d_epilogue"](u, scale, noise, b, None, *numbers, True)
    for wanted in (True, False):
        passes["conv2d_epilogue_backward"](u, mask, y, scale, noise, b, *numbers, wanted, wanted, wanted)
    passes["conv2d_style_gradient"](u, y, scale)


def _conv2d(x: torch.Tensor, channels: int, up: bool) -> None:
    """The products of matrices, with x scaled or streamed, on tensor cores or not, by warpgroups or not."""
    w, taps = x.new_ones(channels, x.shape[1], 3, 3), torch.ones(4)
    scale = torch.ones(x.shape[:2], dtype=torch.promote_types(x.dtype, torch.float32))
    epilogue = (None, None, None, None, 2, 0.2, 1.4, 1.0, True)
    conv2d, conv2d_up = torch.ops.fastgan.conv2d_shim, torch.ops.fastgan.conv2d_up_shim
    for tf32 in (False, True):
        for in_scale in (None, scale):
            for warpgroups in ({}, {"FASTGAN_SHIM_WARPGROUPS": "1"}):
                with mock.patch.dict(os.environ, warpgroups):
                    y, _ = conv2d(x, w, in_scale, 1, False, 1, 1, 1, 1, *epilogue, tf32)
            torch.ops.fastgan.conv2d_weight_gradient_shim(x, y, in_scale, 3, 3, 1, False, 1, 1, 1, 1, tf32)
            if up and x.dtype != torch.float64:
                conv2d_up(x, w, taps, in_scale, 1, 1, 1, 1, False, 4.0, *epilogue, tf32)


def _upfirdn2d(x: torch.Tensor) -> None:
    """The filter of StyleGAN2 up, down and in place, separable and full, both ways; and others."""
    taps = setup_filter([1, 3, 3, 1], device=x.device, separable=True)
    for f in (taps, taps.outer(taps)):
        torch.autograd.grad(upfirdn2d(x, f, up=2, padding=[2, 1, 2, 1]).sum(), x)
        torch.autograd.grad(upfirdn2d(x, f, padding=[2, 1, 2, 1]).sum(), x)
        upfirdn2d(x, f, up=3, down=2, padding=3)


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
                calls(dtype, layout, cuda=bool(before))
                for kernel, total in stand_in.launches().items() if before else ():
                    counts[kernel] = total - before[kernel]
            for kernel, count in counts.items():
                form, of = kernel.rsplit(" ", 1)
                row = table.setdefault(form, {} if before else dict.fromkeys(DTYPE_IDS, ""))
                if of in (str(dtype)[6:], "uint8"):  # a mask is of any
                    row[name] = row.get(name, "") + (layout if count else "")
    return table


def missing(table: Coverage) -> list[str]:
    """Kernels that a dtype leaves out which they are compiled for."""
    return [f"{kernel} {dtype}" for kernel, row in table.items() for dtype, layouts in row.items() if not layouts]


def text(title: str, table: Coverage) -> str:
    """The table to be printed."""
    width = max(map(len, table))
    lines = [f"{title:{width}}  " + "  ".join(f"{name:5}" for name in DTYPE_IDS)]
    for kernel in sorted(table):
        lines.append(f"{kernel:{width}}  " + "  ".join(f"{table[kernel].get(name) or '-':5}" for name in DTYPE_IDS))
    return "\n".join(lines)


if __name__ == "__main__":
    os.environ["TRITON_INTERPRET"] = "1"
    from tests.ops import interpreter, shim

    print("layouts: " + "; ".join(f"{letter} {name}" for letter, name in LAYOUTS.items()))
    for heading, module in (("CUDA, under the shim", shim), ("Triton, in its interpreter", interpreter)):
        print("\n" + (text(heading, covered(module)) if module.unavailable is None else module.unavailable))
