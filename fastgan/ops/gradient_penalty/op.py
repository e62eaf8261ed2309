"""squared_norm and interpolate: public functions, checks, torch operators with their derivatives, description."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fastgan.ops import providers
from fastgan.ops.arguments import check_dense, dense_format, in_format, layout_name, sizes
from fastgan.ops.gradient_penalty import triton_form
from fastgan.ops.gradient_penalty.reference import interpolate_reference, squared_norm_reference, sum_dtype
from fastgan.ops.gradients import needed
from fastgan.ops.operator import OPERATORS, Default, Operator
from fastgan.ops.registration import register


def squared_norm(x: Tensor) -> Tensor:
    """s_n = Σ x_n², the squared Euclidean norm of every sample.

    Args:
        x: [N, ...] of two axes or more, float64, float32, float16 or bfloat16. Contiguous and channels_last tensors are
            read in place; other layouts are copied to contiguous first.

    Returns:
        [N], float64 where x is, else float32: a half would overflow.

    Raises:
        ValueError, TypeError: an argument that does not fit, named with what was expected and what came.

    Gradients: any order.
    Keeps for backward: x.
    Source: the norm of R1 (Mescheder et al. 2018, eq. 9), of WGAN-GP (Gulrajani et al. 2017, eq. 3) and of path lengths
        (Karras et al. 2020, StyleGAN2, section 3.2).

    >>> squared_norm(torch.tensor([[3.0, 4.0], [1.0, 0.0]]))
    tensor([25.,  1.])
    """
    _check_samples("x", x)
    provider = _choose(x, "squared_norm")
    if provider == "reference":
        return squared_norm_reference(x)
    return OPERATORS["gradient_penalty"].registered[provider].norm_op(in_format(x, dense_format(x)))


def interpolate(real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
    """x̂ = real + ε_n·(fake - real): of every sample a point on the line from real to fake.

    Args:
        real: [N, ...] of two axes or more, float64, float32, float16 or bfloat16. Contiguous and channels_last tensors
            are read in place; other layouts are copied to contiguous first.
        fake: shape and dtype of real; copied where its memory format is another.
        epsilon: [N], cast to float32, or float64 where real is.

    Returns:
        Shape and dtype of real, in its memory format; contiguous where it is neither that nor channels_last.

    Raises:
        ValueError, TypeError: an argument that does not fit, named with what was expected and what came.

    Gradients: any order.
    Keeps for backward: real, fake and epsilon.
    Source: Gulrajani et al. 2017 (WGAN-GP), algorithm 1, line 6.

    >>> interpolate(torch.zeros(2, 2), torch.ones(2, 2), torch.tensor([0.25, 1.0]))
    tensor([[0.2500, 0.2500],
            [1.0000, 1.0000]])
    """
    _check_samples("real", real)
    check_dense("fake", fake)
    check_dense("epsilon", epsilon)
    if sizes(fake) != sizes(real):
        raise ValueError(f"fake must have real's shape {list(sizes(real))}, got {list(sizes(fake))}")
    if fake.dtype != real.dtype:
        raise TypeError(f"fake must have real's dtype {real.dtype}, got {fake.dtype}")
    if sizes(epsilon) != sizes(real)[:1]:
        raise ValueError(
            f"epsilon must have shape [N]={list(sizes(real)[:1])} to match real, got {list(sizes(epsilon))}"
        )
    for name, tensor in (("fake", fake), ("epsilon", epsilon)):
        if tensor.device != real.device:
            raise ValueError(f"{name} must be on real's device {real.device}, got {tensor.device}")
    memory_format = dense_format(real)
    real, fake = (in_format(x, memory_format) for x in (real, fake))
    provider = _choose(real, "interpolate")
    if provider == "reference":
        return interpolate_reference(real, fake, epsilon)
    epsilon = epsilon.to(sum_dtype(real)).contiguous()
    return OPERATORS["gradient_penalty"].registered[provider].interpolate_op(real, fake, epsilon)


def _choose(x: Tensor, kind: str) -> str:
    return providers.choose("gradient_penalty", x.device, x.dtype, call=lambda: (layout_name(x), kind, (x.numel(),)))


def _check_samples(name: str, x: Any) -> None:
    check_dense(name, x)
    if x.ndim < 2:
        raise ValueError(f"{name} must have two axes or more [N, ...], got shape {list(sizes(x))}")


class GradientPenalty:
    """The operators of one provider: squared_norm, a backward and a double backward, whose derivatives are these two
    again, and interpolate, whose gradient for an image is that backward too.

    Args:
        provider: its name.
        kernels: as `Provider.kernels`.
    """

    def __init__(self, provider: str, kernels: Mapping[str, str]):
        self.norm_op = register(
            f"squared_norm_{provider}", "(Tensor x) -> Tensor", _sums, self.save, self.norm_backward
        )
        self.backward_op = register(  # 2·dy_n·x
            f"squared_norm_backward_{provider}",
            "(Tensor dy, Tensor x) -> Tensor",
            lambda dy, x: torch.empty_like(x),
            self.save,
            self.backward_backward,
        )
        self.double_backward_op = register(  # 2·Σ ddx·x and, where there is a dy, 2·dy_n·ddx
            f"squared_norm_double_backward_{provider}",
            "(Tensor ddx, Tensor x, Tensor? dy) -> (Tensor, Tensor)",
            lambda ddx, x, dy: (_sums(x), x.new_empty([0]) if dy is None else torch.empty_like(x)),
            self.save,
            self.double_backward_backward,
        )
        self.interpolate_op = register(
            f"interpolate_{provider}",
            "(Tensor real, Tensor fake, Tensor epsilon) -> Tensor",
            lambda real, fake, epsilon: torch.empty_like(real),
            self.save,
            self.interpolate_backward,
        )

    @staticmethod
    def save(ctx, inputs, output):
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs)

    def norm_backward(self, ctx, dy):
        (x,) = ctx.saved_tensors
        return None if dy is None else self.backward_op(dy.contiguous(), x)

    def backward_backward(self, ctx, ddx):
        if ddx is None:
            return None, None
        dy, x = ctx.saved_tensors
        needs, ddx = needed(ctx), in_format(ddx, dense_format(x))
        if not needs[0]:
            return None, self.backward_op(dy, ddx) if needs[1] else None
        ddy, dx = self.double_backward_op(ddx, x, dy if needs[1] else None)
        return ddy, dx if needs[1] else None

    def double_backward_backward(self, ctx, dsum, dout):
        ddx, x, dy = ctx.saved_tensors
        needs, of_ddx, of_x, of_dy = needed(ctx), None, None, None
        if dsum is not None:
            dsum = dsum.contiguous()
            of_ddx = self.backward_op(dsum, x) if needs[0] else None
            of_x = self.backward_op(dsum, ddx) if needs[1] else None
        if dout is not None and dy is not None:
            dout = in_format(dout, dense_format(x))
            if needs[0]:
                more = self.backward_op(dy, dout)
                of_ddx = more if of_ddx is None else of_ddx + more
            of_dy = self.double_backward_op(dout, ddx, None)[0] if needs[2] else None
        return of_ddx, of_x, of_dy

    def interpolate_backward(self, ctx, dy):
        if dy is None:
            return None, None, None
        real, fake, epsilon = ctx.saved_tensors
        needs, dy = needed(ctx), in_format(dy, dense_format(real))
        of_real = self.backward_op((1 - epsilon) / 2, dy) if needs[0] else None
        of_fake = self.backward_op(epsilon / 2, dy) if needs[1] else None
        of_epsilon = None
        if needs[2]:
            towards = fake.to(epsilon.dtype) - real.to(epsilon.dtype)
            of_epsilon = (dy.to(epsilon.dtype) * towards).sum(dim=tuple(range(1, real.ndim)))
        return of_real, of_fake, of_epsilon


def _sums(x: Tensor) -> Tensor:
    """One a sample, without values."""
    return x.new_empty(x.shape[:1], dtype=sum_dtype(x))


def _example() -> Tensor:
    real, fake = torch.linspace(-1, 1, 2 * 3 * 6 * 5).reshape(2, 3, 6, 5), torch.ones(2, 3, 6, 5)
    return squared_norm(interpolate(real, fake, torch.tensor([0.25, 0.5])))


OPERATORS["gradient_penalty"] = Operator(
    "gradient_penalty",
    _example,
    kernels=("cpu", "cuda", "triton"),
    register=GradientPenalty,
    triton=triton_form.LAUNCHES,
    defaults=(Default("cpu", ("native",), "bench/results/cpu_gradient_penalty.json: AMD EPYC with AVX2, one thread"),),
)
