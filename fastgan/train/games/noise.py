"""Images of noise: one generator against one discriminator, on one set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fastgan.augment import Augment, Critic
from fastgan.choices import ADVERSARIAL, AUGMENTS, PENALTIES, chosen
from fastgan.config.options import AdversarialOptions, StyledOptions
from fastgan.data import Batches, Dataset
from fastgan.generate.quantise import to_uint8
from fastgan.losses import Labelled, Move, Pairwise, PathLength, Penalty, Term
from fastgan.models.protocols import FromNoise, Styled
from fastgan.train.ema import Ema
from fastgan.train.game import Game, Pictures
from fastgan.train.players import Player, Stateful, adam
from fastgan.train.schedule import Schedule


def play(
    networks: Mapping[str, Any], options: AdversarialOptions, sets: Mapping[str, Dataset], device: torch.device
) -> Game:
    """G and D against each other.

    G minimises the adversarial loss and, if its latents are mapped to styles, the path-length penalty; D its own side
    of the loss and the gradient penalties. The average of G's weights is kept as "G". With micro-batches, `G.w_avg`
    and the like follow the first of each step.

    Args:
        networks: {"G": a `FromNoise`, "D": (images, labels) -> logits [N, 1]}, on `device`.
        options: checked options.
        sets: {"image": the set}, with labels if the networks are conditioned on them.
        device: where networks and batches are.

    Raises:
        ValueError: a path-length penalty for a generator that is not `Styled`; a gradient penalty of a discriminator
            with batch normalisation, which has no gradient per sample.
    """
    G, D = networks["G"], networks["D"]
    _check(G, D, options)
    dataset = sets["image"]
    loss: Pairwise = chosen(ADVERSARIAL, options.loss)
    augment: Augment | None = None
    if options.augment != "none":
        augment = chosen(AUGMENTS, options.augment)(round(options.kimg * 1000), device)
    critic = Critic(D, augment)
    reals = Batches(
        dataset,
        options.micro_batch,
        seed=options.seed,
        mirror=options.mirror,
        channels_last=options.uses_channels_last(device.type),
        device=device,
    )
    latents = Latents(options.micro_batch, G.z_dim, reals, device)

    g_terms = [Term("G", _generator_loss(G, critic, loss))]
    g_extras: dict[str, Stateful] = {}
    if isinstance(options, StyledOptions) and options.pl_weight:
        path_length = PathLength(device=device)
        penalty = _path_length_penalty(G, path_length, options.pl_batch_shrink)
        g_terms.append(Term("path_length", penalty, options.pl_weight, options.pl_interval))
        g_extras["path_length"] = path_length
    d_terms = [Term("D", _discriminator_loss(G, critic, loss))]
    for name, (_, interval) in options.penalties.items():
        chosen_penalty: Penalty = chosen(PENALTIES, name)
        weight = chosen_penalty.factor * options.penalty_weight(name, G.resolution)
        d_terms.append(Term(name, _penalty(G, critic, chosen_penalty), weight, interval))

    def player(name: str, terms: list[Term], rate: float, source: Any, **more: Any) -> Player:
        network, objective = {name: networks[name]}, tuple(terms)
        optimizer = adam(network, objective, rate, options.betas, options.eps)
        return Player(name, network, optimizer, objective, source, accumulate=options.accumulate, **more)

    drawn = Drawn(reals, latents)
    d_extras = {} if augment is None else {"augment": augment}
    players = (
        player("G", g_terms, options.g_lr, drawn if loss.paired else latents, extras=g_extras),
        player("D", d_terms, options.d_lr, drawn, repeats=options.d_repeats, extras=d_extras),
    )
    average = Ema(G, options.half_life(), options.ema_rampup)
    shown = _Shown(average.module, dataset, reals, options, device)
    return Game(
        players,
        {"G": average},
        options.batch * options.d_repeats,
        reals=shown.reals,
        preview=shown.preview,
        sample=shown.sample,
        compared=dataset,
        schedules=() if augment is None else tuple(Schedule(*each) for each in augment.schedules()),
    )


def _check(G: Any, D: nn.Module, options: AdversarialOptions) -> None:
    if not isinstance(G, FromNoise):
        raise ValueError(f"G must be a fastgan.models.FromNoise, got {type(G).__name__}")
    if isinstance(options, StyledOptions) and options.pl_weight and not isinstance(G, Styled):
        raise ValueError(f"pl_weight must be 0 for a generator without mapping and synthesis, got {options.pl_weight}")
    if options.penalties and any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in D.modules()):
        names = ", ".join(options.penalties)
        raise ValueError(
            f"penalties must be empty for a discriminator with batch normalisation, which has no gradient per sample; "
            f"got {names}"
        )


class Latents:
    """{"z": [N, z_dim], "c": [N, c_dim]}: z normal, labels following the set's distribution, from torch's global
    generator.
    """

    def __init__(self, batch: int, z_dim: int, labels: Batches, device: torch.device):
        self.batch, self.z_dim, self.labels, self.device = batch, z_dim, labels, device

    def next(self) -> dict[str, Tensor]:
        z = torch.randn(self.batch, self.z_dim, device=self.device, dtype=torch.float32)
        return {"z": z, "c": self.labels.random_labels(self.batch)}

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Nothing: its randomness is torch's global generator, which the training state holds."""


