"""Images of noise: one generator against one discriminator, on one set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fastgan.augment import Critic
from fastgan.choices import ADVERSARIAL, PENALTIES, chosen
from fastgan.config.options import AdversarialOptions, StyledOptions
from fastgan.data import Batches, Dataset
from fastgan.generate.quantise import to_uint8
from fastgan.losses import Labelled, Move, Pairwise, PathLength, Term
from fastgan.models.protocols import FromNoise, Styled
from fastgan.train.ema import Ema
from fastgan.train.game import Game, Pictures
from fastgan.train.games.adversarial import augmentation, check_penalties, critic_terms, joined_group, player
from fastgan.train.games.annealing import anneal, half_life
from fastgan.train.games.held_out import HeldOut
from fastgan.train.players import Stateful
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
        sets: {"image": the set}, with labels if the networks are conditioned on them, and {"held_image"} if images are
            held out, of which D's logits are told.
        device: where networks and batches are.

    Raises:
        ValueError: a path-length penalty for a generator that is not `Styled`; a gradient penalty of a discriminator
            with batch normalisation, which has no gradient per sample.
    """
    G, D = networks["G"], networks["D"]
    _check(G, D, options)
    dataset = sets["image"]
    loss: Pairwise = chosen(ADVERSARIAL, options.loss)
    augment = augmentation(options, (), device)
    critic = Critic(D, augment)
    last = options.uses_channels_last(device.type)
    reals = Batches(
        dataset, options.micro_batch, seed=options.seed, mirror=options.mirror, channels_last=last, device=device
    )
    latents = Latents(options.micro_batch, G.z_dim, reals, device)
    pairs = any(chosen(PENALTIES, each).pairs for each in options.penalties)
    drawn = Drawn(reals, latents, same_labels=loss.paired or pairs)

    def real(move: Move) -> Labelled:
        return Labelled(move.batch["image"], move.batch["label"])

    def fake(move: Move) -> Labelled:
        if "fake" not in move.batch:  # kept in the batch: lazy penalties see the same, and w_avg follows once a move
            move.batch["fake"] = _fake(G, move)
        return move.batch["fake"]

    def generator_loss(move: Move) -> Tensor:
        c = move.batch["c"]
        fake_logits = critic(G(move.batch["z"], c), c)
        return loss.g(fake_logits, critic(*real(move)) if loss.paired else None)

    g_terms = [Term("G", generator_loss)]
    g_extras: dict[str, Stateful] = {}
    if isinstance(options, StyledOptions) and options.pl_weight:
        path_length = PathLength(device=device)
        penalty = _path_length_penalty(G, path_length, options.pl_batch_shrink)
        g_terms.append(Term("path_length", penalty, options.pl_weight, options.pl_interval))
        g_extras["path_length"] = path_length
    d_terms = critic_terms("D", critic, loss, options, real, fake, G.resolution, joined_group(options, D))
    d_extras = {} if augment is None else {"augment": augment}
    g_source = drawn if loss.paired else latents
    players = (
        player("G", {"G": G}, g_terms, options.g_lr, g_source, options, extras=g_extras),
        player("D", {"D": D}, d_terms, options.d_lr, drawn, options, repeats=options.d_repeats, extras=d_extras),
    )
    schedules = anneal(players, options)
    if augment is not None:
        schedules += tuple(Schedule(*each) for each in augment.schedules())
    average = Ema(G, half_life(options), options.ema_rampup)
    shown = _Shown(average.module, dataset, reals, options, device)
    held = sets.get("held_image")
    watched = None if held is None else HeldOut(D, augment, dataset, held, shown.drawn_by(G), options, device)
    return Game(
        players,
        {"G": average},
        options.batch * options.d_repeats,
        reals=shown.reals,
        preview=shown.preview,
        sample=shown.sample,
        compared=dataset,
        figures=None if watched is None else watched.figures,
        schedules=schedules,
    )


def _check(G: Any, D: nn.Module, options: AdversarialOptions) -> None:
    if not isinstance(G, FromNoise):
        raise ValueError(f"G must be a fastgan.models.FromNoise, got {type(G).__name__}")
    if isinstance(options, StyledOptions) and options.pl_weight and not isinstance(G, Styled):
        raise ValueError(f"pl_weight must be 0 for a generator without mapping and synthesis, got {options.pl_weight}")
    check_penalties(options, [D])


class Latents:
    """{"z": [N, z_dim], "c": [N, c_dim]}: z normal, labels following the set's distribution, from torch's global
    generator.
    """

    def __init__(self, batch: int, z_dim: int, labels: Batches, device: torch.device):
        self.batch, self.z_dim, self.labels, self.device = batch, z_dim, labels, device

    def next(self) -> dict[str, Tensor]:
        z = torch.randn(self.batch, self.z_dim, device=self.device, dtype=torch.float32)
        return {"z": z, "c": self.labels.random_labels(self.batch)}

    def divide(self, rank: int, world: int) -> None:
        """Nothing: each rank has random numbers of its own."""

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Nothing: its randomness is torch's global generator, which the training state holds."""


class Drawn:
    """Real images with their labels, and latents for as many generated ones."""

    def __init__(self, reals: Batches, latents: Latents, same_labels: bool = False):
        self.reals, self.latents, self.same_labels = reals, latents, same_labels

    def next(self) -> dict[str, Tensor]:
        batch = self.reals.next() | self.latents.next()
        return batch | {"c": batch["label"]} if self.same_labels else batch

    def divide(self, rank: int, world: int) -> None:
        """Draw the real images of one of several ranks."""
        self.reals.divide(rank, world)

    def state_dict(self) -> dict:
        return self.reals.state_dict()

    def load_state_dict(self, state: dict) -> None:
        self.reals.load_state_dict(state)


def _path_length_penalty(G: Any, path_length: PathLength, shrink: int) -> Any:
    def path_length_penalty(move: Move) -> Tensor:
        z, c = (move.batch[name][: max(1, len(move.batch[name]) // shrink)] for name in ("z", "c"))
        return path_length(G.synthesis, G.mapping(z, c), lambda share: move.report("zeros/path_length", share))

    return path_length_penalty


@torch.no_grad()
def _fake(G: Any, move: Move) -> Labelled:
    """Generated images for one of D's moves."""
    z, c = move.batch["z"], move.batch["c"]
    return Labelled(G(z, c, update_emas=move.first) if isinstance(G, Styled) else G(z, c), c)


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

    def drawn_by(self, G: Any) -> Callable[[int], tuple[Tensor, Tensor]]:
        """number of images -> images as G makes them now, and their labels."""

        def generate(count: int) -> tuple[Tensor, Tensor]:
            z, c = self.draw(count, self.options.seed + 2)
            size = self.options.micro_batch
            return torch.cat([G(*piece) for piece in zip(z.split(size), c.split(size), strict=True)]), c

        return generate

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
