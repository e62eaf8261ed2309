"""What a backward pass leaves unused is not computed, all else is: beside other passes, threads and checkpoints."""

from __future__ import annotations

import asyncio
import threading
from contextvars import copy_context
from typing import Any

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from fastgan.losses import PathLength, r1
from fastgan.models import build
from fastgan.ops import bias_act, conv2d_resample, modulated_conv2d
from fastgan.ops.gradients import needed

SMALL = {"resolution": 16, "channel_base": 256, "z_dim": 16, "w_dim": 16, "mapping_layers": 2}


def new_networks(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    _, G, D = build("stylegan2", **SMALL)
    return G.train(), D.train()


def gradients(module: torch.nn.Module, value: torch.Tensor) -> list[torch.Tensor]:
    module.zero_grad()
    value.backward()
    assert all(p.grad is not None for p in module.parameters() if p.ndim > 1)
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in module.parameters()]


def in_threads(*works) -> None:
    """Run all at once, each with what the caller's blocks set; the first error of any is raised."""
    errors = []

    def guarded(work):
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    threads = [threading.Thread(target=copy_context().run, args=(guarded, work)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_a_thread_that_penalises_takes_another_no_gradients(native_provider):
    _, penalised = new_networks()
    _, trained = new_networks(1)
    x = torch.randn(2, 3, 16, 16)
    want = gradients(trained, trained(x).sum())
    stop = threading.Event()

    def penalise():
        while not stop.is_set():
            r1(penalised, x)

    def train():
        try:
            for _ in range(20):
                torch.testing.assert_close(gradients(trained, trained(x).sum()), want, rtol=0, atol=0)
        finally:
            stop.set()

    in_threads(penalise, train)


def test_penalties_of_several_threads_have_the_gradients_of_one(native_provider):
    G, _ = new_networks()
    ws = torch.randn(2, G.num_ws, 16)
    x = torch.randn(3, 2, 3, 16, 16)
    discriminators = [new_networks(seed)[1] for seed in range(3)]
    want = [gradients(D, r1(D, each).sum()) for D, each in zip(discriminators, x, strict=True)]

    def again(D, each, expected):
        for _ in range(10):
            torch.testing.assert_close(gradients(D, r1(D, each).sum()), expected, rtol=0, atol=0)

    def lengths():
        for _ in range(10):
            gradients(G.synthesis, PathLength()(G.synthesis, ws).sum())

    works = [lambda a=D, b=each, c=w: again(a, b, c) for D, each, w in zip(discriminators, x, want, strict=True)]
    in_threads(*works, lengths)


def test_two_penalties_in_one_graph(native_provider):
    """R1 of reals and of fakes, and the adversarial part, backward at once: the sum of those alone."""
    _, D = new_networks()
    real, fake = torch.randn(2, 2, 3, 16, 16)
    parts = (lambda: r1(D, real).sum(), lambda: r1(D, fake).sum(), lambda: D(real).sum())
    want = [sum(each) for each in zip(*(gradients(D, part()) for part in parts), strict=True)]
    torch.testing.assert_close(gradients(D, parts[0]() + parts[1]() + parts[2]()), want, rtol=1e-4, atol=1e-4)


def test_a_checkpointed_discriminator_has_the_penalty_of_a_plain_one(native_provider):
    _, D = new_networks()
    x = torch.randn(2, 3, 16, 16)
    want = gradients(D, r1(D, x).sum())
    saving = lambda images, c: checkpoint(D, images, c, use_reentrant=False)  # noqa: E731
    torch.testing.assert_close(gradients(D, r1(saving, x).sum()), want)


def test_a_penalty_inside_a_checkpoint(compiled_provider):
    x, w, b = torch.randn(2, 4, 6, 5).requires_grad_(), torch.randn(3, 4, 3, 3).requires_grad_(), torch.randn(3)

    def penalty(x):
        y = conv2d_resample(x, w, padding=1, b=b, act="lrelu").square()
        (grad,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        return grad.square().sum()

    want = torch.autograd.grad(penalty(x), [x, w])
    got = torch.autograd.grad(checkpoint(penalty, x, use_reentrant=False), [x, w])
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("of", ["x", "w", "styles", "b", "noise"])
def test_a_pass_for_one_input_is_asked_for_that_one(compiled_provider, of, monkeypatch):
    """Of each input alone, by grad and by backward(inputs=...), the same as of all together."""
    inputs = {
        "x": torch.randn(2, 4, 6, 5),
        "w": torch.randn(3, 4, 3, 3),
        "styles": torch.rand(2, 4) + 0.5,
        "noise": torch.randn(2, 1, 6, 5),
        "b": torch.randn(3),
    }
    leaves = {name: value.requires_grad_() for name, value in inputs.items()}

    def layer():
        x, w, styles, noise, b = leaves.values()
        return modulated_conv2d(x, w, styles, noise, padding=1, b=b, act="lrelu").square().sum()

    whole = dict(zip(leaves, torch.autograd.grad(layer(), list(leaves.values())), strict=True))
    asked = []
    monkeypatch.setattr("fastgan.ops.conv2d_layer.autograd.needed", lambda ctx: asked.append(needed(ctx)) or asked[-1])
    (alone,) = torch.autograd.grad(layer(), leaves[of])
    torch.testing.assert_close(alone, whole[of])
    layer().backward(inputs=[leaves[of]])
    torch.testing.assert_close(leaves[of].grad, whole[of])
    asked_for = {"x": 0, "w": 1, "styles": 2, "noise": 4, "b": 5}[of]
    demodulated = [3] * (of in ("w", "styles"))
    for needs in asked:
        assert [i for i, need in enumerate(needs) if need] == sorted([asked_for, *demodulated])
    assert len(asked) == 2


def test_hooks_and_retained_gradients_of_what_a_pass_goes_through(compiled_provider):
    """A gradient that only a hook looks at is computed: the engine comes to it."""
    x, w, b = (t.requires_grad_() for t in (torch.randn(1, 2, 4, 4), torch.randn(2, 2, 1, 1), torch.randn(2)))
    h = bias_act(x, b, act="lrelu")
    h.retain_grad()
    conv2d_resample(h, w).sum().backward()
    assert h.grad is not None and b.grad is not None and w.grad is not None
    torch.testing.assert_close(h.grad, w.sum(dim=0)[None].expand_as(h).detach())


def test_asynchronous_tasks_penalise_and_train(native_provider):
    G, D = new_networks()
    x = torch.randn(2, 3, 16, 16)
    want, want_r1 = gradients(D, D(x).sum()), r1(D, x).detach()

    async def train():
        for _ in range(3):
            logits = D(x).sum()
            await asyncio.sleep(0)
            torch.testing.assert_close(gradients(D, logits), want, rtol=0, atol=0)

    async def penalise():
        for _ in range(3):
            value = r1(D, x)
            await asyncio.sleep(0)
            torch.testing.assert_close(value.detach(), want_r1, rtol=0, atol=0)

    async def both():
        await asyncio.gather(train(), penalise())

    asyncio.run(both())


@pytest.mark.gpu
def test_backward_threads_of_a_gpu(gpu):
    """CUDA's backward passes run on a thread of their own."""
    _, D = new_networks()
    x = torch.randn(2, 3, 16, 16)
    want = gradients(D, r1(D, x).sum())
    D.cuda()
    on_gpu = [grad.cpu() for grad in gradients(D, r1(D, x.cuda()).sum())]
    torch.testing.assert_close(on_gpu, want, rtol=1e-3, atol=1e-3)