class Drawn:
    """Real images with their labels, and latents for as many generated ones."""

    def __init__(self, reals: Batches, latents: Latents):
        self.reals, self.latents = reals, latents

    def next(self) -> dict[str, Tensor]:
        return self.reals.next() | self.latents.next()

    def state_dict(self) -> dict:
        return self.reals.state_dict()

    def load_state_dict(self, state: dict) -> None:
        self.reals.load_state_dict(state)


def _generator_loss(G: FromNoise, critic: Critic, loss: Pairwise) -> Any:
    def generator_loss(move: Move) -> Tensor:
        batch = move.batch
        fake_logits = critic(G(batch["z"], batch["c"]), batch["c"])
        return loss.g(fake_logits, critic(batch["image"], batch["label"]) if loss.paired else None)

    return generator_loss


def _path_length_penalty(G: Any, path_length: PathLength, shrink: int) -> Any:
    def path_length_penalty(move: Move) -> Tensor:
        z, c = (move.batch[name][: max(1, len(move.batch[name]) // shrink)] for name in ("z", "c"))
        return path_length(G.synthesis, G.mapping(z, c))

    return path_length_penalty


def _fake(G: Any, move: Move, update_emas: bool = False) -> Labelled:
    """The generated images that all terms of one of D's moves look at."""

    def make() -> Labelled:
        z, c = move.batch["z"], move.batch["c"]
        with torch.no_grad():
            return Labelled(G(z, c, update_emas=update_emas) if isinstance(G, Styled) else G(z, c), c)

    return move.once("fake", make)


def _discriminator_loss(G: FromNoise, critic: Critic, loss: Pairwise) -> Any:
    def discriminator_loss(move: Move) -> Tensor:
        fake_logits = critic(*_fake(G, move, update_emas=move.first))
        real_logits = critic(move.batch["image"], move.batch["label"])
        move.report("score/fake", fake_logits)
        move.report("score/real", real_logits)
        if move.first:
            critic.adapt(real_logits.detach())
        return loss.d(real_logits, fake_logits)

    return discriminator_loss


def _penalty(G: FromNoise, critic: Critic, penalty: Penalty) -> Any:
    def gradient_penalty(move: Move) -> Tensor:
        real = Labelled(move.batch["image"], move.batch["label"])
        return penalty.measure(critic, real, lambda: _fake(G, move))

    return gradient_penalty


class _Shown:
    """What a run shows: pictures of latents that depend on the seed alone, torch's global generator left as it is."""

    def __init__(
        self, G: Any, dataset: Dataset, labels: Batches, options: AdversarialOptions, device: torch.device
    ) -> None:
        self.G, self.dataset, self.labels, self.options, self.device = G, dataset, labels, options, device
        self.latents = self.draw(_grid_count(dataset.resolution), options.seed)

    def draw(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """z and c of `count` images."""
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(count, self.G.z_dim, generator=generator, dtype=torch.float32, device="cpu").to(self.device)
        return z, self.labels.random_labels(count, generator=generator)

    @torch.no_grad()
    def images(self, z: Tensor, c: Tensor) -> Iterator[Tensor]:
        """uint8 batches, on the CPU."""
        size = self.options.micro_batch
        for zs, cs in zip(z.split(size), c.split(size), strict=True):
            images = self.G(zs, cs, noise_mode="const") if isinstance(self.G, Styled) else self.G(zs, cs)
            yield to_uint8(images).cpu()

    def reals(self) -> Pictures:
        """The first images of the set."""
        count = min(len(self.latents[0]), len(self.dataset))
        return Pictures(self.dataset.read(torch.arange(count)).permute(0, 3, 1, 2))

    def preview(self) -> Pictures:
        """Images of the same latents every time."""
        return Pictures(torch.cat(list(self.images(*self.latents))))

    def sample(self, count: int) -> Iterator[Tensor]:
        """Images of other latents, the same every time too."""
        return self.images(*self.draw(count, self.options.seed + 1))


def _grid_count(resolution: tuple[int, int]) -> int:
    """Images of a preview grid: as many as make it about 800 pixels wide and high, between 16 and 120."""
    return max(16, min(120, (800 * 800) // (resolution[0] * resolution[1])))
