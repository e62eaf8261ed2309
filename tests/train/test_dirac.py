"""The Dirac-GAN of Mescheder et al. 2018: one real point at 0, one generated at θ, D(x) = ψ·x.

Near the equilibrium (0, 0) gradients make both circle it; penalties on D draw them in. What the paper derives of the
vector field, and what the loop does with it.
"""

from __future__ import annotations

import cmath
import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from fastgan.choices import ADVERSARIAL, PENALTIES, chosen
from fastgan.losses import Labelled, Move, Pairwise, Term, evaluate
from fastgan.train.game import Game
from fastgan.train.loop import step
from fastgan.train.players import Player
from fastgan.train.state import TrainState

DOUBLE = torch.float64
SLOPE = {"nonsaturating": 0.5, "relativistic": 0.5, "wasserstein": 1.0, "hinge": 1.0}  # f'(0) of the loss f(ψθ)
# Penalties that pull the gradient ψ to 0: γ times one of them pulls as strongly as R1 with so many times γ.
PULL = {"r1": 1.0, "r2": 1.0, "zero-gp": 2.0}
RATE, GAMMA, START = 0.2, 0.5, 1e-3  # of the loop; it starts where the field is linear to six digits
ZERO = torch.zeros(1, 1, dtype=DOUBLE)


@pytest.fixture(autouse=True)
def start(seeded):
    """The same random numbers, one thread."""


def penalty_of(name: str, psi: Tensor, theta: Tensor) -> Tensor:
    penalty = chosen(PENALTIES, name)
    at = evaluate(lambda x, c: psi * x, penalty.place(Labelled(ZERO, None), lambda: Labelled(theta, None)))
    return penalty.factor * penalty(at).mean()


def field(loss: Pairwise, penalty: str | None, gamma: float, both: Tensor) -> Tensor:
    """-(∂L_G/∂θ, ∂L_D/∂ψ) at both = (θ, ψ)."""
    theta, psi = both[0].view(1, 1), both[1].view(1, 1)
    of_g = loss.g(psi * theta, psi * ZERO).mean()
    of_d = loss.d(psi * ZERO, psi * theta).mean()
    if penalty is not None:
        of_d = of_d + gamma * penalty_of(penalty, psi, theta)
    return -torch.cat(
        [
            torch.autograd.grad(of_g, both, create_graph=True)[0][:1],
            torch.autograd.grad(of_d, both, create_graph=True)[0][1:],
        ]
    )


@pytest.mark.parametrize(("penalty", "gamma"), [(None, 0.0), *itertools.product(PULL, (0.3, 0.8, 3.0))])
@pytest.mark.parametrize("name", SLOPE)
def test_the_eigenvalues_at_the_equilibrium(name, penalty, gamma):
    """±f'(0)·i without a penalty, -γ/2 ± √(γ²/4 - f'(0)²) with one that pulls the gradient to 0."""
    loss = chosen(ADVERSARIAL, name)
    origin = torch.zeros(2, dtype=DOUBLE)
    jacobian = torch.autograd.functional.jacobian(lambda both: field(loss, penalty, gamma, both), origin)
    pull = gamma * PULL.get(penalty, 0.0)
    root = cmath.sqrt(pull**2 / 4 - SLOPE[name] ** 2)
    found = torch.linalg.eigvals(jacobian).tolist()
    for expected in (-pull / 2 - root, -pull / 2 + root):
        assert min(abs(value - expected) for value in found) < 1e-7
    assert sum(found) == pytest.approx(-pull, abs=1e-7)


class Nothing:
    """A source for players who need no data."""

    def next(self) -> None: ...

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None: ...


def dirac_gan(name: str, penalty: str | None, gamma: float) -> tuple[TrainState, nn.Linear, nn.Linear]:
    """The game for the loop, from (START, 0): G and D by gradient descent, one after the other."""
    loss = chosen(ADVERSARIAL, name)
    G, D = nn.Linear(1, 1, bias=False, dtype=DOUBLE), nn.Linear(1, 1, bias=False, dtype=DOUBLE)
    nn.init.constant_(G.weight, START)
    nn.init.zeros_(D.weight)

    def generator_loss(move: Move) -> Tensor:
        return loss.g(D(G.weight), D(ZERO))

    def discriminator_loss(move: Move) -> Tensor:
        return loss.d(D(ZERO), D(G.weight))

    d_terms = [Term("D", discriminator_loss)]
    if penalty is not None:
        d_terms.append(Term(penalty, lambda move: penalty_of(penalty, D.weight, G.weight), gamma))
    players = (
        Player("G", {"G": G}, torch.optim.SGD(G.parameters(), RATE), (Term("G", generator_loss),), Nothing()),
        Player("D", {"D": D}, torch.optim.SGD(D.parameters(), RATE), tuple(d_terms), Nothing()),
    )
    return TrainState(Game(players, {}, 1)), G, D


def path(state: TrainState, G: nn.Linear, D: nn.Linear, steps: int) -> Tensor:
    """(θ, ψ) before the first step and after each, [steps + 1, 2]."""
    found = [(G.weight.item(), D.weight.item())]
    for _ in range(steps):
        step(state)
        found.append((G.weight.item(), D.weight.item()))
    return torch.tensor(found, dtype=DOUBLE)


def area(place: Tensor, following: Tensor) -> float:
    """Of the parallelogram between two places: a step multiplies it by the determinant of its linear map."""
    return (place[0] * following[1] - place[1] * following[0]).item()


@pytest.mark.parametrize(
    ("penalty", "determinant"), [(None, 1.0), *((name, 1 - RATE * GAMMA) for name in PULL)], ids=["none", *PULL]
)
def test_the_loop_goes_in_circles_and_a_penalty_draws_it_in(penalty, determinant):
    """Alternating steps keep the area; with a pull γ they shrink it by 1 - hγ, a turn of them by much."""
    gamma = GAMMA / PULL[penalty] if penalty else 0.0
    turn = round(2 * math.pi / (RATE * math.sqrt(SLOPE["nonsaturating"] ** 2 - (GAMMA / 2 if penalty else 0) ** 2)))
    places = path(*dirac_gan("nonsaturating", penalty, gamma), 2 * turn)
    shrunk = (area(*places[-2:]) / area(*places[:2])) ** (1 / (2 * turn - 1))
    assert shrunk == pytest.approx(determinant, abs=1e-6)
    radii = places.norm(dim=1) / START
    assert places[turn // 2, 0] < 0 < places[0, 0]  # on the other side
    if penalty is None:
        assert radii.min() > 0.9 and radii.max() < 1.1
    else:
        assert radii[-1] < 2 * determinant**turn


def test_a_penalty_that_wants_a_slope_of_1_draws_nothing_in():
    """WGAN-GP does not converge: the equilibrium's ψ = 0 is where its penalty is highest."""
    places = path(*dirac_gan("wasserstein", "wgan-gp", 1.0), 300)
    assert places[150:].norm(dim=1).min() > 0.5
