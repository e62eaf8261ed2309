"""What the losses are the minima of: the papers' closed forms, by quadrature, on points, and by small trained D."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, Normal

from fastgan.choices import ADVERSARIAL, PENALTIES, chosen
from fastgan.losses import Evaluated, Labelled, Pairwise, evaluate

DOUBLE = torch.float64
X = torch.linspace(-9, 9, 2001, dtype=DOUBLE)


@pytest.fixture(autouse=True)
def start(seeded):
    """The same random numbers, one thread."""


def density(mean: float, deviation: float) -> Tensor:
    return Normal(torch.tensor(mean, dtype=DOUBLE), deviation).log_prob(X).exp()


P, Q = density(-1.0, 0.7), density(1.0, 1.2)


def integral(values: Tensor) -> float:
    return torch.trapezoid(values, X).item()


def jensen_shannon(p: Tensor, q: Tensor) -> float:
    """½KL(p‖m) + ½KL(q‖m) with m = ½(p + q), in nats."""
    m = (p + q) / 2
    return integral(torch.special.xlogy(p, p / m) + torch.special.xlogy(q, q / m)) / 2


# name -> the best logit of (p, q), and the loss of D there. Sources: Goodfellow et al. 2014, proposition 1, theorem 1;
# Mao et al. 2017, eq. 5, with the triangular discrimination ∫(p - q)²/(p + q); Lim and Ye 2017 (Geometric GAN), with
# the total variation ½∫|p - q|.
OPTIMA: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor, Tensor], float]]] = {
    "nonsaturating": (
        lambda p, q: (p / q).log(),
        lambda p, q: 2 * math.log(2) - 2 * jensen_shannon(p, q),
    ),
    "lsgan": (
        lambda p, q: p / (p + q),
        lambda p, q: (2 - integral((p - q).square() / (p + q))) / 8,
    ),
    "hinge": (
        lambda p, q: (p - q).sign(),
        lambda p, q: 2 - integral((p - q).abs()),
    ),
}


def pointwise(loss: Pairwise, p: Tensor, q: Tensor, logits: Tensor) -> Tensor:
    """What a logit at a point costs more than 0 would, [points, logits]: the parts of the loss stand alone."""
    zero = torch.zeros_like(logits)
    nothing = loss.d(zero, zero)
    return p[:, None] * (loss.d(logits, zero) - nothing) + q[:, None] * (loss.d(zero, logits) - nothing)


@pytest.mark.parametrize("name", OPTIMA)
def test_the_best_discriminator_at_every_point(name):
    best, value = OPTIMA[name]
    logits = torch.linspace(-20, 20, 4001, dtype=DOUBLE)  # 0.01 apart
    loss = chosen(ADVERSARIAL, name)
    lowest, index = pointwise(loss, P, Q, logits).min(dim=1)
    seen = (P / Q).log().abs() < 12  # beyond, what a logit costs is flat to all digits
    torch.testing.assert_close(logits[index][seen], best(P, Q)[seen], rtol=0, atol=0.0051)
    zero = torch.zeros(1, dtype=DOUBLE)
    assert integral(lowest) + loss.d(zero, zero).item() == pytest.approx(value(P, Q), abs=1e-5)


@pytest.mark.parametrize(("name", "value"), [("nonsaturating", math.log(4)), ("lsgan", 0.25), ("hinge", 2.0)])
def test_the_value_of_the_game_where_both_densities_are_one(name, value):
    """-log 4 of Goodfellow et al. 2014, theorem 1, which D maximises."""
    logits = torch.linspace(-3, 3, 601, dtype=DOUBLE)
    loss = chosen(ADVERSARIAL, name)
    zero = torch.zeros(1, dtype=DOUBLE)
    lowest = pointwise(loss, P, P, logits).min(dim=1).values
    assert integral(lowest) + loss.d(zero, zero).item() == pytest.approx(value, abs=1e-6)
    assert OPTIMA[name][1](P, P) == pytest.approx(value, abs=1e-6)


def test_a_relativistic_loss_at_equilibrium_is_log_2():
    """With equal densities every pair has its mirror image, and no D is better than a constant one."""
    loss = chosen(ADVERSARIAL, "relativistic")
    x = torch.randn(2000, 1, dtype=DOUBLE)
    both = torch.cat([x, x.flip(0)]), torch.cat([x.flip(0), x])
    for scale in (-1.0, -0.01, 0.0, 0.01, 1.0):
        value = loss.d(scale * both[0].sin(), scale * both[1].sin()).mean().item()
        assert value == pytest.approx(math.log(2), abs=1e-12) if scale == 0 else value > math.log(2)


def mlp(inputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))


def descend(D: nn.Module, objective: Callable[[], Tensor], steps: int) -> None:
    """Adam with a learning rate that ends at 0."""
    optimizer = torch.optim.Adam(D.parameters(), betas=(0.9, 0.99), fused=True)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.01 * (1 - step / steps)
        optimizer.zero_grad()
        objective().backward()
        optimizer.step()


def gaussian(mean: float, deviation: float) -> Distribution:
    return Independent(Normal(torch.tensor([mean]), torch.tensor([deviation])), 1)


def ring_of_8(deviation: float) -> Distribution:
    angles = torch.arange(8) * (math.pi / 4)
    centres = torch.stack([angles.cos(), angles.sin()], dim=1)
    return MixtureSameFamily(Categorical(torch.ones(8)), Independent(Normal(centres, deviation), 1))


@pytest.mark.parametrize(
    ("real", "fake"),
    [
        (gaussian(-1.0, 0.7), gaussian(1.0, 1.2)),
        (ring_of_8(0.2), Independent(Normal(torch.zeros(2), 0.8), 1)),
    ],
    ids=["gaussians", "ring-of-8"],
)
def test_a_trained_discriminator_is_p_over_p_plus_q(real, fake):
    """Goodfellow et al. 2014, proposition 1: of samples alone, with the densities known to the test."""
    loss, steps = chosen(ADVERSARIAL, "nonsaturating"), 800
    D = mlp(real.event_shape[0])
    x, y = real.sample((steps, 256)), fake.sample((steps, 256))
    pairs = zip(x, y, strict=True)
    descend(D, lambda: loss.d(*map(D, next(pairs))).mean(), steps)
    x, y = real.sample((20_000,)), fake.sample((20_000,))
    optimum = [(real.log_prob(each) - fake.log_prob(each))[:, None] for each in (x, y)]
    with torch.no_grad():
        found = [D(x), D(y)]
        assert (
            torch.cat(found).sigmoid() - torch.cat(optimum).sigmoid()
        ).abs().mean() < 0.04  # a constant ½: above 0.2
        assert loss.d(*found).mean().item() == pytest.approx(loss.d(*optimum).mean().item(), abs=0.015)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # ∇[KL(q‖p) - 2 JSD]: Arjovsky and Bottou 2017, theorem 2.5.
        ("nonsaturating", lambda q: integral(torch.special.xlogy(q, q / P)) - 2 * jensen_shannon(P, q)),
        # ∇[2 JSD]: Goodfellow et al. 2014, eq. 4.
        ("saturating", lambda q: 2 * jensen_shannon(P, q)),
    ],
)
def test_what_the_generator_descends_against_the_best_discriminator(kind, expected):
    """The derivative by the mean of the generated Gaussian, D* held fixed, against that of the divergence."""
    loss = chosen(ADVERSARIAL, "nonsaturating")
    at, h = 0.5, 1e-3
    real = Normal(torch.tensor(-1.0, dtype=DOUBLE), 0.7)
    mean = torch.tensor(at, dtype=DOUBLE, requires_grad=True)
    z = Normal(torch.zeros([], dtype=DOUBLE), 1.0).icdf((torch.arange(20_000, dtype=DOUBLE) + 0.5) / 20_000)
    x = mean + 1.2 * z
    logits = real.log_prob(x) - Normal(torch.tensor(at, dtype=DOUBLE), 1.2).log_prob(x)
    value = loss.g(logits, None) if kind == "nonsaturating" else -loss.d(torch.zeros_like(logits), logits)
    (gradient,) = torch.autograd.grad(value.mean(), mean)
    slope = (expected(density(at + h, 1.2)) - expected(density(at - h, 1.2))) / (2 * h)
    assert abs(slope) > 0.1 and gradient.item() == pytest.approx(slope, rel=1e-3)


def penalised(D: nn.Module, loss: Pairwise, weight: float, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """D's loss, and with WGAN-GP's penalty beside it."""
    penalty = chosen(PENALTIES, "wgan-gp")
    critic = lambda x, c: D(x)  # noqa: E731
    value = loss.d(D(real), D(fake)).mean()
    at = evaluate(critic, penalty.place(Labelled(real, None), lambda: Labelled(fake, None)))
    return value, value + weight * penalty(Evaluated(*at)).mean()


@pytest.mark.parametrize("distance", [0.5, 2.0, 8.0])
def test_the_critic_of_two_points_knows_how_far_they_are(distance):
    """Minimising -s·W + λ(s - 1)² over the critic's slope s: s* = 1 + W/2λ, -W - W²/4λ in all."""
    weight = 10.0
    loss = chosen(ADVERSARIAL, "wasserstein")
    D = nn.Linear(1, 1, bias=False, dtype=DOUBLE)
    real, fake = torch.zeros(16, 1, dtype=DOUBLE), torch.full([16, 1], distance, dtype=DOUBLE)
    optimizer = torch.optim.SGD(D.parameters(), lr=0.4 / weight)
    nn.init.constant_(D.weight, -0.1)
    for _ in range(60):
        optimizer.zero_grad()
        penalised(D, loss, weight, real, fake)[1].backward()
        optimizer.step()
    value, total = penalised(D, loss, weight, real, fake)
    assert D.weight.item() == pytest.approx(-(1 + distance / (2 * weight)), rel=1e-6)
    assert total.item() == pytest.approx(-distance - distance**2 / (4 * weight), rel=1e-6)
    assert value.item() == pytest.approx(D.weight.item() * distance, rel=1e-6)


