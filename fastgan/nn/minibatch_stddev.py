"""Minibatch standard deviation."""

from __future__ import annotations

import torch
from torch import Tensor

from fastgan.ops.arguments import as_int, dense_format, exporting, joined


def stddev_group_size(batch: int, group: int) -> int:
    """The largest divisor of `batch` that is at most `group` (1 for an empty batch).

    >>> [stddev_group_size(n, 4) for n in (1, 2, 3, 4, 6, 7, 8)]
    [1, 2, 3, 4, 3, 1, 4]
    """
    return next((g for g in range(min(group, batch), 1, -1) if batch % g == 0), 1)


def minibatch_stddev(x: Tensor, group: int = 4, eps: float = 1e-8) -> Tensor:
    """Append one channel: mean over (C, H, W) of sqrt(var over the sample's group + eps).

    Groups are strided: with G samples a group and M = N / G groups, sample i is in group i mod M.
    The variance is the biased one. A group of one sample yields sqrt(eps).

    Args:
        x: features [N, C, H, W].
        group: the most samples in a group; G is the largest divisor of N up to it.
        eps: added to the variance.

    Returns:
        [N, C + 1, H, W], in x's memory format.

    Raises:
        ValueError: x is not 4-dimensional, or group is below 1.

    Exported or traced, it finds G where it runs, for the N that comes.

    Gradients: any order. Couples the samples of a group.
    Source: Karras et al. 2018 (ProGAN), section 3; groups as in Karras et al. 2020 (StyleGAN2).
    """
    if x.ndim != 4:
        raise ValueError(f"x must have shape [N, C, H, W], got {list(x.shape)}")
    most = as_int(group)
    if most is None or most < 1:
        raise ValueError(f"group must be an int of at least 1, got {group!r}")
    n, c, h, w = x.shape
    if exporting():
        std = _stddev_of_any_batch(x, most, eps)
    else:
        g = stddev_group_size(n, most)
        y = x.reshape(g, n // g, c, h, w)  # sample i = k·M + m sits at [k, m]
        y = y - y.mean(dim=0)
        std = (y.square().mean(dim=0) + eps).sqrt().mean(dim=[1, 2, 3]).repeat(g)  # [N]
    return joined([x, std[:, None, None, None].expand(n, 1, h, w)], dense_format(x))


def _stddev_of_any_batch(x: Tensor, group: int, eps: float) -> Tensor:
    """[N], in a graph that holds for any N: G is found when it runs, and a matrix [N, N] averages over groups."""
    i = torch.arange(x.shape[0], device=x.device)
    n, g = torch.ones_like(i).sum(), torch.arange(1, group + 1, device=x.device)
    g = torch.where(n % g == 0, g, 1).max()
    of_group = i % torch.div(n, g, rounding_mode="floor")
    average = (of_group[:, None] == of_group).to(x.dtype) / g
    y = x.flatten(1)
    y = y - average @ y
    return (average @ y.square() + eps).sqrt().mean(dim=1)
