"""Copies of networks, layers and samplers: equal to the bit, sharing nothing with the original."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import fastgan
from fastgan.models.registry import configure, family
from fastgan.nn import EqualizedConv2d, EqualizedLinear, SynthesisLayer, ToRGB
from tests.interop.networks import NETWORKS, SMALL, inputs, network


def saved_and_loaded(value: Any) -> Any:
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


WAYS: dict[str, Callable] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "torch.save": saved_and_loaded,
}
LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[Any, ...]]] = {
    "conv": (lambda: EqualizedConv2d(3, 4, 3, act="lrelu", down=2), (torch.ones(2, 3, 8, 8),)),
    "linear": (lambda: EqualizedLinear(3, 4, act="lrelu", lr_multiplier=0.01), (torch.ones(2, 3),)),
    "synthesis": (lambda: SynthesisLayer(3, 4, 5, (16, 16), up=2), (torch.ones(2, 3, 8, 8), torch.ones(2, 5), "const")),
    "to_rgb": (lambda: ToRGB(3, 3, 5), (torch.ones(2, 3, 8, 8), torch.ones(2, 5))),
}


def storages(module: nn.Module) -> set[int]:
    return {value.untyped_storage().data_ptr() for value in (*module.parameters(), *module.buffers())}


def assert_is_a_copy(mine: nn.Module, original: nn.Module, given: tuple) -> None:
    before = original(*given)
    assert torch.equal(mine(*given), before)
    assert not storages(mine) & storages(original)
    assert [key for key, _ in mine.named_buffers()] == [key for key, _ in original.named_buffers()]
    with torch.no_grad():
        for parameter in mine.parameters():
            parameter.add_(1)
    mine.train(not original.training)
    assert torch.equal(original(*given), before) and original.training != mine.training


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_copied_network_is_equal_and_shares_nothing(name: str, way: str) -> None:
    module = network(name)
    assert_is_a_copy(WAYS[way](module), module, inputs(name, 4))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", LAYERS)
def test_a_copied_layer_is_equal_and_shares_nothing(name: str, way: str) -> None:
    make, given = LAYERS[name]
    layer = make()
    assert_is_a_copy(WAYS[way](layer), layer, given)


@pytest.mark.parametrize("way", WAYS)
def test_a_copied_sampler_makes_equal_pictures(way: str) -> None:
    quiet: Any = network("stylegan2-cond-G")
    sampler = fastgan.Sampler(quiet.G, ("a", "b", "c"))
    expected = sampler.images(range(3), truncation_psi=0.5)  # and the centers of classes are kept
    mine = WAYS[way](sampler)
    assert torch.equal(mine.images(range(3), truncation_psi=0.5), expected)
    assert mine.class_names == sampler.class_names and not storages(mine.G) & storages(sampler.G)


@pytest.mark.parametrize(
    "name", ["stylegan2-cond-G", "stylegan2-plain-D", "dcgan-cond-G", "dcgan-plain-D", "stylegan3-r-plain-G"]
)
def test_weights_are_loaded_into_a_network_that_has_memory_or_none(name: str) -> None:
    module: Any = network(name)
    source = module.G if name.endswith("G") else module
    file = io.BytesIO()
    torch.save(source.state_dict(), file)
    file.seek(0)
    weights = torch.load(file, weights_only=True)
    kind, labels, part = name.rsplit("-", 2)
    sizes = {"resolution": (16, 8), "channel_base": 64, "channel_max": 8, "z_dim": 6}
    config = configure(kind, **sizes, **SMALL[kind], num_classes=3 if labels == "cond" else 0)
    make = family(kind).networks[part]
    options = module.fixed if part == "G" else {}
    given = inputs(name, 4)
    expected = module(*given)
    with torch.device("meta"):
        bare = make(config).eval()
    empty = copy.deepcopy(bare).to_empty(device="cpu")
    for value in empty.state_dict().values():
        value.fill_(7)  # what memory may happen to hold
    for built, assign in ((make(config).eval(), False), (make(config).eval(), True), (bare, True), (empty, False)):
        built.load_state_dict(weights, assign=assign)
        assert torch.equal(built(*given, **options), expected)
    assert torch.equal(torch.func.functional_call(make(config).eval(), weights, given, options), expected)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_built_without_memory_and_filled(name: str) -> None:
    make, given = LAYERS[name]
    layer = make()
    with torch.device("meta"):
        bare = make()
    empty = copy.deepcopy(bare).to_empty(device="cpu")
    for built, assign in ((bare, True), (empty, False)):
        built.load_state_dict(layer.state_dict(), assign=assign)
        assert torch.equal(built(*given), layer(*given))


def test_a_filter_of_ones_own_outlives_loading_moving_and_emptying() -> None:
    layer = SynthesisLayer(2, 2, 4, (8, 8), up=2)
    taps = torch.tensor([0.1, 0.2, 0.3, 0.4])
    layer.f = taps.clone()
    layer.load_state_dict(layer.state_dict())
    layer.to_empty(device="cpu")
    assert layer.f is not None and torch.equal(layer.f, taps)
    wide = layer.double().f
    assert wide is not None and torch.equal(wide, taps.double())


def _sends_back(module: nn.Module, given: tuple, queue: Any) -> None:
    torch.set_num_threads(1)
    with torch.no_grad():
        queue.put(module(*given).numpy())


def test_a_network_is_sent_to_another_process() -> None:
    name = "stylegan2-cond-G"
    module, given = network(name), inputs(name, 2)
    context = torch.multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_sends_back, args=(module, given, queue))
    process.start()
    made = torch.from_numpy(queue.get(timeout=120))
    process.join()
    assert torch.equal(made, module(*given)) and process.exitcode == 0
