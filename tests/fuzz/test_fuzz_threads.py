"""Threads that train, penalise, sample and switch providers, interleaved at random: each gets what it gets alone."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgan.generate import Sampler
from fastgan.losses import PathLength, r1
from fastgan.models import build
from fastgan.ops import exact_convolutions, provider

THREADS = 3
WORKS = ("train", "penalise", "lengths", "sample")
BLOCKS = {"native": lambda: provider("native"), "reference": lambda: provider("reference"), "exact": exact_convolutions}


@functools.cache
def networks() -> Any:
    torch.manual_seed(0)
    G: Any
    _, G, D = build("stylegan2", resolution=8, channel_base=64, z_dim=8, w_dim=8, mapping_layers=1)
    for layer in G.synthesis.layers:
        layer.noise_strength.data.fill_(0.5)
    return G, D, Sampler(G), torch.randn(4, 3, 8, 8), torch.randn(2, G.num_ws, 8)


def computed(work: str) -> list[torch.Tensor]:
    """Pictures, or the gradients of every parameter."""
    G, D, sampler, x, ws = networks()
    if work == "sample":
        return [sampler.images([3, 4], noise_mode="random")]
    module: torch.nn.Module = G.synthesis if work == "lengths" else D
    if work == "train":
        value = D(x).sum()
    elif work == "penalise":
        value = r1(D, x).sum()
    else:  # y of the penalty comes from torch's global generator, so only whether all gradients are there is compared
        value = PathLength()(lambda ws: G.synthesis(ws, noise_mode="const"), ws).sum()
    grads = torch.autograd.grad(value, list(module.parameters()), allow_unused=True)
    if work == "lengths":
        return [torch.tensor([grad is not None for grad in grads])]
    return [torch.zeros([]) if grad is None else grad for grad in grads]


@functools.cache
def alone(work: str, name: str, exact: bool) -> list[torch.Tensor]:
    with ExitStack() as stack:
        for block in (name, *["exact"] * exact):
            stack.enter_context(BLOCKS[block]())
        return computed(work)


class Worker:
    """A thread with the blocks that it has entered."""

    def __init__(self):
        self.pool = ThreadPoolExecutor(1)
        self.blocks: list[tuple[str, ExitStack]] = [("native", ExitStack())]

    def step(self, what: str) -> None:
        if what in BLOCKS:
            stack = ExitStack()
            stack.enter_context(BLOCKS[what]())
            self.blocks.append((what, stack))
        elif what == "leave":
            if len(self.blocks) > 1:
                self.blocks.pop()[1].close()
        else:
            names = [name for name, _ in self.blocks]
            name = next(name for name in reversed(names) if name != "exact")
            torch.testing.assert_close(computed(what), alone(what, name, "exact" in names), rtol=0, atol=0)


steps = st.sampled_from([*WORKS, *WORKS, *BLOCKS, "leave"])
# What each thread does at the same time, round after round; None: it rests.
schedules = st.lists(st.tuples(*[st.none() | steps] * THREADS), min_size=1, max_size=8)


@settings.get_profile("fuzz")
@given(schedule=schedules)
@pytest.mark.usefixtures("native_provider")
def test_threads(schedule) -> None:
    for work in WORKS:
        for name in ("native", "reference"):
            for exact in (False, True):
                alone(work, name, exact)
    workers = [Worker() for _ in range(THREADS)]
    try:
        for worker in workers:
            worker.pool.submit(worker.step, "native").result(20)
        for each in schedule:
            running = [
                worker.pool.submit(worker.step, what) for worker, what in zip(workers, each, strict=True) if what
            ]
            for future in running:
                future.result(60)
    finally:
        for worker in workers:
            worker.pool.shutdown()
