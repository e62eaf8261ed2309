"""bias_act's raw operators by Triton's kernels: allocates what they write, and launches them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fastgan.ops.bias_act.activations import mask_bytes

# The activations that kernels/bias_act.py knows, in the numbering of the operators' `act`.
NUMBERING = ("linear", "relu", "lrelu", "tanh", "sigmoid", "elu", "selu", "softplus", "swish")


def _forward(
    x: Tensor, b: Tensor | None, dim: int, act: int, alpha: float, gain: float, clamp: float, keep_mask: bool
) -> tuple[Tensor, Tensor]:
    from fastgan.kernels import launch

    y = torch.empty_like(x)
    mask = torch.empty([mask_bytes(x.numel()) if keep_mask else 0], dtype=torch.uint8, device=x.device)
    if x.numel():
        with torch.cuda.device_of(x):
            plan = launch.bias_act_forward(
                x, b, y, mask if keep_mask else None, dim, NUMBERING[act], alpha, gain, clamp
            )
            plan.launch()
    return y, mask


def _backward(
    dy: Tensor,
    x: Tensor | None,
    b: Tensor | None,
    mask: Tensor | None,
    dim: int,
    act: int,
    alpha: float,
    gain: float,
    clamp: float,
    need_db: bool,
) -> tuple[Tensor, Tensor]:
    if mask is not None and mask.numel():
        x = b = None
    else:
        mask = None
    return _differentiate({"dy": dy, "x": x, "b": b, "mask": mask}, dim, (NUMBERING[act], alpha, gain, clamp), need_db)


def _double_backward(
    ddx: Tensor,
    dy: Tensor,
    x: Tensor,
    b: Tensor | None,
    dim: int,
    act: int,
    alpha: float,
    gain: float,
    clamp: float,
    need_db: bool,
) -> tuple[Tensor, Tensor]:
    return _differentiate({"dy": dy, "ddx": ddx, "x": x, "b": b}, dim, (NUMBERING[act], alpha, gain, clamp), need_db)


def _differentiate(
    tensors: dict[str, Tensor | None], dim: int, formula: tuple[str, float, float, float], need_db: bool
) -> tuple[Tensor, Tensor]:
    from fastgan.kernels import launch

    dy: Any = tensors["dy"]
    dx, db = torch.empty_like(dy), dy.new_zeros([dy.shape[dim] if need_db else 0])
    if not dy.numel():
        return dx, db
    matrix = launch.Matrix.of(dy, dim, by_channel=need_db or tensors["b"] is not None)
    partial = None
    if need_db:
        dtype = torch.float64 if dy.dtype == torch.float64 else torch.float32
        partial = torch.empty(matrix.partial_sums(), dtype=dtype, device=dy.device)
    with torch.cuda.device_of(dy):
        launch.bias_act_backward(matrix, tensors | {"dx": dx, "partial": partial}, *formula).launch()
        if need_db:
            launch.bias_act_sum(partial, db).launch()
    return dx, db


# Torch operators, less their provider -> what launches the kernels.
LAUNCHES = {
    "bias_act": _forward,
    "bias_act_backward": _backward,
    "bias_act_double_backward": _double_backward,
}