@pytest.mark.parametrize("gap", [1.5, 3.0])
def test_apart_the_divergence_says_nothing_and_the_distance_does(gap):
    """Uniform on [0, 1] and on [gap, gap + 1]: JSD = log 2, W₁ = gap (cf. Arjovsky et al. 2017, example 1)."""
    logistic, wasserstein = chosen(ADVERSARIAL, "nonsaturating"), chosen(ADVERSARIAL, "wasserstein")
    real, u = torch.rand(256, 1), torch.rand(256, 1)
    moved = torch.tensor(gap, requires_grad=True)
    distance = (real.sort(dim=0).values - (u + gap).sort(dim=0).values).abs().mean().item()

    D = mlp(1)
    descend(D, lambda: logistic.d(D(real), D(u + gap)).mean(), 300)
    divergence = math.log(2) - logistic.d(D(real), D(u + gap)).mean().item() / 2
    assert divergence == pytest.approx(math.log(2), abs=1e-3)
    logits = D(u + moved)
    (saturated,) = torch.autograd.grad(-logistic.d(torch.zeros_like(logits), logits).mean(), moved)
    assert abs(saturated.item()) < 0.01  # log(1 - D) of Goodfellow et al. 2014, eq. 1

    critic = mlp(1)
    descend(critic, lambda: penalised(critic, wasserstein, 10.0, real, (u + gap)[torch.randperm(256)])[1], 300)
    assert wasserstein.d(critic(real), critic(u + gap)).mean().item() == pytest.approx(-distance, rel=0.2)
    (towards,) = torch.autograd.grad(wasserstein.g(critic(u + moved), None).mean(), moved)
    assert 0.8 < towards.item() < 1.3
