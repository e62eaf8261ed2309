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

from fastgan.ops import (
    bias_act,
    conv2d_resample,
    exact_convolutions,
    modulated_conv2d,
    setup_filter,
    upfirdn2d,
)
from tests.ops.cases import DTYPE_IDS, DTYPES, arranged

LAYOUTS = {"n": "contiguous", "c": "channels_last", "u": "unaligned"}  # by their names in cases.arranged
# Shapes of x. CUDA sums db in one step of the first two, in several of the third in channels_last, and of the last.
BIAS_ACT = [(2, 5, 7, 3), (2, 8, 3, 3), (2, 8, 40, 40), (8, 3, 65, 129)]
# Shapes of x, channels of y, kernel size. CUDA sums over the channels of y in steps in the second, and has tiles
# of its own for few channels and for many.
CONV2D_LAYER = [((2, 16, 9, 8), 3, 1), ((2, 8, 5, 6), 40, 3), ((1, 5, 7, 3), 5, 3)]
WIDE_CONV2D_LAYER = ((2, 8, 18, 14), 72, 3)
UPFIRDN2D = [(2, 16, 9, 8), (1, 5, 7, 67)]
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

    for shape in BIAS_ACT if cuda else BIAS_ACT[:-1]:
        _bias_act(leaf(*shape), torch.randn(shape[1], device=device).to(dtype).requires_grad_())
    for shape in UPFIRDN2D:
        _upfirdn2d(leaf(*shape))
    for shape, channels, kernel in (*CONV2D_LAYER, WIDE_CONV2D_LAYER) if cuda else CONV2D_LAYER:
        x, w = leaf(*shape), torch.randn(channels, shape[1], kernel, kernel, device=device).to(dtype).requires_grad_()
        _conv2d_layer(x, w)
        if dtype == torch.float32:  # without tf32
            with exact_convolutions():
                _conv2d_layer(x, w)
        elif cuda and channels > 64:  # as on compute capability 9.0
            with mock.patch.dict(os.environ, {"FASTGAN_SHIM_WARPGROUPS": "1"}):
                _conv2d_layer(x, w)
    if cuda:
        upfirdn2d(leaf(1, 8, 5, 4), torch.ones(120, device=device) / 120, padding=60)


def _bias_act(x: torch.Tensor, b: torch.Tensor) -> None:
    """Forward, backward and double backward with and without db."""
    for act, clamp in (("lrelu", 1.0), ("swish", None)):
        y = bias_act(x, b, act=act, clamp=clamp)
        torch.autograd.grad(y.sum(), [x, b], retain_graph=True)
        (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        torch.autograd.grad(dx.square().sum(), [x, b])
    (dx,) = torch.autograd.grad(bias_act(x, act="swish").sum(), x, create_graph=True)
    torch.autograd.grad(dx.square().sum(), x)


def _conv2d_layer(x: torch.Tensor, w: torch.Tensor) -> None:
    """A generator's layer and a discriminator's, with their gradients, with those of all inputs and of x alone."""
    styles, noise = torch.rand_like(x[:, :, 0, 0]).requires_grad_(), torch.randn(1, device=x.device).requires_grad_()
    b, pad = torch.randn(w.shape[0], device=x.device).to(x.dtype).requires_grad_(), w.shape[2] // 2
    y = modulated_conv2d(x, w, styles, noise, padding=pad, b=b, act="lrelu", clamp=1.0)
    torch.autograd.grad(y.sum(), [x, w, styles, noise, b])
    y = conv2d_resample(x, w, padding=pad, b=b, act="lrelu")
    torch.autograd.grad(y.sum(), [x, w, b])
    for separable in (True, False):
        f = setup_filter([1, 3, 3, 1], device=x.device, separable=separable)
        y = conv2d_resample(x, w.detach(), f, up=2, padding=pad, act="lrelu")
        torch.autograd.grad(y.sum(), x)
    modulated_conv2d(x, w, styles, None, up=2, padding=pad, resample_filter=setup_filter(f.new_ones(4), separable=True))


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
