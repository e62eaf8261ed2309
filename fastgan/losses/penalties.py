"""Gradient penalties: one value a sample, differentiable once more."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fastgan.losses.adversarial import per_sample
from fastgan.ops import interpolate, squared_norm

DiscriminatorFn = Callable[[Tensor, "Tensor | None"], Tensor]


class Labelled(NamedTuple):
    """Images [N, C, H, W] and what D sees beside them: labels [N, c_dim], another image, or None."""

    images: Tensor
    labels: Tensor | None


class Evaluated(NamedTuple):
    """Images [N, C, H, W] that require a gradient, and D's logits of them [N, ...]."""

    images: Tensor
    logits: Tensor

    def gradient(self) -> Tensor:
        """∂ΣD/∂images, part of the graph.

        Of several logits a sample their mean counts, as in the losses: else a penalty would grow with the square of
        the number of patches. In this pass no operator is asked for gradients of parameters (`ops.gradients`).
        """
        total = per_sample(self.logits).sum()
        (gradient,) = torch.autograd.grad(total, self.images, create_graph=True)
        return gradient


def evaluate(D: DiscriminatorFn, seen: Labelled) -> Evaluated:
    """What D says of images, which become leaves of their own.

    Args:
        D: (x, c) -> logits.
        seen: the images, and what D sees beside them.

    Returns:
        leaves and logits.
    """
    images = seen.images.detach().requires_grad_(True)
    return Evaluated(images, D(images, seen.labels))


def share_of_zeros(gradient: Tensor) -> Tensor:
    """The share of elements that are exactly 0, as gradients of half precision become where they underflow."""
    return (gradient.detach() == 0).float().mean()


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
    return squared_norm(evaluate(D, Labelled(x, c)).gradient())


def gradient_penalty(
    D: DiscriminatorFn,
    real: Tensor,
    fake: Tensor,
    c: Tensor | None = None,
    *,
    target: float = 1.0,
    one_sided: bool = False,
) -> Tensor:
    """(‖∇ₓ D(x̂, c)‖ - target)² at x̂ = lerp(real, fake, ε), ε uniform in [0, 1] per sample.

    Args:
        D: (x, c) -> logits [N, 1].
        real: images [N, C, H, W].
        fake: images [N, C, H, W].
        c: labels handed on to D.
        target: the wanted norm.
        one_sided: smaller norms are no fault: max(0, ‖∇ₓ D(x̂, c)‖ - target)².

    Returns:
        [N].

    Raises:
        ValueError: real and fake differ in shape.

    Source: Gulrajani et al. 2017, eq. 3 (without λ); one-sided: Petzka et al. 2018, eq. 8; target 0: Thanh-Tung et al.
    2019, eq. 10.
    """
    return distance(r1(D, _between(real, fake), c), target, one_sided)


def dragan(D: DiscriminatorFn, real: Tensor, c: Tensor | None = None, *, target: float = 1.0) -> Tensor:
    """(‖∇ₓ D(x̂, c)‖ - target)² at x̂ = x + ε·½σ·u, around the real images x.

    σ is the standard deviation of all values of the batch; u is uniform in [0, 1] per value, ε per sample.

    Args:
        D: (x, c) -> logits [N, 1].
        real: images [N, C, H, W].
        c: labels handed on to D.
        target: the wanted norm.

    Returns:
        [N].

    Source: Kodali et al. 2017, algorithm 1, with the noise of its experiments.
    """
    return distance(r1(D, _around(real), c), target)


def distance(squared: Tensor, target: float, one_sided: bool = False) -> Tensor:
    """(√squared - target)², or 0 below the target where one_sided; the gradient of √ at 0 is taken for 0."""
    excess = _root(squared) - target
    return (excess.clamp_min(0) if one_sided else excess).square()


def _root(squared: Tensor) -> Tensor:
    return squared.clamp_min(torch.finfo(squared.dtype).tiny).sqrt()


