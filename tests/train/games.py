"""Two tiny games that are no fastgan models: WGAN with five critic updates, and a CycleGAN-shaped pair."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastgan.losses import Move, Term
from fastgan.train.ema import Ema
from fastgan.train.game import Game
from fastgan.train.players import Player, adam
from fastgan.train.state import TrainState


def mlp(inputs: int, outputs: int, width: int = 16) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, width), nn.LeakyReLU(0.2), nn.Linear(width, outputs))


class Points:
    """Batches of a Gaussian around `mean`; what has been drawn is a function of the counter alone."""

    def __init__(self, batch: int, mean: tuple[float, float], seed: int):
        self.batch, self.mean, self.seed, self.drawn = batch, torch.tensor(mean), seed, 0

    def next(self) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed * 1000003 + self.drawn)
        self.drawn += 1
        return self.mean + 0.3 * torch.randn(self.batch, 2, generator=generator)

    def state_dict(self) -> dict:
        return {"drawn": self.drawn}

    def load_state_dict(self, state: dict) -> None:
        self.drawn = state["drawn"]


class Pairs:
    """Batches of two sources side by side."""

    def __init__(self, a: Points, b: Points):
        self.a, self.b = a, b

    def next(self) -> tuple[Tensor, Tensor]:
        return self.a.next(), self.b.next()

    def state_dict(self) -> dict:
        return {"a": self.a.state_dict(), "b": self.b.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.a.load_state_dict(state["a"])
        self.b.load_state_dict(state["b"])


class History:
    """A buffer of earlier fakes, as CycleGAN's discriminators see them: half of a batch is exchanged with it."""

    def __init__(self, size: int):
        self.points = torch.zeros(size, 2)
        self.filled = 0

    def __call__(self, fakes: Tensor) -> Tensor:
        half = len(fakes) // 2
        places = torch.randint(len(self.points), (half,))
        old = self.points[places].clone() if self.filled >= len(self.points) else fakes[:half]
        self.points[places] = fakes[:half].detach()
        self.filled += half
        return torch.cat([old, fakes[half:]])

    def state_dict(self) -> dict:
        return {"points": self.points.clone(), "filled": self.filled}

    def load_state_dict(self, state: dict) -> None:
        self.points, self.filled = state["points"].clone(), state["filled"]


def wgan(n_critic: int = 5, clip: float = 0.1, batch: int = 32) -> TrainState:
    """WGAN with weight clipping (Arjovsky et al. 2017): RMSprop, the critic moves n_critic times for each move of G."""
    G, critic = mlp(4, 2), mlp(2, 1)

    def critic_loss(move: Move) -> Tensor:
        real = move.batch
        with torch.no_grad():
            fake = G(torch.randn(len(real), 4))
        values = critic(fake) - critic(real)
        move.report("wasserstein", -values)
        return values

    def generator_loss(move: Move) -> Tensor:
        return -critic(G(torch.randn(len(move.batch), 4)))

    @torch.no_grad()
    def clip_weights() -> None:
        for weight in critic.parameters():
            weight.clamp_(-clip, clip)

    critic_player = Player(
        "critic",
        {"critic": critic},
        torch.optim.RMSprop(critic.parameters(), lr=5e-3),
        (Term("critic", critic_loss),),
        Points(batch, (2.0, -1.0), seed=1),
        repeats=n_critic,
        after_update=clip_weights,
    )
    g_player = Player(
        "G",
        {"G": G},
        torch.optim.RMSprop(G.parameters(), lr=5e-3),
        (Term("G", generator_loss),),
        Points(batch, (0.0, 0.0), seed=2),
    )
    return TrainState(Game((critic_player, g_player), {"G": Ema(G, 500.0, 0.0)}, batch * n_critic))


def cyclegan(batch: int = 32, accumulate: int = 1) -> TrainState:
    """Two generators in one player, two discriminators in another, batches of pairs (Zhu et al. 2017)."""
    G_ab, G_ba, D_a, D_b = mlp(2, 2), mlp(2, 2), mlp(2, 1), mlp(2, 1)
    history_a, history_b = History(64), History(64)

    def adversarial(move: Move) -> Tensor:
        a, b = move.batch
        return (D_b(G_ab(a)) - 1).square() + (D_a(G_ba(b)) - 1).square()

    def cycle(move: Move) -> Tensor:
        a, b = move.batch
        return (G_ba(G_ab(a)) - a).abs() + (G_ab(G_ba(b)) - b).abs()

    def discriminate(move: Move) -> Tensor:
        a, b = move.batch
        with torch.no_grad():
            fake_a, fake_b = history_a(G_ba(b)), history_b(G_ab(a))
        real = (D_a(a) - 1).square() + (D_b(b) - 1).square()
        return real + D_a(fake_a).square() + D_b(fake_b).square()

    def smoothness(move: Move) -> Tensor:
        a = move.batch[0].detach().requires_grad_()
        return torch.autograd.grad(D_a(a).sum(), a, create_graph=True)[0].square().sum(1)

    def pairs(seed: int) -> Pairs:
        return Pairs(Points(batch, (1.0, 0.0), seed), Points(batch, (-2.0, 1.0), seed + 1))

    g_modules, d_modules = {"G_ab": G_ab, "G_ba": G_ba}, {"D_a": D_a, "D_b": D_b}
    g_terms = (Term("adversarial", adversarial), Term("cycle", cycle, weight=3.0))
    d_terms = (Term("D", discriminate), Term("smoothness", smoothness, weight=0.01, interval=4))
    players = (
        Player("G", g_modules, adam(g_modules, g_terms, 3e-3, (0.5, 0.99)), g_terms, pairs(1), accumulate=accumulate),
        Player(
            "D",
            d_modules,
            adam(d_modules, d_terms, 3e-3, (0.5, 0.99)),
            d_terms,
            pairs(3),
            accumulate=accumulate,
            extras={"history_a": history_a, "history_b": history_b},
        ),
    )
    emas = {"G_ab": Ema(G_ab, 1000.0, 0.0), "G_ba": Ema(G_ba, 1000.0, 0.0)}
    return TrainState(Game(players, emas, batch * accumulate))
