"""A sampler beside whatever else is done with the same network."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import nn

from fastgan.generate import Sampler
from fastgan.models.registry import build

SMALL = {"resolution": (16, 16), "channel_base": 128, "channel_max": 8}


def networks(name: str = "stylegan2", **overrides: Any) -> Any:
    own = {"z_dim": 8, "w_dim": 8, "mapping_layers": 2} if name == "stylegan2" else {"z_dim": 8}
    _, G, D = build(name, **{**SMALL, **own, **overrides})
    for key, parameter in G.named_parameters():
        if key.endswith("noise_strength"):
            parameter.data.fill_(0.5)
    return G, D


def everything(G: nn.Module) -> dict:
    """All that a look at G must not change."""
    return {
        "modes": {name: module.training for name, module in G.named_modules()},
        "values": {name: (value.clone(), value.stride(), value.dtype) for name, value in G.state_dict().items()},
        "grads": {name: (p.requires_grad, p.grad) for name, p in G.named_parameters()},
        "objects": [id(tensor) for tensor in (*G.parameters(), *G.buffers())],
        "random": torch.get_rng_state(),
    }


def same(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(same(one, other) for one, other in zip(a, b, strict=True))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def train_a_step(G: nn.Module, D: nn.Module, c: torch.Tensor | None = None) -> list[bool]:
    """Whether each parameter of G moved."""
    optimizer = torch.optim.Adam(G.parameters(), 0.01)
    before = [p.clone() for p in G.parameters()]
    nn.functional.softplus(-D(G(torch.randn(4, 8), c), c)).mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    return [not torch.equal(a, b) for a, b in zip(before, G.parameters(), strict=True)]


@pytest.mark.parametrize("name", ["stylegan2", "dcgan"])
def test_a_preview_in_the_middle_of_training_does_not_stop_it(name: str) -> None:
    G, D = networks(name)
    Sampler(G).images(range(2))
    assert all(train_a_step(G, D))


@pytest.mark.parametrize("noise_mode", ["const", "random", "none"])
@pytest.mark.parametrize("name", ["stylegan2", "dcgan"])
def test_a_network_is_left_as_it_was(name: str, noise_mode: str) -> None:
    G, _ = networks(name, num_classes=3)
    G.to(memory_format=torch.channels_last)
    next(module for module in G.modules() if not list(module.children())).eval()  # modes that differ
    next(G.parameters()).requires_grad_(False)
    before = everything(G)
    sampler = Sampler(G, ("a", "b", "c"))
    images = sampler.images(range(5), class_index=[0, 2], noise_mode=noise_mode, batch_size=2)
    sampler.latents([1])
    if name == "stylegan2":
        sampler.images([1], truncation_psi=0.5)
    assert same(before, everything(G))
    assert torch.equal(images, Sampler(G.eval()).images(range(5), 1, [0, 2], noise_mode, 2))


def test_batches_that_are_left_half_way_leave_the_network_as_it_was() -> None:
    G, D = networks()
    before = everything(G)
    batches: Any = Sampler(G).batches(range(6), noise_mode="random", batch_size=2)
    next(batches)
    assert same(before, everything(G)) and torch.is_grad_enabled()
    assert all(train_a_step(G, D))  # while it waits for its next batch
    next(batches)
    before = everything(G)
    batches.close()
    assert same(before, everything(G))


def test_an_error_on_the_way_leaves_the_network_as_it_was() -> None:
    G, _ = networks()
    G.synthesis.layers[2].register_forward_pre_hook(lambda module, inputs: 1 / 0)
    before = everything(G)
    with pytest.raises(ZeroDivisionError):
        Sampler(G).images([1], noise_mode="random")
    assert same(before, everything(G)) and torch.is_grad_enabled()


@pytest.mark.parametrize("name", ["stylegan2", "dcgan"])
def test_a_picture_is_of_the_weights_of_now(name: str) -> None:
    G, D = networks(name, num_classes=2)
    sampler, psi = Sampler(G), 0.5 if name == "stylegan2" else 1
    first = sampler.images([3], psi, 1)
    train_a_step(G, D, torch.eye(2)[[0, 1, 0, 1]])
    second = sampler.images([3], psi, 1)
    assert not torch.equal(first, second) and torch.equal(second, Sampler(G).images([3], psi, 1))
    for parameter in G.parameters():
        parameter.data.mul_(1.5)  # behind autograd's back
    assert torch.equal(sampler.images([3], psi, 1), Sampler(G).images([3], psi, 1))
    fresh, _ = networks(name, num_classes=2)
    G.load_state_dict(fresh.state_dict(), assign=True)
    assert torch.equal(sampler.images([3], psi, 1), Sampler(fresh).images([3], psi, 1))


def test_the_average_of_a_class_follows_the_mapping_between_two_batches() -> None:
    G, _ = networks(num_classes=2)
    batches = Sampler(G).batches([1, 2], truncation_psi=0.0, class_index=0, batch_size=1)
    first = next(batches)
    G.mapping.layers[-1].bias.data.add_(100.0)
    assert not torch.equal(first, next(batches))


@pytest.mark.parametrize("name", ["stylegan2", "dcgan"])
def test_a_thread_may_train_the_network_that_another_looks_at(name: str) -> None:
    G, D = networks(name)
    seen: list[bool] = []
    G.register_forward_hook(lambda module, inputs, output: seen.append(G.training and torch.is_grad_enabled()))
    stop, images = threading.Event(), []

    def look() -> None:
        sampler = Sampler(G)
        while not stop.is_set():
            images.append(sampler.images([1], noise_mode="random"))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        moved = [train_a_step(G, D) for _ in range(15)]
    finally:
        stop.set()
        thread.join()
    assert all(all(each) for each in moved) and images and G.training
    # The trainer's passes kept their gradients, and G was in training mode during all of the other thread's, too.
    assert seen.count(True) == 15


@pytest.mark.parametrize("noise_mode", ["const", "random"])
def test_threads_get_the_pictures_of_the_serial_run(noise_mode: str) -> None:
    G, _ = networks(num_classes=3)
    sampler = Sampler(G)
    torch.manual_seed(4)
    expected = [sampler.images([seed], 0.7, noise_mode=noise_mode) for seed in range(24)]
    sampler, got = Sampler(G), {}

    def work(first: int) -> None:
        for seed in range(first, 24, 4):
            torch.randn(3)
            got[seed] = sampler.images([seed], 0.7, noise_mode=noise_mode)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(got[seed], expected[seed]) for seed in range(24))


def test_a_batch_of_random_noise_gives_each_seed_its_own() -> None:
    G, _ = networks()
    together = Sampler(G).images(range(7), noise_mode="random", batch_size=7)
    alone = torch.cat([Sampler(G).images([seed], noise_mode="random") for seed in range(7)])
    # A convolution over another batch size may round another way: one step of 255 at most.
    assert (together.int() - alone.int()).abs().max() <= 1
    generator = torch.Generator().manual_seed(5 ^ 0x9E3779B9)
    z, _ = Sampler(G).latents([5])
    with torch.no_grad():
        own = G.eval()(z, noise_mode="random", generator=generator)
    assert torch.equal(alone[5], (own[0] * 127.5 + 128).clamp(0, 255).to(torch.uint8))


def test_a_compiled_generator_is_sampled() -> None:
    G, _ = networks()
    compiled: Any = torch.compile(G, backend="eager")
    sampled = Sampler(compiled).images([1, 2])
    assert torch.equal(sampled, Sampler(G).images([1, 2])) and G.training


def test_pictures_do_not_depend_on_the_surrounding_autocast() -> None:
    G, _ = networks(num_classes=2)
    sampler = Sampler(G)
    expected = sampler.images([1, 2], 0.6)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        assert torch.equal(Sampler(G).images([1, 2], 0.6), expected)