def _between(real: Tensor, fake: Tensor) -> Tensor:
    """A point between the images of each pair, uniformly."""
    if real.shape != fake.shape:
        raise ValueError(f"fake must have real's shape {list(real.shape)}, got {list(fake.shape)}")
    epsilon = torch.rand(real.shape[0], device=real.device, dtype=real.dtype)
    return interpolate(real.detach(), fake.detach(), epsilon)


def _around(real: Tensor) -> Tensor:
    """A point between each image and a noisy copy of it."""
    real = real.detach()
    return _between(real, torch.addcmul(real, torch.rand_like(real), real.std(unbiased=False), value=0.5))


# Where a gradient is taken: (real images, what makes the generated ones) -> images. The first two are those that the
# adversarial loss looks at too.
Place = Callable[[Labelled, Callable[[], Labelled]], Labelled]


def at_real(real: Labelled, fake: Callable[[], Labelled]) -> Labelled:
    """The real images; `fake`, which makes the generated ones, is not called."""
    return real


def at_fake(real: Labelled, fake: Callable[[], Labelled]) -> Labelled:
    """The generated images, which `fake` makes; `real` plays no part."""
    return fake()


def between(real: Labelled, fake: Callable[[], Labelled]) -> Labelled:
    """Points between pairs of both, with the labels of the real ones."""
    return Labelled(_between(real.images, fake().images), real.labels)


def around_real(real: Labelled, fake: Callable[[], Labelled]) -> Labelled:
    """Points near real images."""
    return Labelled(_around(real.images), real.labels)


@dataclass(frozen=True)
class Penalty:
    """A gradient penalty of D: the objective adds factor · weight · mean(measure(‖∇D‖²)).

    Args:
        place: where the gradient is taken.
        measure: ‖∇D‖² [N] -> [N].
        factor: ½ of those that are written (γ/2)·‖∇D‖².
    """

    place: Place
    measure: Callable[[Tensor], Tensor]
    factor: float = 1.0

    @property
    def pairs(self) -> bool:
        """Whether it mixes each real image with a generated one, which should then be of the same class."""
        return self.place is between

    def __call__(self, evaluated: Evaluated, report: Callable[[Tensor], None] | None = None) -> Tensor:
        """[N], of what D said at this place; `report` takes the `share_of_zeros` of its gradient."""
        gradient = evaluated.gradient()
        if report is not None:
            report(share_of_zeros(gradient))
        return self.measure(squared_norm(gradient))


R1 = Penalty(at_real, lambda squared: squared, factor=0.5)
R2 = Penalty(at_fake, lambda squared: squared, factor=0.5)
WGAN_GP = Penalty(between, lambda squared: distance(squared, 1.0))
WGAN_LP = Penalty(between, lambda squared: distance(squared, 1.0, one_sided=True))
ZERO_GP = Penalty(between, lambda squared: squared)
DRAGAN = Penalty(around_real, lambda squared: distance(squared, 1.0))


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

    def __call__(
        self,
        synthesis: Callable[[Tensor], Tensor],
        ws: Tensor,
        report: Callable[[Tensor], None] | None = None,
    ) -> Tensor:
        """The penalty of every sample, and one step of the moving average.

        Args:
            synthesis: ws -> images [N, C, H, W].
            ws: [N, num_ws, w_dim], part of the mapping's graph (or a leaf, then only synthesis is penalised).
            report: takes the `share_of_zeros` of the gradient.

        Returns:
            [N].
        """
        if not ws.requires_grad:
            ws = ws.detach().requires_grad_(True)
        images = synthesis(ws)
        y = torch.randn_like(images) / math.sqrt(images.shape[2] * images.shape[3])
        (grad,) = torch.autograd.grad((images * y).sum(), ws, create_graph=True)
        if report is not None:
            report(share_of_zeros(grad))
        lengths = _root(squared_norm(grad) / ws.shape[1])
        mean = self.mean.to(lengths).lerp(lengths.mean(), self.decay)
        self.mean.copy_(torch.where(mean.isfinite(), mean.detach(), self.mean))  # one bad length would stay for ever
        return (lengths - mean).square()

    def averaged(self) -> tuple[Tensor]:
        """a: on several devices it becomes the mean of theirs after every step. Each sees its own in the penalty."""
        return (self.mean,)

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
