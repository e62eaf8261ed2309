"""Adversarial losses: functions of logits, one value a sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


def per_sample(values: Tensor) -> Tensor:
    """Mean over everything but the batch: [N, ...] -> [N], for patch discriminators too."""
    return values.flatten(1).mean(dim=1) if values.ndim > 1 else values


def nonsaturating_g(fake_logits: Tensor) -> Tensor:
    """-log σ(D(G(z))) = softplus(-D(G(z))), [N]. Source: Goodfellow et al. 2014, section 3."""
    return per_sample(F.softplus(-fake_logits))


def logistic_d_real(real_logits: Tensor) -> Tensor:
    """-log σ(D(x)) = softplus(-D(x)), [N]. Source: Goodfellow et al. 2014, eq. 1."""
    return per_sample(F.softplus(-real_logits))


def logistic_d_fake(fake_logits: Tensor) -> Tensor:
    """-log(1 - σ(D(G(z)))) = softplus(D(G(z))), [N]. Source: Goodfellow et al. 2014, eq. 1."""
    return per_sample(F.softplus(fake_logits))


def wasserstein_g(fake_logits: Tensor) -> Tensor:
    """-D(G(z)), [N]. Source: Arjovsky et al. 2017, algorithm 1."""
    return per_sample(-fake_logits)


def wasserstein_d_real(real_logits: Tensor) -> Tensor:
    """-D(x), [N]. Source: Arjovsky et al. 2017, algorithm 1."""
    return per_sample(-real_logits)


def wasserstein_d_fake(fake_logits: Tensor) -> Tensor:
    """D(G(z)), [N]. Source: Arjovsky et al. 2017, algorithm 1."""
    return per_sample(fake_logits)


def hinge_g(fake_logits: Tensor) -> Tensor:
    """-D(G(z)), [N]. Source: Miyato et al. 2018, eq. 17."""
    return per_sample(-fake_logits)


def hinge_d_real(real_logits: Tensor) -> Tensor:
    """max(0, 1 - D(x)), [N]. Source: Miyato et al. 2018, eq. 16."""
    return per_sample(F.relu(1 - real_logits))


def hinge_d_fake(fake_logits: Tensor) -> Tensor:
    """max(0, 1 + D(G(z))), [N]. Source: Miyato et al. 2018, eq. 16."""
    return per_sample(F.relu(1 + fake_logits))


def lsgan_g(fake_logits: Tensor) -> Tensor:
    """½(D(G(z)) - 1)², [N]. Source: Mao et al. 2017, eq. 9."""
    return per_sample((fake_logits - 1).square() / 2)


def lsgan_d_real(real_logits: Tensor) -> Tensor:
    """½(D(x) - 1)², [N]. Source: Mao et al. 2017, eq. 9."""
    return per_sample((real_logits - 1).square() / 2)


def lsgan_d_fake(fake_logits: Tensor) -> Tensor:
    """½D(G(z))², [N]. Source: Mao et al. 2017, eq. 9."""
    return per_sample(fake_logits.square() / 2)


class Pairwise(NamedTuple):
    """An adversarial loss: what D and G minimise the mean of, given the logits of both kinds of images.

    Attributes:
        d: (real_logits, fake_logits) -> [N].
        g: (fake_logits, real_logits) -> [N].
        paired: whether g looks at real_logits; where it does not, None is handed to it and reals are not drawn for G.
        signed: whether a logit above 0 (where paired, the difference of two) says that an image is real.
    """

    d: Callable[[Tensor, Tensor], Tensor]
    g: Callable[[Tensor, Tensor | None], Tensor]
    paired: bool = False
    signed: bool = True


def separate(
    g: Callable[[Tensor], Tensor],
    d_real: Callable[[Tensor], Tensor],
    d_fake: Callable[[Tensor], Tensor],
    signed: bool = True,
) -> Pairwise:
    """A loss whose parts stand alone: d = d_fake + d_real; G looks at its own images only, by g.

    Args:
        g, d_real, d_fake: logits -> [N].
        signed: as in `Pairwise`.

    Returns:
        the loss.
    """
    return Pairwise(
        d=lambda real_logits, fake_logits: d_fake(fake_logits) + d_real(real_logits),
        g=lambda fake_logits, real_logits: g(fake_logits),
        signed=signed,
    )


def relativistic_d(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """softplus(-(D(x) - D(G(z)))), [N], pair by pair. Source: Jolicoeur-Martineau 2018, eq. 8."""
    return per_sample(F.softplus(fake_logits - real_logits))


def relativistic_g(fake_logits: Tensor, real_logits: Tensor | None) -> Tensor:
    """softplus(-(D(G(z)) - D(x))), [N], pair by pair. Source: Jolicoeur-Martineau 2018, eq. 9.

    Raises:
        ValueError: there are no real_logits.
    """
    if real_logits is None:
        raise ValueError("real_logits must be given: a relativistic loss compares with them")
    return per_sample(F.softplus(real_logits - fake_logits))


NONSATURATING = separate(nonsaturating_g, logistic_d_real, logistic_d_fake)
WASSERSTEIN = separate(wasserstein_g, wasserstein_d_real, wasserstein_d_fake, signed=False)
HINGE = separate(hinge_g, hinge_d_real, hinge_d_fake)
LSGAN = separate(lsgan_g, lsgan_d_real, lsgan_d_fake, signed=False)
RELATIVISTIC = Pairwise(relativistic_d, relativistic_g, paired=True)
