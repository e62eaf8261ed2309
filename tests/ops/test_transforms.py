"""torch.func over compiled operators: grad, grad of grad, vmap; forward mode is refused rather than wrong."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

from fastgan.ops import provider
from tests.ops.operators import CALLS, examples, in_memory


def loop(function, batch):
    return torch.stack([function(one) for one in batch])


@pytest.fixture(params=list(CALLS))
def operator(request):
    return CALLS[request.param]


@pytest.fixture
def energy(operator):
    """A scalar function of x, b and w through one operator."""
    return lambda x, b, w: operator(x, b, w).pow(2).sum()


@pytest.fixture(params=["contiguous", "channels_last", "strided"])
def memory_format(request):
    return request.param


@pytest.fixture(params=["reference", "native"])
def served(request):
    """Batching is the same for every compiled provider: one stands for all."""
    if request.param == "native":
        request.getfixturevalue("native_provider")
    with provider(request.param):
        yield


@pytest.mark.slow_interpreted(only=["affine_warp-contiguous", "affine_warp-channels_last"])
def test_gradients(compiled_provider, energy, memory_format):
    arguments = examples(memory_format)
    ours = grad(energy, argnums=(0, 1))(*arguments)
    with provider("reference"):
        torch.testing.assert_close(ours, grad(energy, argnums=(0, 1))(*arguments))


@pytest.mark.slow_interpreted(only=["affine_warp"])
def test_second_gradient(compiled_provider, energy):
    x, b, w = examples()
    direction = torch.randn_like(x)

    def slope(x):
        return (grad(energy)(x, b, w) * direction).sum()

    ours = grad(slope)(x)
    with provider("reference"):
        torch.testing.assert_close(ours, grad(slope)(x))


def test_vmap_over_images_gives_what_a_loop_gives(served, operator, memory_format):
    _, b, w = examples()
    batch = in_memory(torch.randn(3, 2, 3, 6, 4), memory_format)
    expected = loop(lambda x: operator(x, b, w), batch)
    results = vmap(operator, (0, None, None))(batch, b, w)
    torch.testing.assert_close(results, expected)
    torch.testing.assert_close(vmap(operator, (1, None, None), 2)(batch.movedim(0, 1), b, w), expected.movedim(0, 2))
    assert results[1].stride() == operator(batch[1], b, w).stride()


def test_vmap_over_biases_and_weights_gives_what_a_loop_gives(served, operator, memory_format):
    x, *_ = examples(memory_format)
    b, w = torch.randn(2, 3).double(), torch.randn(2, 4, 3, 3, 3).double()
    expected = torch.stack([operator(x, *each) for each in zip(b, w, strict=True)])
    torch.testing.assert_close(vmap(operator, (None, 0, 0))(x, b, w), expected)


def test_per_sample_gradients(served, energy, memory_format):
    _, b, w = examples()
    batch = in_memory(torch.randn(3, 2, 3, 6, 4), memory_format)
    for wanted in (0, 1):
        ours = vmap(grad(energy, argnums=wanted), (0, None, None))(batch, b, w)
        torch.testing.assert_close(ours, loop(lambda x, k=wanted: grad(energy, argnums=k)(x, b, w), batch))


def test_gradient_of_a_vmap(served, energy, memory_format):
    _, b, w = examples()
    batch = in_memory(torch.randn(3, 2, 3, 6, 4), memory_format)
    ours = grad(lambda batch: vmap(energy, (0, None, None))(batch, b, w).sum())(batch)
    torch.testing.assert_close(ours, loop(lambda x: grad(energy)(x, b, w), batch))


def test_vmap_of_a_vmap(native_provider, operator, memory_format):
    _, b, w = examples()
    batch = in_memory(torch.randn(2, 3, 2, 3, 6, 4), memory_format)
    expected = loop(lambda inner: loop(lambda x: operator(x, b, w), inner), batch)
    torch.testing.assert_close(vmap(vmap(lambda x: operator(x, b, w)))(batch), expected)


def test_a_jacobian_agrees_with_vjp(native_provider, operator, memory_format):
    x, b, w = examples(memory_format)
    y, pull, *_ = vjp(lambda x: operator(x, b, w), x)
    dy = in_memory(torch.randn(y.shape), memory_format)
    jacobian = jacrev(lambda x: operator(x, b, w))(x)
    torch.testing.assert_close(torch.tensordot(dy, jacobian, 4), pull(dy)[0])


def test_batched_gradients_give_what_a_loop_gives(served, operator, memory_format):
    inputs = [tensor.requires_grad_() for tensor in examples(memory_format)]
    y = operator(*inputs)
    batch = in_memory(torch.randn(3, *y.shape), memory_format)
    used = torch.autograd.grad(y.sum(), inputs, retain_graph=True, allow_unused=True)
    inputs = [tensor for tensor, gradient in zip(inputs, used, strict=True) if gradient is not None]
    singly = [torch.autograd.grad(y, inputs, dy, retain_graph=True) for dy in batch]
    batched = torch.autograd.grad(y, inputs, batch, is_grads_batched=True)
    torch.testing.assert_close(batched, tuple(map(torch.stack, zip(*singly, strict=True))))


def test_batched_gradients_can_be_differentiated(served, operator, memory_format):
    x, b, w = examples(memory_format)

    def penalty(batched):
        x_ = x.detach().requires_grad_()
        y = operator(x_, b, w).pow(2)
        batch = in_memory(torch.ones(2, *y.shape), memory_format) * torch.tensor([1.0, 2.0])[:, None, None, None, None]
        if batched:
            g = torch.autograd.grad(y, x_, batch, is_grads_batched=True, create_graph=True)[0]
        else:
            g = torch.stack([torch.autograd.grad(y, x_, dy, create_graph=True)[0] for dy in batch])
        return torch.autograd.grad(g.pow(2).sum(), x_)[0]

    torch.testing.assert_close(penalty(batched=True), penalty(batched=False))


def test_vmap_over_no_samples_says_so(native_provider, operator):
    _, b, w = examples()
    with pytest.raises(ValueError, match="vmap over an axis of 0 samples"):
        vmap(operator, (0, None, None))(torch.zeros(0, 2, 3, 6, 4).double(), b, w)


REFUSAL = r"fastgan::\w+ has no derivative in forward mode .* reverse mode .*provider\(\"reference\"\)"


@pytest.mark.slow_interpreted(only=["affine_warp-contiguous", "affine_warp-channels_last"])
def test_forward_mode_is_refused(compiled_provider, energy, memory_format):
    x, b, w = examples(memory_format)
    for argument, tangents in ((0, (x, b, w)), (1, (x * 0, b, w))):
        with pytest.raises(NotImplementedError, match=REFUSAL):
            jvp(energy, (x, b, w), tangents)
        with pytest.raises(NotImplementedError, match=REFUSAL):
            jacfwd(energy, argument)(x, b, w)
    with pytest.raises(NotImplementedError, match=REFUSAL):
        hessian(energy)(x, b, w)


def test_forward_mode_without_gradients_is_refused(compiled_provider, energy):
    x, b, w = examples()
    with forward_ad.dual_level(), torch.no_grad(), pytest.raises(NotImplementedError, match=REFUSAL):
        energy(forward_ad.make_dual(x, x), b, w)


def test_forward_mode_by_the_reference_agrees_with_differences(energy, memory_format):
    x, b, w = examples(memory_format)
    direction = torch.randn_like(x)
    with provider("reference"):
        _, slope, *_ = jvp(lambda x: energy(x, b, w), (x,), (direction,))
        step = 1e-6 * direction
        differences = (energy(x + step, b, w) - energy(x - step, b, w)) / 2e-6
    torch.testing.assert_close(slope, differences, rtol=1e-6, atol=1e-6)
