"""squared_norm and interpolate: known answers, forward, gradient, second gradient, opcheck, compile, errors."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fastgan.ops import interpolate, provider, squared_norm
from tests.ops.cases import DTYPE_IDS, DTYPES, FORMATS, arranged, assert_close_to, poison_allocator
from tests.ops.cases_gradient_penalty import SHAPES

provider_context = provider  # the fixture of the same name hides it inside tests


def random(shape, dtype=torch.float64, memory_format="contiguous", requires_grad=False):
    return arranged(torch.randn(shape, dtype=torch.float64).to(dtype), memory_format).requires_grad_(requires_grad)


def kept_format(result, x, memory_format):
    """Whether the result lies as x does, where it can be told."""
    if x.ndim != 4 or not x.numel() or memory_format == "strided":
        return True
    last = memory_format == "channels_last"
    return result.is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


# 1. known answers


def test_known_norms(provider):
    x = torch.tensor([[[3.0, 0.0], [0.0, -4.0]], [[1.0, 1.0], [-1.0, 2.0]]])
    assert squared_norm(x).tolist() == [25.0, 7.0]
    assert squared_norm(torch.zeros(3, 0)).tolist() == [0.0, 0.0, 0.0]
    assert squared_norm(torch.zeros(0, 3)).shape == (0,)


@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_IDS)
def test_halves_do_not_overflow(provider, dtype):
    norms = squared_norm(torch.full((2, 8, 8, 4), 300.0, dtype=dtype))
    assert norms.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(norms, norms.new_full([2], 256 * 300.0**2))


def test_known_gradients(provider):
    x = torch.tensor([[3.0, -4.0], [1.0, 2.0]], requires_grad=True)
    dy = torch.tensor([1.0, -0.5], requires_grad=True)
    (dx,) = torch.autograd.grad(squared_norm(x), x, dy, create_graph=True)
    assert dx.tolist() == [[6.0, -8.0], [-1.0, -2.0]]
    ddx = torch.tensor([[1.0, 0.0], [2.0, 1.0]])
    ddy, second = torch.autograd.grad(dx, [dy, x], ddx)
    assert ddy.tolist() == [6.0, 8.0] and second.tolist() == [[2.0, 0.0], [-2.0, -1.0]]


def test_known_points_between(provider):
    real, fake = torch.tensor([[0.0, 2.0], [4.0, 4.0], [1.0, 1.0]]), torch.tensor([[4.0, 0.0], [0.0, 8.0], [3.0, 0.0]])
    epsilon = torch.tensor([0.25, 0.5, 0.0])
    leaves = [t.requires_grad_() for t in (real, fake, epsilon)]
    y = interpolate(*leaves)
    assert y.tolist() == [[1.0, 1.5], [2.0, 6.0], [1.0, 1.0]]
    d_real, d_fake, d_epsilon = torch.autograd.grad(y, leaves, torch.tensor([[1.0, 2.0], [4.0, 0.0], [1.0, 1.0]]))
    assert d_real.tolist() == [[0.75, 1.5], [2.0, 0.0], [1.0, 1.0]]
    assert d_fake.tolist() == [[0.25, 0.5], [2.0, 0.0], [0.0, 0.0]]
    assert d_epsilon.tolist() == [0.0, -16.0, 1.0]


# 2. forward


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_IDS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_forward(provider, shape, dtype, memory_format):
    x, fake = (random(shape, dtype, memory_format) for _ in range(2))
    epsilon = torch.rand(shape[0])
    poison_allocator(x)
    norms, between = squared_norm(x), interpolate(x, fake, epsilon)
    with provider_context("reference"):
        exact = squared_norm(x.double()), interpolate(x.double(), fake.double(), epsilon.double())
        own = interpolate(x, fake, epsilon)
    assert_close_to(norms, exact[0])
    assert_close_to(between, exact[1], own)
    assert between.dtype == dtype and kept_format(between, x, memory_format)


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (5, 24), (3, 2, 5, 7)])
@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_IDS)
def test_memory_that_is_not_aligned(provider, shape, dtype):
    real, fake = (random(shape, dtype, "unaligned", requires_grad=True) for _ in range(2))
    epsilon = torch.rand(shape[0])
    results = []
    for a, b in ((real, fake), tuple(t.detach().clone().requires_grad_() for t in (real, fake))):
        norms, between = squared_norm(a), interpolate(a, b, epsilon)
        (da,) = torch.autograd.grad(norms.sum(), a, create_graph=True)
        results.append([norms, between, da, *torch.autograd.grad(da.square().sum(), a)])
    for mine, aligned in zip(*results, strict=True):
        torch.testing.assert_close(mine, aligned)


def test_formats_that_differ(provider):
    real, fake = random((2, 3, 4, 5), memory_format="channels_last"), random((2, 3, 4, 5))
    epsilon = torch.rand(2, dtype=torch.float64)
    expected = real + epsilon[:, None, None, None] * (fake - real)
    torch.testing.assert_close(interpolate(real, fake, epsilon), expected)
    torch.testing.assert_close(interpolate(fake, real, 1 - epsilon), expected)


# 3. gradient


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_IDS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_gradients(provider, shape, dtype, memory_format):
    """The first and the second of squared_norm, the first of interpolate."""
    x, fake = (random(shape, dtype, memory_format, requires_grad=True) for _ in range(2))
    ddx, between_dy = (random(shape, dtype, memory_format) for _ in range(2))
    wide = torch.promote_types(dtype, torch.float32)
    epsilon, dy = (random(shape[:1], wide, requires_grad=True) for _ in range(2))

    def derivatives(x, fake, epsilon, dy, ddx, between_dy):
        poison_allocator(x)
        (dx,) = torch.autograd.grad(squared_norm(x), x, dy, create_graph=True)
        second = torch.autograd.grad(dx, [dy, x], ddx)
        between = torch.autograd.grad(interpolate(x, fake, epsilon), [x, fake, epsilon], between_dy)
        return [dx.detach(), *second, *between]

    tensors = (x, fake, epsilon, dy, ddx, between_dy)
    mine = derivatives(*tensors)
    with provider_context("reference"):
        exact = derivatives(*(t.detach().double().requires_grad_() for t in tensors))
        own = derivatives(*tensors)
    for one, true, reference in zip(mine, exact, own, strict=True):
        assert one.dtype == reference.dtype
        assert_close_to(one, true, reference)
    assert kept_format(mine[0], x, memory_format) and kept_format(mine[2], x, memory_format)


@pytest.mark.parametrize("shape", [(2, 3, 3, 2), (3, 2), (2, 1, 3)])
def test_gradcheck(provider, shape):
    fast = provider == "interpreter"  # in one random direction
    x, fake, epsilon = random(shape), random(shape), random(shape[:1])
    assert torch.autograd.gradcheck(squared_norm, [x.requires_grad_()], fast_mode=fast)
    for wanted in ((True, True, True), (True, False, False), (False, True, False), (False, False, True)):
        leaves = [t.detach().requires_grad_(want) for t, want in zip((x, fake, epsilon), wanted, strict=True)]
        assert torch.autograd.gradcheck(interpolate, leaves, fast_mode=fast)


# 4. second gradient


@pytest.mark.parametrize("shape", [(2, 3, 3, 2), (3, 2), (2, 1, 3)])
def test_gradgradcheck(provider, shape):
    fast = provider == "interpreter"  # in one random direction
    x, fake, epsilon = random(shape), random(shape), random(shape[:1])
    assert torch.autograd.gradgradcheck(squared_norm, [x.requires_grad_()], fast_mode=fast)
    assert torch.autograd.gradgradcheck(interpolate, [t.requires_grad_() for t in (x, fake, epsilon)], fast_mode=fast)


def test_derivatives_of_any_order(provider):
    fast = provider == "interpreter"  # in one random direction
    x, dy, ddx = random((2, 2, 2)), random((2,)), random((2, 2, 2))

    def second(x, dy, ddx):
        (dx,) = torch.autograd.grad(squared_norm(x), x, dy, create_graph=True)
        return torch.autograd.grad(dx, [dy, x], ddx, create_graph=True)

    leaves = [t.requires_grad_() for t in (x, dy, ddx)]
    assert torch.autograd.gradcheck(second, leaves, fast_mode=fast)
    assert torch.autograd.gradgradcheck(second, leaves, fast_mode=fast)


def test_a_penalty_by_finite_differences(provider):
    fast = provider == "interpreter"  # in one random direction
    real, fake, epsilon = random((3, 4)), random((3, 4)), torch.rand(3)

    def penalties(w, v):
        x = interpolate(real, fake, epsilon).requires_grad_()
        (slope,) = torch.autograd.grad((torch.tanh(x @ w) @ v).sum(), x, create_graph=True)
        return squared_norm(slope), (squared_norm(slope).sqrt() - 1).square()

    leaves = [random((4, 3), requires_grad=True), random((3,), requires_grad=True)]
    assert torch.autograd.gradcheck(penalties, leaves, fast_mode=fast)


def called(provider, call):
    """The operators that a call comes to, without the provider's name."""

    class Names(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func._schema.name.startswith("fastgan::"):
                found.append(func._schema.name.removeprefix("fastgan::").removesuffix(f"_{provider}"))
            return func(*args, **(kwargs or {}))

    found: list[str] = []
    with Names():
        result = call()
    return found, result


def test_a_backward_pass_computes_what_is_asked_for(compiled_provider):
    x, dy, ddx = random((2, 3, 4, 5), requires_grad=True), random((2,), requires_grad=True), random((2, 3, 4, 5))
    norms = squared_norm(x)
    names, (dx,) = called(compiled_provider, lambda: torch.autograd.grad(norms, x, dy, create_graph=True))
    assert names == ["squared_norm_backward"]
    for wanted, expected in (([dy, x], "double_backward"), ([dy], "double_backward"), ([x], "backward")):
        names, _ = called(
            compiled_provider, lambda wanted=wanted: torch.autograd.grad(dx, wanted, ddx, retain_graph=True)
        )
        assert names == [f"squared_norm_{expected}"]


def test_what_is_not_needed_stays_undefined(compiled_provider):
    """A second derivative that nothing depends on is None, not zeros."""
    x, dy, ddx = (random(shape, requires_grad=True) for shape in ((2, 3), (2,), (2, 3)))
    (dx,) = torch.autograd.grad(squared_norm(x), x, dy, create_graph=True)
    of_dy, of_x = torch.autograd.grad(dx, [dy, x], ddx, create_graph=True)
    third = torch.autograd.grad(of_dy.sum(), [ddx, x, dy], allow_unused=True, retain_graph=True)
    assert [gradient is None for gradient in third] == [False, False, True]
    third = torch.autograd.grad(of_x.sum(), [ddx, x, dy], allow_unused=True)
    assert [gradient is None for gradient in third] == [False, True, False]


def test_sums_do_not_depend_on_threads(native_provider):
    x = random((3, 7, 65, 129), torch.float32, requires_grad=True)
    ddx, dy = torch.randn(x.shape), torch.ones(3, requires_grad=True)
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        norms = squared_norm(x)
        (dx,) = torch.autograd.grad(norms, x, dy, create_graph=True)
        results.append((norms, *torch.autograd.grad(dx, dy, ddx)))
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


# 5. opcheck


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_opcheck(compiled_provider, memory_format):
    x, other = (random((2, 3, 4, 5), torch.float32, memory_format, requires_grad=True) for _ in range(2))
    factor = torch.rand(2, requires_grad=True)
    for name, arguments in {
        "squared_norm": (x,),
        "squared_norm_backward": (factor, x),
        "squared_norm_double_backward": (other, x, factor),
        "interpolate": (x, other, factor),
    }.items():
        torch.library.opcheck(getattr(torch.ops.fastgan, f"{name}_{compiled_provider}"), arguments)
    without_dx = getattr(torch.ops.fastgan, f"squared_norm_double_backward_{compiled_provider}")
    torch.library.opcheck(without_dx, (other, x, None))


# 6. compile


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.needs_compiler)])
def test_compile(provider, backend):
    x, fake = (random((2, 5, 4, 4), torch.float32, requires_grad=True) for _ in range(2))
    epsilon = torch.rand(2)

    def penalty(x, fake):
        return squared_norm(interpolate(x, fake, epsilon)) + squared_norm(x)

    eager = torch.autograd.grad(penalty(x, fake).square().sum(), [x, fake])
    compiled = torch.compile(penalty, backend=backend, fullgraph=True)
    torch.testing.assert_close(torch.autograd.grad(compiled(x, fake).square().sum(), [x, fake]), eager)


