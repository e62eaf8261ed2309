"""The raw operators of squared_norm and interpolate by Triton's kernel: allocates what it writes, and launches it."""

from __future__ import annotations

import torch
from torch import Tensor

from fastgan.ops.gradient_penalty.reference import sum_dtype


def _norm(x: Tensor) -> Tensor:
    sums = _empty_sums(x)
    _launch(x, None, None, None, sums)
    return sums


def _backward(dy: Tensor, x: Tensor) -> Tensor:
    dx = torch.empty_like(x)
    _launch(x, None, dy, dx, None)
    return dx


def _double_backward(ddx: Tensor, x: Tensor, dy: Tensor | None) -> tuple[Tensor, Tensor]:
    sums, dx = _empty_sums(x), x.new_empty([0]) if dy is None else torch.empty_like(x)
    _launch(x, ddx, dy, None if dy is None else dx, sums)
    return sums, dx


def _interpolate(real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
    between = torch.empty_like(real)
    _launch(real, fake, epsilon, between, None, between=True)
    return between


def _empty_sums(x: Tensor) -> Tensor:
    return x.new_empty(x.shape[:1], dtype=sum_dtype(x))


def _launch(
    x: Tensor,
    other: Tensor | None,
    factor: Tensor | None,
    out: Tensor | None,
    sums: Tensor | None,
    between: bool = False,
) -> None:
    from fastgan.kernels import launch
    from fastgan.kernels.gradient_penalty import gradient_penalty, steps_and_slices

    if not x.numel():
        if sums is not None:
            sums.zero_()
        return
    slices = steps_and_slices(x)[1]
    with torch.cuda.device_of(x):
        if sums is None or slices == 1:
            gradient_penalty(x, other, factor, out, sums, between).launch()
            return
        parts = sums.new_empty([1, len(sums), slices])
        gradient_penalty(x, other, factor, out, parts, between).launch()
        launch.bias_act_sum(parts, sums).launch()


# Torch operators, less their provider -> what launches the kernel.
LAUNCHES = {
    "squared_norm": _norm,
    "squared_norm_backward": _backward,
    "squared_norm_double_backward": _double_backward,
    "interpolate": _interpolate,
}
