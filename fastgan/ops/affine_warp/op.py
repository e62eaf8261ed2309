"""affine_warp: public function, checks, torch operators with their derivatives, description."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fastgan.ops import providers
from fastgan.ops.affine_warp import triton_form
from fastgan.ops.affine_warp.reference import affine_warp_reference
from fastgan.ops.arguments import check_dense, dense_format, in_format, layout_name, sizes
from fastgan.ops.operator import OPERATORS, Default, Operator
from fastgan.ops.registration import register

COLORS = 4  # channels that a colour matrix takes at most


def affine_warp(x: Tensor, theta: Tensor, color: Tensor | None = None) -> Tensor:
    """y = M_n·D(bilinear(U(x_n), θ_n)) + b_n: every image under an affine map and a colour matrix of its own.

    U doubles the rate by the low-pass of the wavelet sym6, D halves it by the same filter reversed; between them y's
    samples are taken from x's, linearly between the nearest four. Beyond its outer pixels x goes on by reflection,
    for ever. A map that takes pixels to pixels (the identity, flips, quarter turns, whole shifts) copies them.

    Args:
        x: images [N, C, H, W], float64, float32, float16 or bfloat16. Contiguous and channels_last tensors are read in
            place; other layouts are copied to contiguous first.
        theta: [N, 2, 3], the map from y to x: a pixel (column, row) of y, counted from the image's centre, shows x at
            theta[:, :2]·(column, row) + theta[:, 2]. In pixels, so that a rotation stays one where H is not W. Cast to
            float32, or float64 where x is. What reads x 2²⁴ samples or more away, or is not finite, gives NaN.
        color: [N, C, C + 1], M and b; C is at most 4. None leaves colours alone.

    Returns:
        Shape and dtype of x, in its memory format; contiguous where it is neither that nor channels_last.

    Raises:
        ValueError, TypeError: an argument that does not fit, named with what was expected and what came.

    Gradients: any order, for x alone.
    Keeps for backward: theta and color.
    Source: Karras et al. 2020a (ADA), appendix B.

    >>> flip = torch.tensor([[[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    >>> affine_warp(torch.tensor([[[[1.0, 2.0, 3.0]]]]), flip)
    tensor([[[[3., 2., 1.]]]])
    """
    check_dense("x", x)
    check_dense("theta", theta)
    if color is not None:
        check_dense("color", color, optional=True)
    if x.ndim != 4:
        raise ValueError(f"x must have shape [N, C, H, W], got {list(sizes(x))}")
    n, channels = sizes(x)[:2]
    if sizes(theta) != (n, 2, 3):
        raise ValueError(f"theta must have shape [N, 2, 3]={[n, 2, 3]} to match x, got {list(sizes(theta))}")
    if color is not None and channels > COLORS:
        raise ValueError(f"color must be None for images of more than {COLORS} channels, got x with {channels}")
    if color is not None and sizes(color) != (n, channels, channels + 1):
        raise ValueError(
            f"color must have shape [N, C, C + 1]={[n, channels, channels + 1]} to match x, got {list(sizes(color))}"
        )
    for name, tensor in (("theta", theta), ("color", color)):
        if tensor is not None and tensor.device != x.device:
            raise ValueError(f"{name} must be on x's device {x.device}, got {tensor.device}")
        if tensor is not None and tensor.requires_grad and torch.is_grad_enabled():
            raise ValueError(f"{name} must not require grad, for it gets no gradient: grid_sample has one for places")
    provider = providers.choose("affine_warp", x.device, x.dtype, call=lambda: (layout_name(x), "", (x.numel(),)))
    x = in_format(x, dense_format(x))
    if provider == "reference":
        return in_format(affine_warp_reference(x, theta, color), dense_format(x))
    wide = torch.promote_types(x.dtype, torch.float32)
    color = None if color is None else color.to(wide).contiguous()
    return OPERATORS["affine_warp"].registered[provider].warp_op(x, theta.to(wide).contiguous(), color, False)


class AffineWarp:
    """The operators of one provider: affine_warp and its adjoint, each the other's derivative.

    Args:
        provider: its name.
        kernels: as `Provider.kernels`.
    """

    def __init__(self, provider: str, kernels: Mapping[str, str]):
        self.warp_op = register(
            f"affine_warp_{provider}",
            "(Tensor x, Tensor theta, Tensor? color, bool linear) -> Tensor",
            lambda x, theta, color, linear: torch.empty_like(x),
            self.save,
            self.warp_backward,
        )
        self.backward_op = register(  # the adjoint of x -> y, less what color adds
            f"affine_warp_backward_{provider}",
            "(Tensor dy, Tensor theta, Tensor? color) -> Tensor",
            lambda dy, theta, color: torch.empty_like(dy),
            self.save,
            self.backward_backward,
        )

    @staticmethod
    def save(ctx, inputs, output):
        ctx.set_materialize_grads(False)
        ctx.memory_format = dense_format(inputs[0])
        ctx.save_for_backward(*inputs[1:3])

    def warp_backward(self, ctx, dy):
        if dy is None:
            return None, None, None, None
        return self.backward_op(in_format(dy, ctx.memory_format), *ctx.saved_tensors), None, None, None

    def backward_backward(self, ctx, ddx):
        if ddx is None:
            return None, None, None
        return self.warp_op(in_format(ddx, ctx.memory_format), *ctx.saved_tensors, True), None, None


def _example() -> Tensor:
    x = torch.linspace(-1, 1, 2 * 3 * 9 * 8).reshape(2, 3, 9, 8)
    theta = torch.tensor([[[0.8, -0.6, 1.5], [0.6, 0.8, 0.25]], [[-1.0, 0.0, 0.0], [0.0, 1.0, 2.0]]])
    color = torch.tensor([0.5, 0.25, 0.25, 0.1, 0.0, 1.0, 0.0, -0.1, 0.25, 0.0, 0.75, 0.0]).reshape(1, 3, 4)
    return affine_warp(x, theta, color.expand(2, 3, 4))


OPERATORS["affine_warp"] = Operator(
    "affine_warp",
    _example,
    kernels=("cpu", "cuda", "triton"),
    register=AffineWarp,
    triton=triton_form.LAUNCHES,
    defaults=(Default("cpu", ("native",), "bench/results/cpu_affine_warp.json: AMD EPYC with AVX2, 2 cores"),),
)
