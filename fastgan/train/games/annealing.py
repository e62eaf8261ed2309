"""Rates that follow the run: learning rates, Adam's β₂, the weights of penalties, the half-life of the average."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch

from fastgan.config.annealing import AnnealedOptions
from fastgan.config.options import AdversarialOptions
from fastgan.losses.objective import lazy_correction
from fastgan.train.players import Player
from fastgan.train.schedule import BetaTwo, Schedule, half_cosine


def anneal(players: Sequence[Player], options: AdversarialOptions) -> tuple[Schedule, ...]:
    """Have the players' rates follow the options, where these say that they do.

    What a player adds to its adversarial loss, which is its first term, are its penalties.

    Returns:
        what changes with progress; nothing where nothing does.
    """
    if not isinstance(options, AnnealedOptions):
        return ()
    schedules, over = [], options.burn_in_images()
    for player in players:
        for index, group in enumerate(player.optimizer.param_groups):
            rate, decay = group["initial_lr"], group["betas"][1]
            last = options.beta2_end ** lazy_correction(player.terms)
            courses = half_cosine(rate, rate * options.lr_end, over), half_cosine(decay, last, over)
            schedules.append(Schedule(group["lr"], courses[0], f"lr/{player.name}"))
            schedules.append(Schedule(BetaTwo(player.optimizer, index), courses[1], f"beta2/{player.name}"))
        adversarial, *penalties = player.terms
        for index, term in enumerate(penalties):
            first = float(term.weight)
            weight = torch.tensor(first, device=player.parameters[0].device)
            course = half_cosine(first, first * options.penalty_end, over)
            schedules.append(Schedule(weight, course, f"weight/{term.name}"))
            penalties[index] = dataclasses.replace(term, weight=weight)
        player.terms = (adversarial, *penalties)
    return tuple(schedules)


def half_life(options: AdversarialOptions) -> float | Callable[[int], float]:
    """Half-life of the averaged generator in images, as `Ema` takes it."""
    last = options.half_life()
    if not isinstance(options, AnnealedOptions):
        return last
    return half_cosine(1000 * options.ema_start, last, options.burn_in_images())
