"""The game that most GANs are: one generator against one discriminator, as players of the loop."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fastgan.choices import ADVERSARIAL, chosen
from fastgan.losses.objective import Term
from fastgan.losses.penalties import PathLength, r1
from fastgan.train.ema import Ema
from fastgan.train.options import TrainingOptions
from fastgan.train.players import Player, Source, Stateful, adam
from fastgan.train.state import TrainState
from fastgan.train.statistics import Statistics


class LabelledSource(Source, Protocol):
    """A source of batches with `image` and `label`, that can also draw labels alone."""

    def random_labels(self, n: int) -> Tensor: ...


class LatentSource:
    """(z, c) batches: z normal, labels following the data set's distribution (from torch's global generator)."""

    def __init__(self, batch: int, z_dim: int, labels: LabelledSource, device: torch.device):
        self.batch, self.z_dim, self.labels, self.device = batch, z_dim, labels, device

    def next(self) -> tuple[Tensor, Tensor]:
        z = torch.randn(self.batch, self.z_dim, device=self.device, dtype=torch.float32)
        return z, self.labels.random_labels(self.batch)

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        pass  # its randomness is torch's global generator, which the training state holds


def two_player_game(
    G: Any, D: nn.Module, options: TrainingOptions, source: LabelledSource, device: torch.device
) -> TrainState:
    """G and D against each other, ready for `train`.

    G minimises the adversarial loss and, lazily, the path-length penalty; D its own side of the loss and, lazily, R1 on
    real images. The average of G's weights is kept as "G". With micro-batches, `G.w_avg` and the like follow the first
    micro-batch of each step.

    Args:
        G, D: as `models.registry.build` gives them, on `device`.
        options: checked options; batch_gpu sets the micro-batch.
        source: real micro-batches.
        device: where latents are drawn.

    Raises:
        ValueError: pl_weight above 0 for a generator without mapping and synthesis; r1_gamma above 0 for a
            discriminator with batch normalisation, which has no gradient per sample.
    """
    if options.pl_weight and not (hasattr(G, "mapping") and hasattr(G, "synthesis")):
        raise ValueError(f"pl_weight must be 0 for a generator without mapping and synthesis, got {options.pl_weight}")
    statistics = Statistics()
    latents = LatentSource(options.micro_batch, G.z_dim, source, device)
    loss = chosen(ADVERSARIAL, options.loss)
    path_length = PathLength()
    gamma = options.gamma(G.resolution)
    if gamma and any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in D.modules()):
        raise ValueError(f"r1_gamma must be 0 for a discriminator with batch normalisation, got {gamma}")

    def generator_loss(batch: tuple[Tensor, Tensor], micro: int) -> Tensor:
        z, c = batch
        return loss.g(D(G(z, c), c))

    def path_length_penalty(batch: tuple[Tensor, Tensor], micro: int) -> Tensor:
        z, c = (part[: max(1, len(part) // options.pl_batch_shrink)] for part in batch)
        return path_length(G.synthesis, G.mapping(z, c))

    def discriminator_loss(batch: Any, micro: int) -> Tensor:
        z, c = latents.next()
        with torch.no_grad():
            fake = G(z, c, update_emas=micro == 0)
        fake_logits, real_logits = D(fake, c), D(batch["image"], batch["label"])
        statistics.report("score/fake", fake_logits)
        statistics.report("score/real", real_logits)
        return loss.d_fake(fake_logits) + loss.d_real(real_logits)

    def r1_penalty(batch: Any, micro: int) -> Tensor:
        return r1(D, batch["image"], batch["label"])

    g_terms = (Term("G", generator_loss),)
    extras: dict[str, Stateful] = {}
    if options.pl_weight:
        g_terms += (Term("path_length", path_length_penalty, options.pl_weight, options.pl_interval),)
        extras["path_length"] = path_length
    d_terms = (Term("D", discriminator_loss),)
    if gamma:
        d_terms += (Term("r1", r1_penalty, gamma / 2, options.r1_interval),)

    accumulate = options.batch // options.micro_batch
    g_modules, d_modules = {"G": G}, {"D": D}
    g_adam = adam(g_modules, g_terms, options.g_lr, options.betas, options.eps)
    d_adam = adam(d_modules, d_terms, options.d_lr, options.betas, options.eps)
    players = (
        Player("G", g_modules, g_adam, g_terms, latents, accumulate=accumulate, extras=extras),
        Player("D", d_modules, d_adam, d_terms, source, repeats=options.d_repeats, accumulate=accumulate),
    )
    emas = {"G": Ema(G, options.half_life(), options.ema_rampup)}
    return TrainState(players, emas, options.batch * options.d_repeats, statistics)
