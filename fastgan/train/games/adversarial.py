"""What games of generators against discriminators have in common: D's terms, its augmentation, the players."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fastgan.augment import Augment, Critic
from fastgan.choices import AUGMENTS, PENALTIES, chosen
from fastgan.config.options import AdversarialOptions
from fastgan.losses import Labelled, Move, Pairwise, Penalty, Term
from fastgan.train.players import Player, Source, adam


def check_penalties(options: AdversarialOptions, discriminators: Sequence[nn.Module]) -> None:
    """Raises ValueError for penalties of a discriminator that has no gradient per sample."""
    norms = nn.modules.batchnorm._BatchNorm
    if options.penalties and any(isinstance(part, norms) for D in discriminators for part in D.modules()):
        names = ", ".join(options.penalties)
        raise ValueError(
            "penalties must be empty for a discriminator with batch normalisation, which has no gradient per sample; "
            f"got {names}"
        )


def augmentation(options: AdversarialOptions, device: torch.device) -> Augment | None:
    """What D sees images through; None where it sees them as they are."""
    if options.augment == "none":
        return None
    return chosen(AUGMENTS, options.augment)(round(options.kimg * 1000), options.batch, device)


def critic_terms(
    name: str,
    critic: Critic,
    loss: Pairwise,
    options: AdversarialOptions,
    real: Callable[[Move], Labelled],
    fake: Callable[[Move], Labelled],
    resolution: tuple[int, int],
) -> tuple[Term, ...]:
    """What one discriminator minimises: its side of the adversarial loss, and the penalties.

    Args:
        name: "D", or "D_a" of several: its statistics then end in "_a".
        critic: the discriminator.
        loss: the adversarial loss.
        options: for the penalties.
        real, fake: what it sees of both kinds in a move; fake ones carry no gradient.
        resolution: (H, W) of what it sees.
    """
    which = name.removeprefix("D")

    def discriminator_loss(move: Move) -> Tensor:
        fake_logits, real_logits = critic(*fake(move)), critic(*real(move))
        move.report(f"score/fake{which}", fake_logits)
        move.report(f"score/real{which}", real_logits)
        if move.first:
            critic.adapt(real_logits.detach())
        return loss.d(real_logits, fake_logits)

    def penalty_of(penalty: Penalty) -> Callable[[Move], Tensor]:
        return lambda move: penalty.measure(critic, real(move), lambda: fake(move))

    terms = [Term(name, discriminator_loss)]
    for each, (_, interval) in options.penalties.items():
        penalty: Penalty = chosen(PENALTIES, each)
        weight = penalty.factor * options.penalty_weight(each, resolution)
        terms.append(Term(f"{each}{which}", penalty_of(penalty), weight, interval))
    return tuple(terms)


def player(
    name: str,
    networks: Mapping[str, nn.Module],
    terms: Sequence[Term],
    rate: float,
    source: Source,
    options: AdversarialOptions,
    **more: Any,
) -> Player:
    """A player whose networks Adam updates at the learning rate `rate`; `more` are fields of `Player`."""
    terms = tuple(terms)
    optimizer = adam(networks, terms, rate, options.betas, options.eps)
    return Player(name, networks, optimizer, terms, source, accumulate=options.accumulate, **more)
