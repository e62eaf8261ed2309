"""Images of images: translations that are learnt from pairs, or to and fro from two sets without pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fastgan.augment import Critic
from fastgan.choices import ADVERSARIAL, chosen
from fastgan.config.options import PairedOptions, TranslationOptions, UnpairedOptions
from fastgan.data import Batches, Dataset, UnalignedBatches
from fastgan.losses import Labelled, Move, Pairwise, Term
from fastgan.models.protocols import FromImage
from fastgan.train.ema import Ema
from fastgan.train.game import Game
from fastgan.train.games.adversarial import augmentation, check_penalties, critic_terms, joined_group, player
from fastgan.train.games.buffer import ImageBuffer
from fastgan.train.games.columns import Column, Translated
from fastgan.train.players import Player, Shared, Source, Stateful
from fastgan.train.schedule import Schedule, linear_decay

_OTHER = {"a": "b", "b": "a"}


def play_paired(
    networks: Mapping[str, Any], options: PairedOptions, sets: Mapping[str, Dataset], device: torch.device
) -> Game:
    """G: a -> b against D(a, b), on pairs. Source: Isola et al. 2017.

    G minimises gan_weight · its side of the adversarial loss + l1_weight · mean |G(a) - b|; D sees both images of a
    pair, its translations as G made them just before.

    Args:
        networks: {"G": a `FromImage`, "D": (a, b) -> logits}, on `device`.
        options: checked options.
        sets: {"a", "b"}, aligned; pictures and figures are of {"held_a", "held_b"} where there are such.
        device: where networks and batches are.

    Raises:
        ValueError: G is no `FromImage`; a gradient penalty of a discriminator with batch normalisation.
    """
    G, D = networks["G"], networks["D"]
    _check(options, {"G": G}, {"D": D})
    loss: Pairwise = chosen(ADVERSARIAL, options.loss)
    split = sets["a"].channels
    augment = augmentation(options, [split, sets["b"].channels], device)
    critic = Critic(lambda pair, _: D(pair[:, :split], pair[:, split:]), augment)  # both images are augmented alike

    def real(move: Move) -> Labelled:
        return Labelled(torch.cat([move.batch["a"], move.batch["b"]], dim=1), None)

    def fake(move: Move) -> Labelled:
        return Labelled(torch.cat([move.batch["a"], _seen(move, "b", G)], dim=1), None)

    def adversarial(move: Move) -> Tensor:
        fake_logits = critic(torch.cat([move.batch["a"], _made(move, "b", G)], dim=1))
        return loss.g(fake_logits, critic(*real(move)) if loss.paired else None)

    def l1(move: Move) -> Tensor:
        return _l1(_made(move, "b", G), move.batch["b"])

    g_terms = [Term("G", adversarial, options.gan_weight), Term("l1", l1, options.l1_weight)]
    d_terms = critic_terms("D", critic, loss, options, real, fake, sets["b"].resolution, joined_group(options, D))
    batches = Batches(_sides(sets), options.micro_batch, seed=options.seed, **_drawing(options, device))
    players, schedules = _players(options, batches, ({"G": G}, g_terms), ({"D": D}, d_terms), {"augment": augment})
    average = Ema(G, options.half_life(), options.ema_rampup)
    shown, forward = Translated(sets, options, device), average.module
    a, b = _column("a"), _column("b")
    output: Column = lambda a, b: forward(a)  # noqa: E731
    return Game(
        players,
        {"G": average},
        options.batch * options.d_repeats,
        reals=lambda: shown.grid({"a": a, "b": b}),
        preview=lambda: shown.grid({"input": a, "output": output, "target": b}),
        sample=lambda count: shown.translations(forward, count),
        compared=shown.b,
        figures=lambda: {"l1_to_target": shown.difference(output, b)},
        schedules=schedules,
    )


def play_unpaired(
    networks: Mapping[str, Any], options: UnpairedOptions, sets: Mapping[str, Dataset], device: torch.device
) -> Game:
    """G_ab: a -> b and G_ba: b -> a against D_a and D_b. Source: Zhu et al. 2017.

    The generators minimise gan_weight · their side of the adversarial losses + cycle_weight · (mean |G_ba(G_ab(a)) - a|
    + mean |G_ab(G_ba(b)) - b| + identity_weight · (mean |G_ba(a) - a| + mean |G_ab(b) - b|)); the discriminators see
    translations of earlier steps too (`ImageBuffer`).

    Args:
        networks: {"G_ab", "G_ba"}, each a `FromImage`, {"D_a", "D_b"}, each images -> logits, on `device`.
        options: checked options.
        sets: {"a", "b"}; pictures are of the pairs {"held_a", "held_b"} where there are such, and so are figures.
        device: where networks and batches are.

    Raises:
        ValueError: a generator is no `FromImage`; identities of sets that differ in channels; a gradient penalty of a
            discriminator with batch normalisation.
    """
    generators = {name: networks[name] for name in ("G_ab", "G_ba")}
    discriminators = {name: networks[name] for name in ("D_a", "D_b")}
    _check(options, generators, discriminators)
    if options.identity_weight and sets["a"].channels != sets["b"].channels:
        raise ValueError(
            f"identity_weight must be 0 for sets of different channels, got {options.identity_weight} and "
            f"{sets['a'].channels} and {sets['b'].channels} channels"
        )
    loss: Pairwise = chosen(ADVERSARIAL, options.loss)
    augment = augmentation(options, (), device)  # one image at a time, of either set
    G = {"b": generators["G_ab"], "a": generators["G_ba"]}  # by the set that they translate into
    critics = {side: Critic(lambda x, _, D=discriminators[f"D_{side}"]: D(x), augment) for side in _OTHER}

    def adversarial(move: Move) -> Tensor:
        return sum(
            loss.g(critic(_made(move, side, G[side])), critic(move.batch[side]) if loss.paired else None)
            for side, critic in critics.items()
        )  # type: ignore[return-value]

    def cycle(move: Move) -> Tensor:
        there = {side: _made(move, side, G[side]) for side in _OTHER}
        return _l1(G["a"](there["b"]), move.batch["a"]) + _l1(G["b"](there["a"]), move.batch["b"])

    def identity(move: Move) -> Tensor:
        return _l1(G["a"](move.batch["a"]), move.batch["a"]) + _l1(G["b"](move.batch["b"]), move.batch["b"])

    g_terms = [Term("G", adversarial, options.gan_weight), Term("cycle", cycle, options.cycle_weight)]
    if options.identity_weight:
        g_terms.append(Term("identity", identity, options.cycle_weight * options.identity_weight))
    buffers: dict[str, ImageBuffer] = {}
    d_terms: tuple[Term, ...] = ()
    for side, critic in critics.items():
        if options.buffer:
            buffers[side] = ImageBuffer(options.buffer, (sets[side].channels, *sets[side].resolution), device)
        real, fake = _sides_of(side, G[side], buffers.get(side))
        group = joined_group(options, discriminators[f"D_{side}"])
        d_terms += critic_terms(f"D_{side}", critic, loss, options, real, fake, sets[side].resolution, group)
    batches = UnalignedBatches(_sides(sets), options.micro_batch, seed=options.seed, **_drawing(options, device))
    extras = {"augment": augment} | {f"buffer_{side}": buffer for side, buffer in buffers.items()}
    players, schedules = _players(options, batches, (generators, g_terms), (discriminators, d_terms), extras)
    averages = {name: Ema(network, options.half_life(), options.ema_rampup) for name, network in generators.items()}
    return _two_ways(players, averages, options, Translated(sets, options, device), schedules)


def _two_ways(
    players: tuple[Player, ...],
    averages: Mapping[str, Ema],
    options: TranslationOptions,
    shown: Translated,
    schedules: tuple[Schedule, ...],
) -> Game:
    """The game of two generators, with what is shown of it."""
    G_ab, G_ba = averages["G_ab"].module, averages["G_ba"].module
    a, b = _column("a"), _column("b")
    columns: dict[str, Column] = {"input a": a, "output b": lambda a, b: G_ab(a)}
    columns |= {"target b": b} if shown.held_out else {"back to a": lambda a, b: G_ba(G_ab(a))}
    columns |= {"input b": b, "output a": lambda a, b: G_ba(b)}
    columns |= {"target a": a} if shown.held_out else {"back to b": lambda a, b: G_ab(G_ba(b))}

    def figures() -> dict[str, float]:
        made = {"b": (columns["output b"], b), "a": (columns["output a"], a)}
        return {f"l1_to_target_{side}": shown.difference(*pair) for side, pair in made.items()}

    return Game(
        players,
        averages,
        options.batch * options.d_repeats,
        reals=lambda: shown.grid({"a": a, "b": b}),
        preview=lambda: shown.grid(columns),
        sample=lambda count: shown.translations(G_ab, count),
        compared=shown.b,
        figures=figures if shown.held_out else None,
        schedules=schedules,
    )


def _check(options: TranslationOptions, generators: Mapping[str, Any], discriminators: Mapping[str, Any]) -> None:
    for name, G in generators.items():
        if not isinstance(G, FromImage):
            raise ValueError(f"{name} must be a fastgan.models.FromImage, got {type(G).__name__}")
    check_penalties(options, list(discriminators.values()))


def _made(move: Move, side: str, G: Callable[[Tensor], Tensor]) -> Tensor:
    """The translation into a side, made once a move; the batch keeps it for the discriminator that moves next."""

    def make() -> Tensor:
        made = G(move.batch[_OTHER[side]])
        move.batch[f"fake_{side}"] = made.detach()
        return made

    return move.once(f"made_{side}", make)


def _seen(move: Move, side: str, G: Callable[[Tensor], Tensor]) -> Tensor:
    """The translation into a side that the generator made of this batch; made now where it has not moved."""
    if f"fake_{side}" not in move.batch:
        with torch.no_grad():
            move.batch[f"fake_{side}"] = G(move.batch[_OTHER[side]])
    return move.batch[f"fake_{side}"]


def _sides_of(
    side: str, G: Callable[[Tensor], Tensor], buffer: ImageBuffer | None
) -> tuple[Callable[[Move], Labelled], Callable[[Move], Labelled]]:
    """What D of a side sees: real images, and translations, some of which are earlier ones."""

    def fake(move: Move) -> Labelled:
        if f"seen_{side}" not in move.batch:  # kept in the batch: lazy penalties must not fill the buffer again
            made = _seen(move, side, G)
            move.batch[f"seen_{side}"] = made if buffer is None else buffer(made)
        return Labelled(move.batch[f"seen_{side}"], None)

    return lambda move: Labelled(move.batch[side], None), fake


def _players(
    options: TranslationOptions,
    batches: Source,
    g: tuple[Mapping[str, nn.Module], Sequence[Term]],
    d: tuple[Mapping[str, nn.Module], Sequence[Term]],
    extras: Mapping[str, Stateful | None],
) -> tuple[tuple[Player, ...], tuple[Schedule, ...]]:
    """The generators' player and the discriminators', on the same batches, and what changes with progress."""
    shared, kept = Shared(batches), {name: extra for name, extra in extras.items() if extra is not None}
    players = (
        player("G", *g, options.g_lr, shared, options),
        player("D", *d, options.d_lr, shared.follower, options, repeats=options.d_repeats, extras=kept),
    )
    total = options.kimg * 1000
    share = linear_decay(total * (1 - options.decay), total)
    schedules = [
        Schedule(group["lr"], lambda images, full=group["initial_lr"]: full * share(images))
        for each in players
        for group in each.optimizer.param_groups
    ]
    if (augment := kept.get("augment")) is not None:
        schedules += [Schedule(*each) for each in augment.schedules()]  # type: ignore[attr-defined]
    return players, tuple(schedules)


def _sides(sets: Mapping[str, Dataset]) -> dict[str, Dataset]:
    return {side: sets[side] for side in _OTHER}


def _drawing(options: TranslationOptions, device: torch.device) -> dict[str, Any]:
    return {"mirror": options.mirror, "channels_last": options.uses_channels_last(device.type), "device": device}


def _column(side: str) -> Column:
    return (lambda a, b: a) if side == "a" else (lambda a, b: b)


def _l1(x: Tensor, y: Tensor) -> Tensor:
    """mean |x - y| of each sample, [N]."""
    return (x - y).abs().mean(dim=(1, 2, 3))
