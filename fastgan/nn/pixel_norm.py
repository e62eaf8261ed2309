"""Normalisation of a feature vector to unit second moment."""

from __future__ import annotations

from torch import Tensor


def pixel_norm(x: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """y = x / sqrt(mean(x², dim) + eps).

    Args:
        x: latent [N, F] or feature map [N, C, H, W].
        dim: the feature dimension, over which the second moment is taken.
        eps: added to the second moment.

    Returns:
        Tensor of x's shape.

    Gradients: any order.
    Source: Karras et al. 2018 (ProGAN), section 4.2.
    """
    return x * (x.square().mean(dim, keepdim=True) + eps).rsqrt()
