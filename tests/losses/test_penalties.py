"""Values by hand, and derivatives with respect to every parameter against finite differences.

The networks run in float64 with swish instead of lrelu: on a piecewise-linear activation a second derivative is hidden.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from fastgan import ops
from fastgan.choices import PENALTIES, chosen
from fastgan.losses import Evaluated, Labelled, PathLength, Penalty, dragan, gradient_penalty, r1
from fastgan.losses.explicit import explicit
from fastgan.models import build
from fastgan.ops.gradients import needed

DOUBLE = torch.float64
SMALL = {"channel_base": 32, "channel_max": 4, "z_dim": 3, "w_dim": 4, "mapping_layers": 2, "resolution": 8}


@pytest.fixture(autouse=True)
def one_thread(seeded):
    """The networks are tiny: a second thread would only wait for the first."""
    torch.set_num_threads(1)


def smooth(module: torch.nn.Module) -> Any:
    layer: Any
    for layer in module.modules():
        if getattr(layer, "act", None) == "lrelu":
            layer.act = "swish"
    return module.double()


def networks(num_classes: int = 2) -> Any:
    torch.manual_seed(0)
    G: Any
    D: Any
    _, G, D = build("stylegan2", **SMALL, num_classes=num_classes, style_mixing=0.0)
    for name, parameter in (*G.named_parameters(), *D.named_parameters()):
        if name.endswith(("bias", "noise_strength")):
            torch.nn.init.normal_(parameter, std=0.3)
    for module in (G.mapping, D.mapping):  # the small learning rate of the mapping would hide its derivatives
        if module is not None:
            for layer in module.layers:
                layer.lr_multiplier = 1.0
                torch.nn.init.normal_(layer.weight)
    return smooth(G), smooth(D)


def assert_matches_finite_differences(value, named_parameters, eps=1e-5):
    """d value/dp against central differences along a random direction, for every parameter p."""
    named = list(named_parameters)
    grads = torch.autograd.grad(value(), [p for _, p in named], allow_unused=True)
    dead = []
    for (name, p), grad in zip(named, grads, strict=True):
        direction = torch.randn_like(p)
        with torch.no_grad():
            values = []
            for sign in (1, -1):
                p.add_(direction, alpha=sign * eps)
                with torch.enable_grad():
                    values.append(value().item())
                p.add_(direction, alpha=-sign * eps)
        numeric = (values[0] - values[1]) / (2 * eps)
        analytic = 0.0 if grad is None else (grad * direction).sum().item()
        assert analytic == pytest.approx(numeric, rel=2e-5, abs=1e-8), name
        if abs(numeric) < 1e-9:
            dead.append(name)
    return dead


@pytest.mark.slow_interpreted
def test_r1_gradient_for_every_parameter(provider):
    _, D = networks()
    x, c = torch.randn(3, 3, 8, 8, dtype=DOUBLE), torch.eye(2, dtype=DOUBLE)[[0, 1, 0]]
    weights = torch.tensor([1.0, -0.5, 2.0], dtype=DOUBLE)
    dead = assert_matches_finite_differences(lambda: (r1(D, x, c) * weights).sum(), D.named_parameters())
    assert dead == ["out.bias"]  # adds the same to the logit of every image


@pytest.mark.slow_interpreted
def test_gradient_penalty_gradient_for_every_parameter(provider):
    _, D = networks(num_classes=0)
    real, fake = torch.randn(2, 2, 3, 8, 8, dtype=DOUBLE)

    def value():
        torch.manual_seed(1)
        return gradient_penalty(D, real, fake).sum()

    dead = assert_matches_finite_differences(value, D.named_parameters())
    assert dead == ["out.bias"]


@pytest.mark.slow_interpreted
def test_path_length_gradient_for_every_parameter(provider):
    G, _ = networks()
    z, c = torch.randn(2, 3, dtype=DOUBLE), torch.eye(2, dtype=DOUBLE)
    weights = torch.tensor([1.0, -0.5], dtype=DOUBLE)

    def value():
        torch.manual_seed(2)
        penalty = PathLength()
        penalty.mean.fill_(0.4)
        return (penalty(G.synthesis, G.mapping(z, c)) * weights).sum()

    dead = assert_matches_finite_differences(value, G.named_parameters())
    assert dead == ["synthesis.to_rgb.0.bias", "synthesis.to_rgb.1.bias"]  # they do not depend on ws


def linear(x, c=None):
    """D(x) = Σ_k (k + 1)·x_k per sample."""
    flat = x.flatten(1)
    return (flat * torch.arange(1.0, flat.shape[1] + 1, dtype=x.dtype)).sum(dim=1, keepdim=True)


def test_r1_by_hand():
    x = torch.randn(3, 1, 1, 3)
    torch.testing.assert_close(r1(linear, x), torch.full((3,), 14.0))
    squares = lambda x, c: x.square().sum(dim=[1, 2, 3])[:, None]  # noqa: E731
    torch.testing.assert_close(r1(squares, x), 4 * x.square().sum(dim=[1, 2, 3]))


def test_penalties_of_patches_are_those_of_their_mean():
    """As losses take it, whatever the number of patches."""
    x, other = torch.randn(3, 1, 1, 3), torch.randn(3, 1, 1, 3)
    patches = lambda x, c=None: linear(x)[:, :, None, None] * torch.tensor([[0.5, 1.5, 1.0], [0.0, 2.0, 1.0]])  # noqa: E731
    torch.testing.assert_close(r1(patches, x), r1(linear, x))
    torch.testing.assert_close(gradient_penalty(patches, x, other), gradient_penalty(linear, x, other))


def test_r1_reaches_through_an_augmentation_to_the_image():
    x = torch.randn(2, 1, 1, 3)
    torch.testing.assert_close(r1(lambda x, c: linear(10 * x), x), torch.full((2,), 1400.0))
    assert not x.requires_grad


def test_r1_hands_on_labels():
    scaled = lambda x, c: linear(x) * c  # noqa: E731
    torch.testing.assert_close(
        r1(scaled, torch.zeros(2, 1, 1, 3), torch.tensor([[1.0], [2.0]])), torch.tensor([14.0, 56.0])
    )


def test_gradient_penalty_by_hand():
    real, fake = torch.randn(2, 4, 1, 1, 3)
    expected = (math.sqrt(14) - 1) ** 2
    torch.testing.assert_close(gradient_penalty(linear, real, fake), torch.full((4,), expected))
    torch.testing.assert_close(gradient_penalty(linear, real, fake, target=0), torch.full((4,), 14.0))


def test_a_one_sided_penalty_leaves_small_slopes_alone():
    real, fake = torch.randn(2, 4, 1, 1, 3)
    torch.testing.assert_close(
        gradient_penalty(linear, real, fake, one_sided=True), torch.full((4,), (math.sqrt(14) - 1) ** 2)
    )
    assert gradient_penalty(linear, real, fake, target=4.0, one_sided=True).tolist() == [0.0] * 4


def test_dragan_looks_around_real_images():
    seen = []

    def D(x, c):
        seen.append(x.detach())
        return linear(x)

    real = torch.cat([torch.full((512, 1, 2, 2), -1.0), torch.full((512, 1, 2, 2), 3.0)])  # a deviation of 2
    torch.testing.assert_close(dragan(D, real), torch.full((1024,), (math.sqrt(30) - 1) ** 2))
    away = (seen[0] - real).flatten(1)
    assert away.min() >= 0 and 0.95 < away.max() <= 1  # ½·2·u, u and ε up to 1
    assert away.mean() == pytest.approx(0.25, abs=0.02)  # of ½·2·u·ε


def as_it_stands(penalty):
    return penalty


def written_out(penalty):
    torch._dynamo.reset()
    return explicit(penalty, backend="aot_eager")


@pytest.mark.parametrize(
    ("name", "form"),
    [
        *((name, as_it_stands) for name in PENALTIES),
        *(pytest.param(name, written_out, marks=() if name == "r1" else pytest.mark.slow) for name in PENALTIES),
    ],
)
def test_penalties_through_stylegans_discriminator_are_the_references(name, form):
    """float64, value and the gradient of every parameter; compiled as one graph too."""
    _, D = networks(num_classes=0)
    torch.manual_seed(3)
    real, fake = (Labelled(torch.randn(4, 3, 8, 8, dtype=DOUBLE), None) for _ in range(2))
    penalty: Penalty = chosen(PENALTIES, name)
    seen = penalty.place(real, lambda: fake).images

    def value(x: torch.Tensor) -> torch.Tensor:
        return penalty(Evaluated(x, D(x, None)))

    def taken(form) -> list[torch.Tensor]:
        values = form(seen.detach().requires_grad_(True))
        grads = torch.autograd.grad(values.sum(), list(D.parameters()), allow_unused=True)
        return [values.detach(), *(torch.zeros([]) if grad is None else grad for grad in grads)]

    with ops.provider("reference"):
        expected = taken(value)
    for got, want in zip(taken(form(value)), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("form", [as_it_stands, written_out])
@pytest.mark.parametrize("family", ["stylegan2", "stylegan3-t"])
def test_path_lengths_of_generators_are_the_references(family, form):
    torch.manual_seed(0)
    more = {"layers": 4, "resolution": 16} if family == "stylegan3-t" else {}
    G: Any = build(family, **SMALL | more)[1].double()
    ws = torch.randn(2, G.num_ws, 4, dtype=DOUBLE)
    parameters = list(G.synthesis.parameters())

    def taken(form) -> list[torch.Tensor]:
        path_length = PathLength()
        penalty = form(lambda ws: path_length(lambda ws: G.synthesis(ws, noise_mode="none"), ws))
        torch.manual_seed(1)
        values = penalty(ws.clone().requires_grad_(True))
        grads = torch.autograd.grad(values.sum(), parameters, allow_unused=True)
        return [path_length.mean, values.detach(), *(torch.zeros([]) if grad is None else grad for grad in grads)]

    with ops.provider("reference"):
        expected = taken(as_it_stands)
    for got, want in zip(taken(form), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


def test_the_share_of_zero_gradients_is_told():
    told: list[torch.Tensor] = []
    x = torch.randn(2, 1, 1, 4, requires_grad=True)
    chosen(PENALTIES, "r1")(Evaluated(x, x[:, :, :, :3].sum(dim=[1, 2, 3])), told.append)
    assert [share.item() for share in told] == [0.25]
    PathLength()(broadcast_rows, torch.ones(2, 2, 5), told.append)  # one of five columns of ws is looked at
    assert told[1].item() == pytest.approx(0.8)


def test_gradient_penalty_interpolates_each_sample():
    seen = []

    def D(x, c):
        seen.append(x.detach())
        return linear(x)

    gradient_penalty(D, torch.zeros(64, 1, 2, 2), torch.ones(64, 1, 2, 2))
    points = seen[0].flatten(1)
    assert torch.equal(points, points[:, :1].expand_as(points))
    assert 0 <= points.min() < 0.2 and 0.8 < points.max() <= 1
    assert points[:, 0].unique().numel() == 64


def test_gradient_penalty_of_a_flat_discriminator_is_finite():
    weight = torch.zeros([], requires_grad=True)
    gradient_penalty(lambda x, c: linear(x) * weight, *torch.randn(2, 2, 1, 1, 3)).sum().backward()
    assert weight.grad is not None and torch.isfinite(weight.grad)


def test_gradient_penalty_errors():
    with pytest.raises(ValueError, match=r"fake must have real's shape \[2, 1, 1, 3\], got \[1, 1, 1, 3\]"):
        gradient_penalty(linear, torch.zeros(2, 1, 1, 3), torch.zeros(1, 1, 1, 3))


def broadcast_rows(ws):
    """Images [N, 1, 2, 3] whose every pixel is 3·ws[:, 0, 0] + 4·ws[:, 1, 0]."""
    return (3 * ws[:, 0, 0] + 4 * ws[:, 1, 0])[:, None, None, None].expand(-1, 1, 2, 3)


def test_path_length_by_hand():
    ws = torch.randn(2, 2, 5)
    torch.manual_seed(0)
    y = torch.randn(2, 1, 2, 3) / math.sqrt(6)
    s = y.sum(dim=[1, 2, 3])
    lengths = (25 * s.square() / 2).sqrt()  # mean over two rows of (3s)² and (4s)²
    penalty = PathLength()
    penalty.mean.fill_(2.0)
    torch.manual_seed(0)
    values = penalty(broadcast_rows, ws)
    mean = 2.0 + 0.01 * (lengths.mean() - 2.0)
    torch.testing.assert_close(values, (lengths - mean).square())
    torch.testing.assert_close(penalty.mean, mean)
    assert not penalty.mean.requires_grad


def test_fresh_mean_is_not_detached():
    scale = torch.tensor(1.0, requires_grad=True)
    torch.manual_seed(0)
    s = (torch.randn(4, 1, 2, 3) / math.sqrt(6)).sum(dim=[1, 2, 3])
    lengths = (25 * s.square() / 2).sqrt()
    torch.manual_seed(0)
    PathLength(decay=0.25)(lambda ws: scale * broadcast_rows(ws), torch.ones(4, 2, 5)).sum().backward()
    # penalty = scale²·(l - l̄/4)², so its derivative at scale 1 is twice its value.
    torch.testing.assert_close(scale.grad, 2 * (lengths - lengths.mean() / 4).square().sum())


def test_path_length_state():
    a, b = PathLength(), PathLength()
    a.mean.fill_(1.25)
    state = a.state_dict()
    b.load_state_dict(state)
    assert b.mean.item() == 1.25
    a.mean.fill_(3.0)
    assert state["mean"].item() == 1.25
    with pytest.raises(ValueError, match="state must hold a 0-dimensional tensor 'mean' alone"):
        b.load_state_dict({})
    with pytest.raises(ValueError, match=r"decay must be in \(0, 1\], got 0"):
        PathLength(decay=0)


def test_inner_gradient_asks_for_no_weight_gradients():
    """In the penalty's own pass no operator is asked for a parameter's gradient; its own stay whole."""
    asked = []

    class Probe(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, b):
            ctx.save_for_backward(x, b)
            return x * b

        @staticmethod
        def backward(ctx, dy):
            x, b = ctx.saved_tensors
            asked.append(needed(ctx))
            return dy * b, (dy * x).sum()

    b = torch.tensor(2.0, requires_grad=True)
    penalty = r1(lambda x, c: Probe.apply(x, b).sum(dim=[1, 2, 3])[:, None], torch.randn(2, 1, 2, 2))
    assert asked == [(True, False)]
    penalty.sum().backward()
    assert b.grad.item() == pytest.approx(2 * 4 * 2 * 2)
