"""A GAN in one dimension: from noise, G learns to draw from N(4, 1.25²). python examples/gaussian_1d.py [--out PNG]

A game of one's own for fastgan's loop, whole: a source of batches, two players with their terms, an average, schedules.
Told and drawn at the end: what the theory says of the equilibrium (docs/theory.md) beside what came of it. It takes
under a minute on one core.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fastgan.choices import PENALTIES, chosen
from fastgan.losses import Labelled, Move, Term, evaluate
from fastgan.losses.adversarial import logistic_d_fake, logistic_d_real, nonsaturating_g
from fastgan.report import Line, Panel, save_panels
from fastgan.train.ema import Ema
from fastgan.train.game import Game
from fastgan.train.loop import train
from fastgan.train.players import Player, adam
from fastgan.train.schedule import Schedule, linear_decay
from fastgan.train.state import TrainState

MEAN, DEVIATION = 4.0, 1.25  # of the real numbers
BATCH = 128
TOTAL = 1000 * BATCH  # real numbers seen
TICK = 20 * BATCH  # between two points of the curves
G_RATE, D_RATE = 2e-3, 1e-2
R1_GAMMA = 0.02


def mlp() -> nn.Sequential:
    """One number to one number."""
    return nn.Sequential(nn.Linear(1, 32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, 1))


class Numbers(NamedTuple):
    """A batch: real x [N, 1], and z [N, 1] for G."""

    x: Tensor
    z: Tensor


class Source:
    """Batches from torch's global generator, which the training state keeps: there is no more to remember."""

    def next(self) -> Numbers:
        return Numbers(MEAN + DEVIATION * torch.randn(BATCH, 1), torch.randn(BATCH, 1))

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Nothing."""


def play(G: nn.Module, D: nn.Module) -> Game:
    """G against D: Goodfellow et al. 2014, with R1 to come to rest (Mescheder et al. 2018)."""
    r1 = chosen(PENALTIES, "r1")

    def generator_loss(move: Move) -> Tensor:
        return nonsaturating_g(D(G(move.batch.z)))  # -log D(G(z))

    def real_loss(move: Move) -> Tensor:
        return logistic_d_real(D(move.batch.x))  # -log D(x)

    def fake_loss(move: Move) -> Tensor:
        return logistic_d_fake(D(G(move.batch.z)))  # -log(1 - D(G(z))); the loop holds G still meanwhile

    def smoothness(move: Move) -> Tensor:
        return r1(evaluate(lambda x, c: D(x), Labelled(move.batch.x, None)))  # (dD/dx)²

    g_terms = (Term("G", generator_loss),)
    d_terms = (Term("D real", real_loss), Term("D fake", fake_loss), Term("r1", smoothness, r1.factor * R1_GAMMA))
    players = (
        Player("G", {"G": G}, adam({"G": G}, g_terms, G_RATE, (0.0, 0.9)), g_terms, Source()),
        Player("D", {"D": D}, adam({"D": D}, d_terms, D_RATE, (0.0, 0.9)), d_terms, Source()),
    )
    rates = tuple(slowing_down(player) for player in players)
    return Game(players, {"G": Ema(G, half_life=100 * BATCH)}, BATCH, schedules=rates)


def slowing_down(player: Player) -> Schedule:
    """Its learning rate, to 0 in the second half."""
    rate = player.optimizer.param_groups[0]["lr"]
    first, factor = rate.item(), linear_decay(TOTAL / 2, TOTAL)
    return Schedule(rate, lambda seen: first * factor(seen))


def learn() -> tuple[nn.Module, nn.Module, list[dict[str, float]]]:
    """The averaged G, D, and the mean of every loss between two ticks."""
    torch.manual_seed(0)
    G, D = mlp(), mlp()
    state, ticks = TrainState(play(G, D)), []
    train(state, TOTAL, TICK, on_tick=lambda state: ticks.append(state.statistics.means()))
    return state.game.averages["G"].module, D, ticks


@torch.no_grad()
def figures(G: nn.Module, D: nn.Module, ticks: Sequence[dict[str, float]]) -> dict[str, float]:
    """What the theory predicts: mean, deviation, D within two deviations of the mean, the losses of the last ticks."""
    fake = G(normal_quantiles(100_000))
    seen = torch.linspace(MEAN - 2 * DEVIATION, MEAN + 2 * DEVIATION, 201)[:, None]
    last = ticks[-8:]
    losses = {name: sum(tick[f"loss/{name}"] for tick in last) / len(last) for name in ("D real", "D fake", "G")}
    judged = D(seen).sigmoid()
    return {
        "mean": fake.mean().item(),
        "deviation": fake.std().item(),
        "lowest D": judged.min().item(),
        "highest D": judged.max().item(),
        **losses,
    }


def normal_quantiles(count: int) -> Tensor:
    """`count` numbers as N(0, 1) has them, without chance, [count, 1]."""
    return torch.special.ndtri((torch.arange(count, dtype=torch.float64) + 0.5) / count).float()[:, None]


@torch.no_grad()
def draw(G: nn.Module, D: nn.Module, ticks: Sequence[dict[str, float]], path: Path) -> None:
    """path <- densities, D(x), and the losses over time."""
    low, high, bins = MEAN - 4 * DEVIATION, MEAN + 4 * DEVIATION, 80
    edges = torch.linspace(low, high, bins + 1)
    x = (edges[1:] + edges[:-1]) / 2
    real = (-((x - MEAN) / DEVIATION).square() / 2).exp() / (DEVIATION * math.sqrt(2 * math.pi))
    count = 200_000
    fake = torch.histogram(G(normal_quantiles(count))[:, 0], edges).hist * bins / (count * (high - low))
    seen = [TICK * number / 1000 for number in range(1, len(ticks) + 1)]
    losses = [Line(seen, [tick[f"loss/{name}"] for tick in ticks], name) for name in ("D real", "D fake", "G")]
    judged = D(x[:, None]).sigmoid()[:, 0]
    places = x.tolist()
    half = Line([places[0], places[-1]], [0.5, 0.5], "1/2", reference=True)
    log_2 = Line([seen[0], seen[-1]], [math.log(2)] * 2, "ln 2", reference=True)
    panels = [
        Panel("Densities", "x", [Line(places, real.tolist(), "real"), Line(places, fake.tolist(), "generated")]),
        Panel("D(x)", "x", [Line(places, judged.tolist(), "D(x)"), half], span=(0, 1)),
        Panel("Losses", "thousand numbers seen", [*losses, log_2]),
    ]
    save_panels(panels, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Learn, tell, draw."""
    parser = argparse.ArgumentParser(description="G learns N(4, 1.25²) from noise.")
    parser.add_argument("--out", type=Path, default=Path("runs/gaussian-1d.png"), help="the picture to write")
    out = parser.parse_args(arguments).out
    G, D, ticks = learn()
    expected = {"mean": MEAN, "deviation": DEVIATION, "lowest D": 0.5, "highest D": 0.5}
    print(f"{'':12}{'found':>9}{'theory':>9}")
    for name, value in figures(G, D, ticks).items():
        print(f"{name:12}{value:9.3f}{expected.get(name, math.log(2)):9.3f}")
    out.parent.mkdir(parents=True, exist_ok=True)
    draw(G, D, ticks, out)
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
