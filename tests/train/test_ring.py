"""Eight Gaussians on a ring, where Metz et al. 2017 (Unrolled GANs) look for lost modes: a healthy game finds all."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fastgan.choices import ADVERSARIAL, PENALTIES, chosen
from fastgan.losses import Evaluated, Labelled, Move, Pairwise, Term, evaluate
from fastgan.train.ema import Ema
from fastgan.train.game import Game
from fastgan.train.loop import step
from fastgan.train.players import Player, adam
from fastgan.train.state import TrainState

BATCH, DEVIATION = 128, 0.05
ANGLES = torch.arange(8) * (math.pi / 4)
CENTRES = torch.stack([ANGLES.cos(), ANGLES.sin()], dim=1)


def mlp(outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, outputs))


class Ring:
    """Real points, and z for as many generated ones."""

    def next(self) -> tuple[Tensor, Tensor]:
        reals = CENTRES[torch.randint(8, (BATCH,))] + DEVIATION * torch.randn(BATCH, 2)
        return reals, torch.randn(BATCH, 2)

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None: ...


def ring_game(name: str, r1_gamma: float) -> TrainState:
    """The adversarial loss of this name, and R1 at every step."""
    loss: Pairwise = chosen(ADVERSARIAL, name)
    r1 = chosen(PENALTIES, "r1")
    G, D = mlp(2), mlp(1)

    def at_reals(move: Move) -> Evaluated:
        return move.once("reals", lambda: evaluate(lambda x, c: D(x), Labelled(move.batch[0], None)))

    def discriminator_loss(move: Move) -> Tensor:
        return loss.d(at_reals(move).logits, D(G(move.batch[1])))

    g_terms = (Term("G", lambda move: loss.g(D(G(move.batch[1])), None)),)
    d_terms = (Term("D", discriminator_loss), Term("r1", lambda move: r1(at_reals(move)), r1.factor * r1_gamma))
    players = (
        Player("G", {"G": G}, adam({"G": G}, g_terms, 5e-3, (0.5, 0.9)), g_terms, Ring()),
        Player("D", {"D": D}, adam({"D": D}, d_terms, 5e-3, (0.5, 0.9)), d_terms, Ring()),
    )
    return TrainState(Game(players, {"G": Ema(G, 50.0 * BATCH)}, BATCH))


@torch.no_grad()
def modes(state: TrainState) -> Tensor:
    """The share of generated points within three deviations of each centre, [8]; of real ones 0.124."""
    found = state.game.averages["G"].module(torch.randn(4000, 2))
    nearest = torch.cdist(found, CENTRES).min(dim=1)
    return nearest.indices[nearest.values < 3 * DEVIATION].bincount(minlength=8) / len(found)


def test_all_modes_are_found(seeded):
    state = ring_game("nonsaturating", 0.1)
    assert (modes(state) < 0.02).sum() >= 4
    for _ in range(500):
        step(state)
    shares = modes(state)
    assert shares.min() > 0.05 and shares.max() < 0.2
    assert shares.sum() > 0.65


def test_a_critic_without_bounds_finds_none(seeded):
    """Wasserstein's loss asks for a penalty: without one the same game runs away."""
    state = ring_game("wasserstein", 0.0)
    for _ in range(300):
        step(state)
    assert modes(state).sum() < 0.1
