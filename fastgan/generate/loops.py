"""Smooth closed paths through given points."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Loop = Callable[[int, float], Tensor]


def spline(points: Tensor) -> Loop:
    """The periodic cubic spline through K points: the closed curve without kinks in slope or curvature.

    From y_k to y_{k+1} it is (1-t) y_k + t y_{k+1} + ((1-t)³ - (1-t)) M_k/6 + (t³ - t) M_{k+1}/6, where the second
    derivatives M solve M_{k-1} + 4 M_k + M_{k+1} = 6 (y_{k-1} - 2 y_k + y_{k+1}).

    Args:
        points: [K, ...], floating point, K > 0.

    Returns:
        (k, t) -> [...], float64, on the CPU: t of the way from point k to the next, 0 <= t < 1; at 0 the point itself.
    """
    y = points.detach().to("cpu", torch.float64)
    count = len(y)
    bends = 6 * (y.roll(1, 0) - 2 * y + y.roll(-1, 0))
    waves = 4 + 2 * torch.cos(2 * math.pi * torch.arange(count, dtype=torch.float64, device="cpu") / count)
    # The system is circulant: its eigenvectors are waves.
    m = torch.fft.ifft(torch.fft.fft(bends, dim=0) / waves.reshape(-1, *[1] * (y.ndim - 1)), dim=0).real

    def at(k: int, t: float) -> Tensor:
        here, following, s = k % count, (k + 1) % count, 1 - t
        return s * y[here] + t * y[following] + (s**3 - s) / 6 * m[here] + (t**3 - t) / 6 * m[following]

    return at


def arcs(points: Tensor) -> Loop:
    """Great arcs from point to point: (sin((1-t)θ) y_k + sin(tθ) y_{k+1}) / sin θ, θ the angle between the rows.

    Random latents of many numbers have nearly one length, which means of two of them fall short of; these do not.

    Args:
        points: [K, ..., L], floating point; each row of L numbers goes its own way.

    Returns:
        (k, t) -> [..., L], as `spline`. Rows of one direction, or opposite ones, go straight.

    Source: Shoemake 1985.
    """
    y = points.detach().to("cpu", torch.float64)
    count = len(y)
    rows = torch.nn.functional.normalize(y, dim=-1)
    angles = (rows * rows.roll(-1, 0)).sum(-1, keepdim=True).clamp(-1, 1).acos()

    def at(k: int, t: float) -> Tensor:
        here, following = k % count, (k + 1) % count
        angle, sine = angles[here], angles[here].sin()
        straight = sine < 1e-6
        a = torch.where(straight, 1 - t, ((1 - t) * angle).sin() / sine)
        b = torch.where(straight, t, (t * angle).sin() / sine)
        return a * y[here] + b * y[following]

    return at


def lines(points: Tensor) -> Loop:
    """Straight lines from point to point: (1-t) y_k + t y_{k+1}.

    Args:
        points: [K, ...], floating point.

    Returns:
        (k, t) -> [...], as `spline`.
    """
    y = points.detach().to("cpu", torch.float64)
    return lambda k, t: (1 - t) * y[k % len(y)] + t * y[(k + 1) % len(y)]
