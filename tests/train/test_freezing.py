"""Layers of D that stay as they are (`freezed`): which, and what a training step does for them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastgan.config.data import DataOptions
from fastgan.config.options import AdversarialOptions, replace
from fastgan.data import ImageDataset
from fastgan.losses.penalties import r1
from fastgan.models import Layered, build, family
from fastgan.train.config import RunConfig
from fastgan.train.freezing import freeze
from fastgan.train.game import game_of
from fastgan.train.loop import step
from fastgan.train.state import TrainState
from tests.models.test_stylegan2_layers import WEIGHT_GRADIENTS, kernels, networks
from tests.train.test_noise import TinyD, TinyG

SMALL = {
    "stylegan2": {"resolution": 16, "channel_base": 64, "channel_max": 8, "z_dim": 8, "w_dim": 8, "mapping_layers": 1},
    "stylegan3-t": {"resolution": 16, "channel_base": 64, "channel_max": 8, "z_dim": 8, "w_dim": 8, "layers": 4},
    "dcgan": {"resolution": 16, "channel_base": 64, "channel_max": 8, "z_dim": 8},
    "r3gan": {"resolution": 16, "channel_base": 64, "channel_max": 16, "z_dim": 8, "group_size": 4},
    "pix2pix": {"resolution": 32, "channel_base": 4, "receptive_field": 16},
    "cyclegan": {"resolution": 32, "channel_base": 4, "receptive_field": 16, "num_blocks": 1},
}
LAYERS = {
    "stylegan2": ["from_rgb", *[f"blocks.{i}.{layer}" for i in (0, 1) for layer in ("conv0", "conv1", "skip")],
                  "conv", "dense", "out"],
    "dcgan": ["convs.0 bias", "convs.1 norms.0", "dense"],
    "r3gan": ["from_rgb", *[f"stages.0.blocks.0.{layer}" for layer in ("expand", "group", "reduce")],
              *[f"stages.{i}.{layer}" for i in (1, 2)
                for layer in ("weight", "blocks.0.expand", "blocks.0.group", "blocks.0.reduce")],
              "basis", "dense"],
    "pix2pix": ["layers.0", "layers.1", "layers.2"],
}  # fmt: skip
LAYERS |= {"stylegan3-t": LAYERS["stylegan2"], "cyclegan": LAYERS["pix2pix"]}


def discriminators(model: str, **more: Any) -> dict[str, Any]:
    built = zip(family(model).networks, build(model, **SMALL[model] | more)[1:], strict=True)
    return {name: network for name, network in built if name.startswith("D")}


def options_with(count: int, model: str = "stylegan2") -> AdversarialOptions:
    return replace(family(model).options(), "training", freezed=count)


def state_with(model: str = "stylegan2", freezed: int = 4, seed: int = 0, **options: Any) -> TrainState:
    """A training of 12 images whose D has learnt something before."""
    training = replace(family(model).options(), "training", batch=4, seed=seed, freezed=freezed, **options)
    images = torch.randint(0, 256, (12, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(7))
    config = RunConfig(model, SMALL[model], DataOptions(), training)
    return TrainState(game_of(config, {"image": ImageDataset(images)}, torch.device("cpu")))


def D_of(state: TrainState) -> Any:
    return state.game.players[1].modules["D"]


@pytest.mark.parametrize("model", SMALL)
@pytest.mark.parametrize("labelled", [False, True])
def test_layers_count_from_the_image_and_leave_out_labels_alone(model, labelled):
    more = {"num_classes": 3} if labelled and model not in ("pix2pix", "cyclegan") else {}
    for D in discriminators(model, **more).values():
        assert isinstance(D, Layered)
        names = {id(parameter): name for name, parameter in D.named_parameters()}
        found = [[names[id(parameter)] for parameter in layer] for layer in D.parameters_by_layer()]
        expected = [[each for part in layer.split() for each in names.values() if f"{each}.".startswith(f"{part}.")]
                    for layer in LAYERS[model]]  # fmt: skip
        assert found == expected
        rest = set(names.values()) - {name for layer in found for name in layer}
        assert all(name.startswith(("mapping.", "embed")) for name in rest) and bool(rest) == bool(more)


@pytest.mark.parametrize("model", SMALL)
def test_the_first_layers_want_no_gradient(model):
    mine = discriminators(model)
    freeze(mine, options_with(2, model))
    for D in mine.values():
        frozen = [not parameter.requires_grad for layer in D.parameters_by_layer() for parameter in layer]
        assert frozen == [index < 2 for index, layer in enumerate(D.parameters_by_layer()) for _ in layer]
    assert all(parameter.requires_grad for D in discriminators(model).values() for parameter in D.parameters())


@pytest.mark.parametrize("model", ["stylegan2", "dcgan"])
def test_training_leaves_frozen_layers_and_their_moments_to_the_bit(model):
    state = state_with(model, freezed=2)
    D, player = D_of(state), state.game.players[1]
    before = {name: parameter.detach().clone() for name, parameter in D.named_parameters()}
    frozen = {id(parameter) for layer in D.parameters_by_layer()[:2] for parameter in layer}
    for _ in range(3):
        step(state)
    for name, parameter in D.named_parameters():
        assert torch.equal(parameter, before[name]) == (id(parameter) in frozen), name
        assert (parameter in player.optimizer.state) == (id(parameter) not in frozen), name
        assert (parameter.grad is None) == (id(parameter) in frozen), name
        assert parameter.requires_grad == (id(parameter) not in frozen), name


def test_what_learns_gets_the_gradients_that_it_gets_otherwise():
    x = torch.randn(4, 3, 16, 16)
    _, D = networks()
    part = copy.deepcopy(D)
    freeze({"D": part}, options_with(5))
    for net in (D, part):
        (net(x).square().sum() + r1(net, x).sum()).backward()
    for (name, expected), mine in zip(D.named_parameters(), part.parameters(), strict=True):
        assert expected.grad is not None
        if mine.grad is not None:
            assert torch.equal(mine.grad, expected.grad), name
        assert (mine.grad is not None) == mine.requires_grad, name
    assert torch.equal(r1(part, x), r1(D, x))


@pytest.mark.parametrize("count", [0, 1, 4, 8])
def test_no_weight_gradient_is_computed_for_them(native_provider, count):
    _, D = networks()
    freeze({"D": D}, options_with(count))
    x, before, after = torch.randn(4, 3, 16, 16), 7, 1  # convolutions, about minibatch standard deviation
    left = before - min(count, before)
    after -= count > before
    assert kernels(lambda: D(x).sum().backward(), WEIGHT_GRADIENTS) == left + after
    # R1's second order and, before the minibatch standard deviation, an ordinary backward pass.
    assert kernels(lambda: r1(D, x).sum().backward(), WEIGHT_GRADIENTS) == 2 * left + after


@pytest.mark.parametrize("at", [1, 2])
def test_a_training_goes_on_bit_for_bit(at):
    through = state_with()
    for _ in range(3):
        step(through)
    halves = state_with()
    for _ in range(at):
        step(halves)
    captured = copy.deepcopy(halves.capture())
    again = state_with(seed=5)
    again.restore(captured)
    for _ in range(3 - at):
        step(again)
    mine, expected = again.capture(), through.capture()
    for player in ("G", "D"):
        assert_equal(mine["players"][player], expected["players"][player])
    assert_equal(mine["emas"], expected["emas"])


def assert_equal(a: Any, b: Any) -> None:
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_equal(a[key], b[key])
    else:
        assert torch.equal(a, b) if isinstance(a, Tensor) else a == b


@pytest.mark.parametrize(("before", "now"), [(0, 4), (4, 0), (4, 2)])
def test_moments_are_found_where_other_layers_were_frozen(before, now):
    first = state_with(freezed=before)
    step(first)
    captured = copy.deepcopy(first.capture())
    second = state_with(freezed=now)
    second.restore(captured)
    moments = {name: first.game.players[1].optimizer.state.get(p) for name, p in D_of(first).named_parameters()}
    for name, parameter in D_of(second).named_parameters():
        mine, expected = second.game.players[1].optimizer.state.get(parameter), moments[name]
        assert (mine is None) == (expected is None), name
        if mine is not None and expected is not None:
            assert torch.equal(mine["exp_avg_sq"], expected["exp_avg_sq"]), name
    step(second)
    assert all(p in second.game.players[1].optimizer.state for p in D_of(second).parameters() if p.requires_grad)


@pytest.mark.parametrize(("count", "words"), [(10, "at most 9, for D has 10 layers and one must learn; got 10"),
                                              (11, "at most 9")])  # fmt: skip
def test_one_layer_must_learn(count, words):
    freeze(discriminators("stylegan2"), options_with(9))
    with pytest.raises(ValueError, match=f"freezed must be {words}"):
        freeze(discriminators("stylegan2"), options_with(count))


def test_a_discriminator_that_tells_no_layers_is_refused():
    nets: dict[str, nn.Module] = {"G": TinyG(), "D": TinyD()}
    freeze(nets, AdversarialOptions())
    with pytest.raises(ValueError, match=r"freezed must be 0 for networks of which none tells its layers by fastgan"):
        freeze(nets, AdversarialOptions(freezed=1))


@pytest.mark.parametrize("value", [-1, 1.5, True, "2"])
def test_a_count_of_layers_is_an_integer(value):
    with pytest.raises(ValueError, match="freezed must be an integer of at least 0"):
        AdversarialOptions(freezed=value)
