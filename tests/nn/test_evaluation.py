from __future__ import annotations

import types
from typing import Any

import pytest
import torch
from torch import nn

from fastgan.nn import evaluation_view


def network() -> Any:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))


def test_a_view_evaluates_while_the_network_stays_in_training():
    net, x = network(), torch.randn(5, 3)
    net[1].running_mean.fill_(0.3)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    y = evaluation_view(net)(x)
    assert [module.training for module in net.modules()] == modes == [True] * 4
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert torch.equal(y, net.eval()(x))


def test_a_view_shows_weights_that_are_replaced_later():
    net, x = network().eval(), torch.randn(5, 3)
    view = evaluation_view(net)
    net[0].weight.data.zero_()
    net[0].bias = nn.Parameter(torch.ones(4))
    net.load_state_dict({key: value + 1 for key, value in net.state_dict().items()}, assign=True)
    net.double()
    assert torch.equal(view(x.double()), net(x.double()))


class Branches(nn.Module):
    """Refers to its parts in every way that a forward pass may use."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.BatchNorm1d(3, affine=False) for _ in range(4))
        self.same = self.a
        self.listed, self.named, self.act, self.calls = [self.b], {"c": (self.c,)}, self.d.forward, []

    def forward(self, x):
        self.calls.append(len(x))
        return self.act(self.named["c"][0](self.listed[0](self.same(x))))


def test_parts_in_lists_and_bound_methods_are_not_trained_by_a_look():
    net: Any = Branches()
    evaluation_view(net)(torch.randn(4, 3))
    assert all(int(norm.num_batches_tracked) == 0 for norm in (net.a, net.b, net.c, net.d))
    assert net.calls == [4]  # what the network collects by itself is still collected
    assert evaluation_view(net).same is not net.a


def test_a_forward_that_was_put_onto_the_network_is_evaluated():
    net = network()
    net.forward = types.MethodType(lambda self, x: self[2](self[0](x)) if self.training else self[0](x) * 2, net)
    x = torch.randn(2, 3)
    assert torch.equal(evaluation_view(net)(x), net[0](x) * 2)


@pytest.mark.parametrize("place", ["whole", "part", "in place"])
def test_a_compiled_network_is_seen_as_what_it_was_compiled_from(place):
    net, x = network(), torch.randn(5, 3)
    expected = network()
    expected.load_state_dict(net.state_dict())
    if place == "in place":
        net.compile(backend="eager")
    compiled: Any = torch.compile(net, backend="eager") if place != "in place" else net
    assert torch.equal(evaluation_view(nn.Sequential(compiled) if place == "part" else compiled)(x), expected.eval()(x))
    assert int(net[1].num_batches_tracked) == 0 and net.training


def test_spectral_norm_makes_no_step():
    for wrap in (nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm):
        net = wrap(nn.Linear(3, 4))
        before = {key: value.clone() for key, value in net.state_dict().items()}
        y = evaluation_view(net)(torch.ones(1, 3))
        assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
        assert torch.equal(y, net.eval()(torch.ones(1, 3)))


def test_a_scripted_part_in_training_is_refused():
    scripted = torch.jit.script(nn.Dropout(0.5))
    with pytest.raises(ValueError, match="is a TorchScript module in training mode; call its eval\\(\\) first"):
        evaluation_view(nn.Sequential(scripted))
    x = torch.ones(3)
    assert torch.equal(evaluation_view(nn.Sequential(scripted.eval()))(x), x)


def test_a_view_takes_no_memory_for_weights():
    net = nn.Sequential(nn.Linear(2000, 2000))
    view = evaluation_view(net)
    assert view[0].weight is net[0].weight and view[0].weight.requires_grad
