"""squared_norm and interpolate: public functions and argument checks."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fastgan.ops.arguments import check_dense, sizes
from fastgan.ops.gradient_penalty.reference import interpolate_reference, squared_norm_reference


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
    return squared_norm_reference(x)


def interpolate(real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
    """x̂ = real + ε_n·(fake - real): of every sample a point on the line from real to fake.

    Args:
        real: [N, ...] of two axes or more, float64, float32, float16 or bfloat16. Contiguous and channels_last tensors
            are read in place; other layouts are copied to contiguous first.
        fake: shape and dtype of real; copied where its memory format is another.
        epsilon: [N], cast to float32, or float64 where real is.

    Returns:
        Shape and dtype of real, in its memory format.

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
    return interpolate_reference(real, fake, epsilon)


def _check_samples(name: str, x: Any) -> None:
    check_dense(name, x)
    if x.ndim < 2:
        raise ValueError(f"{name} must have two axes or more [N, ...], got shape {list(sizes(x))}")
