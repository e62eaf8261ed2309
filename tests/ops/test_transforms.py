"""torch.func over compiled operators: grad, grad of grad, vmap; forward mode is refused rather than wrong."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import grad, jvp, vmap

from fastgan.ops import bias_act, provider, setup_filter, upfirdn2d

OPERATORS = {
    "lrelu": lambda x, b: bias_act(x, b, act="lrelu"),
    "swish": lambda x, b: bias_act(x, b, act="swish"),
    "upfirdn2d": lambda x, b: upfirdn2d(x * b[:, None, None], setup_filter([1, 3, 3, 1]), up=2),
}


def examples():
    return torch.randn(2, 3, 5, 4, dtype=torch.float64), torch.randn(3, dtype=torch.float64)


@pytest.fixture(params=list(OPERATORS))
def energy(request):
    """A scalar function of x and b through one operator."""
    return lambda x, b: OPERATORS[request.param](x, b).pow(2).sum()


def test_gradients(compiled_provider, energy):
    x, b = examples()
    for wanted in (0, 1):
        ours = grad(energy, argnums=wanted)(x, b)
        with provider("reference"):
            torch.testing.assert_close(ours, grad(energy, argnums=wanted)(x, b))


def test_second_gradient(compiled_provider, energy):
    x, b = examples()
    direction = torch.randn_like(x)

    def slope(x):
        return (grad(energy)(x, b) * direction).sum()

    ours = grad(slope)(x)
    with provider("reference"):
        torch.testing.assert_close(ours, grad(slope)(x))


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_per_sample_gradients(compiled_provider, energy):
    x, b = examples()
    batch = torch.stack([x, 2 * x, -x])
    ours = vmap(grad(energy, argnums=1), (0, None))(batch, b)
    torch.testing.assert_close(ours, torch.stack([grad(energy, argnums=1)(one, b) for one in batch]))


def test_forward_mode_is_refused(compiled_provider, energy):
    x, b = examples()
    with pytest.raises(NotImplementedError, match="forward mode"):
        jvp(energy, (x, b), (x, b))


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_gradient_of_a_vmap(compiled_provider, energy):
    x, b = examples()
    batch = torch.stack([x, 2 * x, -x])

    def total(batch):
        return vmap(energy, (0, None))(batch, b).sum()

    ours = grad(total)(batch)
    torch.testing.assert_close(ours, torch.stack([grad(energy)(one, b) for one in batch]))


def test_forward_mode_without_gradients_is_refused(compiled_provider, energy):
    x, b = examples()
    with forward_ad.dual_level(), torch.no_grad(), pytest.raises(NotImplementedError, match="forward mode"):
        energy(forward_ad.make_dual(x, x), b)
