"""The activations of bias_act: one entry each, used by the reference and by argument checks.

An activation that the compiled library does not know is served by the reference until it has a struct in
`csrc/bias_act/activations.h`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Activation:
    """One activation function.

    Attributes:
        name: what `act=` takes.
        function: (v, alpha) -> act(v), twice differentiable by autograd.
        alpha: default of the parameter, where there is one.
        gain: default output gain.
        piecewise_linear: the derivative depends on the sign of v alone, so backward keeps bits instead of a tensor.
    """

    name: str
    function: Callable[[Tensor, float], Tensor]
    alpha: float = 0.0
    gain: float = 1.0
    piecewise_linear: bool = False


ACTIVATIONS: dict[str, Activation] = {
    activation.name: activation
    for activation in (
        Activation("linear", lambda v, alpha: v, piecewise_linear=True),
        Activation("relu", lambda v, alpha: torch.relu(v), gain=sqrt(2), piecewise_linear=True),
        Activation(
            "lrelu",
            lambda v, alpha: F.leaky_relu(v, alpha) if alpha else torch.relu(v),
            alpha=0.2,
            gain=sqrt(2),
            piecewise_linear=True,
        ),
        Activation("tanh", lambda v, alpha: torch.tanh(v)),
        Activation("sigmoid", lambda v, alpha: torch.sigmoid(v)),
        Activation("elu", lambda v, alpha: F.elu(v)),
        Activation("selu", lambda v, alpha: F.selu(v)),
        # threshold: torch's default of 20 would cut off a tail that float64 can represent
        Activation("softplus", lambda v, alpha: F.softplus(v, threshold=40)),
        Activation("swish", lambda v, alpha: v * torch.sigmoid(v), gain=sqrt(2)),
    )
}


def mask_bytes(elements: int) -> int:
    """Of a mask, which keeps two bits an element of y: slope side, clamped."""
    return (elements + 3) // 4
