"""What games of generators against discriminators have in common: D's terms, its augmentation, the players."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fastgan.augment import Augment, Critic
from fastgan.choices import ADVERSARIAL, AUGMENTS, PENALTIES, chosen
from fastgan.config.options import AdversarialOptions
from fastgan.losses import Evaluated, Labelled, Move, Pairwise, Penalty, Place, Term, at_fake, at_real, evaluate
from fastgan.models.protocols import Grouping
from fastgan.nn.minibatch_stddev import stddev_group_size
from fastgan.train.players import Player, Source, adam


def check_penalties(options: AdversarialOptions, discriminators: Sequence[nn.Module]) -> None:
    """Raises ValueError for penalties of a discriminator that has no gradient per sample."""
    if options.penalties and any(map(_normalises_batches, discriminators)):
        names = ", ".join(options.penalties)
        raise ValueError(
            "penalties must be empty for a discriminator with batch normalisation, which has no gradient per sample; "
            f"got {names}"
        )


def _normalises_batches(D: nn.Module) -> bool:
    return any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in D.modules())


def _shares(name: str, options: AdversarialOptions) -> bool:
    """Whether a penalty shares D's evaluation with the adversarial loss."""
    return options.penalties[name][1] == 1 and chosen(PENALTIES, name).place in (at_real, at_fake)


def joined_group(options: AdversarialOptions, D: nn.Module) -> int | None:
    """Samples in a group of D's minibatch statistics where it is to see both kinds of images as one batch; else None.

    Raises:
        ValueError: D could not see them so without another result or more work.
    """
    if not options.joined:
        return None
    if _normalises_batches(D):
        raise ValueError("joined must be False for a discriminator with batch normalisation, which would mix both")
    alone = [name for name in options.penalties if _shares(name, options)]
    if alone:
        raise ValueError(
            f"joined must be False beside {alone[0]} at every step, whose gradient is of one kind of images"
        )
    if not isinstance(D, Grouping):
        return 1
    n = options.micro_batch
    group, of_both = (stddev_group_size(count, D.mbstd_group) for count in (n, 2 * n))
    if group != of_both:
        raise ValueError(
            f"joined must be False with {n} images a micro-batch: their groups of minibatch statistics have {group}, "
            f"those of twice as many {of_both}; take a multiple of mbstd_group={D.mbstd_group}"
        )
    return group


def augmentation(options: AdversarialOptions, channels: Sequence[int], device: torch.device) -> Augment | None:
    """What D sees images through; None where it sees them as they are.

    Args:
        options: of the run.
        channels: of each of several images that D sees beside each other.
        device: where they are.

    Raises:
        ValueError: p is to follow the signs of logits of which the loss makes no yes and no.
    """
    if options.augment == "none":
        return None
    if options.augment == "ada" and not chosen(ADVERSARIAL, options.loss).signed:
        raise ValueError(
            f"augment must not be ada beside loss={options.loss}: the signs of D's logits, which p follows, mean "
            "nothing there; take fixed with an augment_p, or diffaug"
        )
    return chosen(AUGMENTS, options.augment)(options, channels, device)


def critic_terms(
    name: str,
    critic: Critic,
    loss: Pairwise,
    options: AdversarialOptions,
    real: Callable[[Move], Labelled],
    fake: Callable[[Move], Labelled],
    resolution: tuple[int, int],
    group: int | None = None,
) -> tuple[Term, ...]:
    """What one discriminator minimises: its side of the adversarial loss, and the penalties.

    Args:
        name: "D", or "D_a" of several: its statistics then end in "_a".
        critic: the discriminator.
        loss: the adversarial loss.
        options: for the penalties.
        real, fake: what it sees of both kinds in a move; fake ones carry no gradient.
        resolution: (H, W) of what it sees.
        group: as `joined_group` says.
    """
    which = name.removeprefix("D")

    def evaluated(move: Move, place: Place) -> Evaluated:
        """What D says of these images, once a move: a penalty of every step and the loss share it, and one descent."""
        seen = lambda: place(real(move), lambda: fake(move))  # noqa: E731
        return move.once(f"{name} {place.__name__}", lambda: evaluate(critic, seen()))

    def discriminator_loss(move: Move) -> Tensor:
        if group is None:
            fake_logits, real_logits = evaluated(move, at_fake).logits, evaluated(move, at_real).logits
        else:
            fake_logits, real_logits = critic.of_both(fake(move), real(move), group)
        move.report(f"score/fake{which}", fake_logits)
        move.report(f"score/real{which}", real_logits)
        # How sure D is of reals: of a relativistic loss, of reals beside generated ones.
        certain = (real_logits - fake_logits if loss.paired else real_logits).detach()
        if loss.signed:
            move.report(f"overfit/r_t{which}", certain.sign())
        if move.first:
            for figure, value in critic.adapt(certain).items():
                move.report(f"augment/{figure}", value)
        return loss.d(real_logits, fake_logits)

    def penalty_of(penalty: Penalty, title: str) -> Callable[[Move], Tensor]:
        return lambda move: penalty(evaluated(move, penalty.place), lambda share: move.report(f"zeros/{title}", share))

    terms = [Term(name, discriminator_loss)]
    for each, (_, interval) in options.penalties.items():
        penalty, title = chosen(PENALTIES, each), f"{each}{which}"
        weight = penalty.factor * options.penalty_weight(each, resolution)
        terms.append(Term(title, penalty_of(penalty, title), weight, interval))
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
