"""Gradient penalties: one value a sample, differentiable once more."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fastgan.losses.adversarial import per_sample

DiscriminatorFn = Callable[[Tensor, "Tensor | None"], Tensor]


def _input_gradient(D: DiscriminatorFn, x: Tensor, c: Tensor | None) -> Tensor:
    """∂ΣD(x, c)/∂x, part of the graph; x is a leaf of its own. Of several logits a sample their mean counts, as in the
    losses: else a penalty would grow with the square of the number of patches."""
    x = x.detach().requires_grad_(True)
    logits = D(x, c)
    (grad,) = torch.autograd.grad(per_sample(logits).sum(), x, create_graph=True)
    return grad


def r1(D: DiscriminatorFn, x: Tensor, c: Tensor | None = None) -> Tensor:
    """‖∇ₓ D(x, c)‖², per sample; the objective's weight is γ/2.

    On generated images the same formula is R2. The gradient is taken at the x passed in: augment inside D. Where D
    couples samples (minibatch standard deviation), sample i's value is its part of the gradient of the batch's sum.

    Args:
        D: (x, c) -> logits [N, 1].
        x: real images [N, C, H, W]; detached here.
        c: labels handed on to D.

    Returns:
        [N].

    Source: Mescheder et al. 2018, eq. 9.
    """
    return _input_gradient(D, x, c).square().flatten(1).sum(dim=1)


def gradient_penalty(
    D: DiscriminatorFn, real: Tensor, fake: Tensor, c: Tensor | None = None, *, target: float = 1.0
) -> Tensor:
    """(‖∇ₓ D(x̂, c)‖ - target)² at x̂ = lerp(real, fake, ε), ε uniform in [0, 1] per sample.

    Args:
        D: (x, c) -> logits [N, 1].
        real: images [N, C, H, W].
        fake: images [N, C, H, W].
        c: labels handed on to D.
        target: the wanted norm.

    Returns:
        [N].

    Raises:
        ValueError: real and fake differ in shape.

    Source: Gulrajani et al. 2017, eq. 3 (without λ); target 0: Thanh-Tung et al. 2019, eq. 10.
    """
    if real.shape != fake.shape:
        raise ValueError(f"fake must have real's shape {list(real.shape)}, got {list(fake.shape)}")
    epsilon = torch.rand(real.shape[0], 1, 1, 1, device=real.device, dtype=real.dtype)
    grad = _input_gradient(D, real.detach().lerp(fake.detach(), epsilon), c)
    return (torch.linalg.vector_norm(grad.flatten(1), dim=1) - target).square()


class Labelled(NamedTuple):
    """Images [N, C, H, W] and what D sees beside them: labels [N, c_dim], another image, or None."""

    images: Tensor
    labels: Tensor | None


@dataclass(frozen=True)
class Penalty:
    """A gradient penalty of D; the objective adds factor · weight · mean(measure).

    Args:
        measure: (D, real, fake) -> [N]; `fake` makes the generated images when it is called.
        factor: ½ of those that are written (γ/2)·‖∇D‖².
    """

    measure: Callable[[DiscriminatorFn, Labelled, Callable[[], Labelled]], Tensor]
    factor: float = 1.0


R1 = Penalty(lambda D, real, fake: r1(D, *real), factor=0.5)
R2 = Penalty(lambda D, real, fake: r1(D, *fake()), factor=0.5)
WGAN_GP = Penalty(lambda D, real, fake: gradient_penalty(D, real.images, fake().images, real.labels))
ZERO_GP = Penalty(lambda D, real, fake: gradient_penalty(D, real.images, fake().images, real.labels, target=0.0))


class PathLength:
    """(‖Jᵀy‖ - a)², y ~ N(0, I)/√(HW), a the moving average of ‖Jᵀy‖, J = ∂G(ws)/∂ws.

    ‖Jᵀy‖ is sqrt(mean over the rows of ws of Σ gradient²). The batch's own mean enters a before the penalty is taken
    and is not detached there.

    Args:
        decay: weight of a new batch's mean in a.
        device: where a is kept.

    Raises:
        ValueError: a decay outside (0, 1].

    Source: Karras et al. 2020 (StyleGAN2), section 3.2.
    """

    def __init__(self, decay: float = 0.01, device: torch.device | str = "cpu") -> None:
        if not 0 < decay <= 1:
            raise ValueError(f"decay must be in (0, 1], got {decay!r}")
        self.decay = decay
        self.mean = torch.zeros([], device=device)

    def __call__(self, synthesis: Callable[[Tensor], Tensor], ws: Tensor) -> Tensor:
        """The penalty of every sample, and one step of the moving average.

        Args:
            synthesis: ws -> images [N, C, H, W].
            ws: [N, num_ws, w_dim], part of the mapping's graph (or a leaf, then only synthesis is penalised).

        Returns:
            [N].
        """
        if not ws.requires_grad:
            ws = ws.detach().requires_grad_(True)
        images = synthesis(ws)
        y = torch.randn_like(images) / math.sqrt(images.shape[2] * images.shape[3])
        (grad,) = torch.autograd.grad((images * y).sum(), ws, create_graph=True)
        lengths = grad.square().sum(dim=2).mean(dim=1).sqrt()
        mean = self.mean.to(lengths).lerp(lengths.mean(), self.decay)
        self.mean.copy_(mean.detach())
        return (lengths - mean).square()

    def state_dict(self) -> dict[str, Tensor]:
        """{"mean": a}, a copy."""
        return {"mean": self.mean.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Set a.

        Raises:
            ValueError: state is not what `state_dict` returns.
        """
        mean = state.get("mean")
        if set(state) != {"mean"} or not isinstance(mean, Tensor) or mean.ndim != 0:
            raise ValueError(f"state must hold a 0-dimensional tensor 'mean' alone, got {state!r}")
        self.mean.copy_(mean)
