"""The raw operators of affine_warp by Triton's kernels: allocates what they write, and launches them."""

from __future__ import annotations

import torch
from torch import Tensor


def _warp(x: Tensor, theta: Tensor, color: Tensor | None, linear: bool) -> Tensor:
    from fastgan.kernels import affine_warp as kernels

    y = torch.empty_like(x)
    if x.numel():
        with torch.cuda.device_of(x):
            samples = theta.new_empty(kernels.window_size(x))
            kernels.affine_warp_samples(x, theta, samples, adjoint=False).launch()
            _halve(samples, theta, color, y, linear, adjoint=False)
    return y


def _backward(dy: Tensor, theta: Tensor, color: Tensor | None) -> Tensor:
    from fastgan.kernels import affine_warp as kernels

    dx = torch.empty_like(dy)
    if dy.numel():
        with torch.cuda.device_of(dy):
            samples, periods = theta.new_empty(kernels.window_size(dy)), theta.new_empty(kernels.period_size(dy))
            kernels.affine_warp_samples(dy, theta, samples, adjoint=True).launch()
            kernels.affine_warp_gather(dy, samples, theta, periods).launch()
            _halve(periods, theta, color, dx, linear=True, adjoint=True)
    return dx


def _halve(samples: Tensor, theta: Tensor, color: Tensor | None, y: Tensor, linear: bool, adjoint: bool) -> None:
    from fastgan.kernels import affine_warp as kernels

    halved = samples.new_empty([*samples.shape[:3], y.shape[3]])
    kernels.affine_warp_halve(y, samples, theta, halved, adjoint).launch()
    kernels.affine_warp(halved, theta, color, y, linear, adjoint).launch()


# Torch operators, less their provider -> what launches the kernels.
LAUNCHES = {"affine_warp": _warp, "affine_warp_backward": _backward}