def test_export(provider):
    class Penalty(torch.nn.Module):
        def forward(self, x):
            return squared_norm(interpolate(x, x * x, x.flatten(1)[:, 0]))

    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(torch.export.export(Penalty(), (x,)).module()(x), Penalty()(x))


# 7. errors


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ([1.0], TypeError, "x must be a floating-point tensor, got list"),
        (torch.zeros(2, 3, dtype=torch.int64), TypeError, "x must be a floating-point tensor, got torch.int64"),
        (torch.zeros(2), ValueError, r"x must have two axes or more \[N, ...\], got shape \[2\]"),
    ],
)
def test_errors_of_norms(provider, x, error, message):
    with pytest.raises(error, match=message):
        squared_norm(x)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"real": torch.zeros(2)}, ValueError, r"real must have two axes or more \[N, ...\], got shape \[2\]"),
        ({"fake": torch.zeros(2, 4)}, ValueError, r"fake must have real's shape \[2, 3\], got \[2, 4\]"),
        (
            {"fake": torch.zeros(2, 3).double()},
            TypeError,
            "fake must have real's dtype torch.float32, got torch.float64",
        ),
        ({"fake": torch.zeros(2, 3, device="meta")}, ValueError, "fake must be on real's device cpu, got meta"),
        ({"epsilon": 0.5}, TypeError, "epsilon must be a floating-point tensor, got float"),
        (
            {"epsilon": torch.zeros(2, 1)},
            ValueError,
            r"epsilon must have shape \[N\]=\[2\] to match real, got \[2, 1\]",
        ),
        ({"epsilon": torch.zeros(2, device="meta")}, ValueError, "epsilon must be on real's device cpu, got meta"),
    ],
)
def test_errors_of_points_between(provider, arguments, error, message):
    with pytest.raises(error, match=message):
        interpolate(**({"real": torch.zeros(2, 3), "fake": torch.zeros(2, 3), "epsilon": torch.zeros(2)} | arguments))
