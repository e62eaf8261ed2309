"""bias_act: known answers, forward, gradient, second gradient, opcheck, compile, errors."""

from __future__ import annotations

import ctypes
import itertools
import math

import pytest
import torch

from fastgan.ops import bias_act, provider
from fastgan.ops.bias_act import op
from fastgan.ops.bias_act.activations import ACTIVATIONS, Activation
from fastgan.ops.operator import OPERATORS
from tests.ops.cases import DTYPE_IDS, DTYPES, FORMATS, arranged, assert_close_to, poison_allocator
from tests.ops.cases_bias_act import SHAPES

provider_context = provider  # the fixture of the same name hides it inside tests
PIECEWISE = [name for name, activation in ACTIVATIONS.items() if activation.piecewise_linear]
SMOOTH = [name for name in ACTIVATIONS if name not in PIECEWISE]


def inputs(shape, dtype, memory_format="contiguous", requires_grad=False):
    x = torch.randn(shape, dtype=torch.float64).to(dtype)
    b = torch.randn(shape[1], dtype=torch.float64).to(dtype)
    return arranged(x, memory_format).requires_grad_(requires_grad), b.requires_grad_(requires_grad)


# 1. known answers


def test_known_values(provider):
    x, b = torch.tensor([[-3.0, 1.0], [2.0, -1.0]]), torch.tensor([1.0, 0.5])  # x + b = [[-2, 1.5], [3, -0.5]]
    cases = {
        "linear": [[-2, 1.5], [3, -0.5]],
        "relu": [[0, 1.5], [3, 0]],
        "lrelu": [[-0.4, 1.5], [3, -0.1]],
        "tanh": [[-0.9640276, 0.9051483], [0.9950548, -0.4621172]],
        "sigmoid": [[0.1192029, 0.8175745], [0.9525741, 0.3775407]],
        "elu": [[-0.8646647, 1.5], [3, -0.3934693]],
        "selu": [[-1.5201665, 1.5760515], [3.152103, -0.6917582]],
        "softplus": [[0.126928, 1.7014133], [3.0485874, 0.474077]],
        "swish": [[-0.2384058, 1.2263617], [2.8577224, -0.1887703]],
    }
    assert set(cases) == set(ACTIVATIONS)
    for act, expected in cases.items():
        y = bias_act(x, b, act=act, gain=1.0)
        torch.testing.assert_close(y, torch.tensor(expected, dtype=torch.float32), rtol=1e-5, atol=1e-6)


def test_default_gains_alpha_and_clamp(provider):
    x = torch.tensor([[-1.0, 4.0]])
    for act in ACTIVATIONS:
        gain = math.sqrt(2) if act in ("relu", "lrelu", "swish") else 1.0
        torch.testing.assert_close(bias_act(x, act=act), bias_act(x, act=act, gain=1.0) * gain)
    torch.testing.assert_close(bias_act(x, act="lrelu", alpha=0.5, gain=2), torch.tensor([[-1.0, 8.0]]))
    torch.testing.assert_close(bias_act(x, act="lrelu", gain=2, clamp=3), torch.tensor([[-0.4, 3.0]]))
    torch.testing.assert_close(bias_act(x, gain=2, clamp=0), torch.tensor([[0.0, 0.0]]))


def test_known_gradients(provider):
    x = torch.tensor([[-2.0, 0.5, 9.0]], requires_grad=True)
    b = torch.zeros(3, requires_grad=True)
    dx, db = torch.autograd.grad(bias_act(x, b, act="lrelu", gain=2, clamp=4).sum(), [x, b])
    torch.testing.assert_close(dx, torch.tensor([[0.4, 2.0, 0.0]]))  # negative side, positive side, clamped
    torch.testing.assert_close(db, torch.tensor([0.4, 2.0, 0.0]))


def test_tails_are_exact_and_finite(provider):
    x = torch.tensor([[-1000.0, -50.0, 50.0, 1000.0]], dtype=torch.float64, requires_grad=True)
    limits = {
        "tanh": [-1, -1, 1, 1],
        "sigmoid": [0, math.exp(-50) / (1 + math.exp(-50)), 1, 1],
        "elu": [-1, -1, 50, 1000],
        "softplus": [0, math.exp(-50), 50, 1000],
        "swish": [0, -50 * math.exp(-50), 50, 1000],
    }
    for act, expected in limits.items():
        y = bias_act(x, act=act, gain=1.0)
        torch.testing.assert_close(y, torch.tensor([expected], dtype=torch.float64), rtol=1e-10, atol=1e-40)
        (dx,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        (ddx,) = torch.autograd.grad(dx.sum(), x)
        assert dx.isfinite().all() and ddx.isfinite().all()


# 2. forward


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_IDS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_forward(provider, shape, dtype, memory_format):
    x, b = inputs(shape, dtype, memory_format)
    for act, clamp in itertools.product(ACTIVATIONS, (None, 0.7)):
        poison_allocator(x)
        y = bias_act(x, b, act=act, clamp=clamp)
        with torch.no_grad(), provider_context("reference"):
            exact = bias_act(x.double(), b.double(), act=act, clamp=clamp)
            own = bias_act(x, b, act=act, clamp=clamp)
        assert y.dtype == dtype
        if x.ndim == 4 and x.numel() and memory_format == "channels_last":
            assert y.is_contiguous(memory_format=torch.channels_last)
        assert_close_to(y, exact, own)


@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_IDS)
@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (5, 24), (3, 2, 5, 7)])
def test_memory_that_is_not_aligned(compiled_provider, shape, dtype):
    x, b = inputs(shape, dtype, "unaligned", requires_grad=True)
    copies = [x.detach().clone().requires_grad_(), b.detach().clone().requires_grad_()]
    for act in ("lrelu", "swish"):
        results = []
        for leaves in ([x, b], copies):
            y = bias_act(leaves[0], leaves[1], act=act, clamp=0.7)
            results.append([y, *torch.autograd.grad(y.sum(), leaves)])
        for mine, aligned in zip(*results, strict=True):
            assert torch.equal(mine, aligned)


@pytest.mark.parametrize("dim", [0, 1, 2, 3, -1])
def test_forward_other_axes(provider, dim):
    x = torch.randn(3, 4, 5, 6, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    b = torch.randn(x.shape[dim], dtype=torch.float64)
    y = bias_act(x, b, dim=dim, act="tanh")
    torch.testing.assert_close(y, torch.tanh(x + b.reshape([-1 if a == dim % 4 else 1 for a in range(4)])))


# 3. gradient


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_IDS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_gradient(provider, shape, dtype, memory_format):
    x, b = inputs(shape, dtype, memory_format, requires_grad=True)
    dy = torch.randn(shape, dtype=torch.float64).to(dtype)
    for act, clamp in itertools.product(ACTIVATIONS, (None, 0.7)):
        poison_allocator(x)
        grads = torch.autograd.grad(bias_act(x, b, act=act, clamp=clamp), [x, b], dy)
        with provider_context("reference"):
            exact_in = [x.detach().double().requires_grad_(), b.detach().double().requires_grad_()]
            exact = torch.autograd.grad(bias_act(exact_in[0], exact_in[1], act=act, clamp=clamp), exact_in, dy.double())
            own = torch.autograd.grad(bias_act(x, b, act=act, clamp=clamp), [x, b], dy)
        if clamp is not None and dtype in (torch.float16, torch.bfloat16):
            continue  # whether a value that rounds to the bound is clamped depends on the rounding: see the fp32 case
        for mine, true, reference in zip(grads, exact, own, strict=True):
            assert_close_to(mine, true, reference)


@pytest.mark.slow_interpreted("tanh", "swish", "lrelu")
@pytest.mark.parametrize("act", ACTIVATIONS)
def test_gradcheck(provider, act):
    fast = provider == "interpreter"  # in one random direction
    for shape, clamp in itertools.product([(2, 3, 3, 2), (3, 2)], (None, 0.9)):
        x, b = inputs(shape, torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x, b: bias_act(x, b, act=act, clamp=clamp), [x, b], fast_mode=fast)  # noqa: B023
        assert torch.autograd.gradcheck(lambda x: bias_act(x, b.detach(), act=act, clamp=clamp), [x], fast_mode=fast)  # noqa: B023
        assert torch.autograd.gradcheck(lambda b: bias_act(x.detach(), b, act=act, clamp=clamp), [b], fast_mode=fast)  # noqa: B023
        assert torch.autograd.gradcheck(lambda x: bias_act(x, act=act, clamp=clamp), [x], fast_mode=fast)  # noqa: B023


def test_bias_gradient_does_not_depend_on_threads(native_provider):
    x, b = inputs((4, 7, 33, 65), torch.float32, requires_grad=True)
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(torch.autograd.grad(bias_act(x, b, act="lrelu").sum(), b)[0])
    assert torch.equal(*results)


# 4. second gradient


@pytest.mark.slow_interpreted("tanh", "swish", "lrelu")
@pytest.mark.parametrize("act", ACTIVATIONS)
def test_gradgradcheck(provider, act):
    fast = provider == "interpreter"  # in one random direction
    cases = [((2, 3, 2, 2), None), ((3, 2), 0.9)]
    for shape, clamp in cases if fast else itertools.product([(2, 3, 2, 2), (3, 2)], (None, 0.9)):
        x, b = inputs(shape, torch.float64, requires_grad=True)
        assert torch.autograd.gradgradcheck(lambda x, b: bias_act(x, b, act=act, clamp=clamp), [x, b], fast_mode=fast)  # noqa: B023
        assert torch.autograd.gradgradcheck(lambda x: bias_act(x, act=act, clamp=clamp), [x], fast_mode=fast)  # noqa: B023
        if act in SMOOTH:
            x = x.detach()
            assert torch.autograd.gradgradcheck(lambda b: bias_act(x, b, act=act, clamp=clamp), [b], fast_mode=fast)  # noqa: B023


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("act", SMOOTH)
def test_second_gradient_of_layouts(provider, act, memory_format):
    x, b = inputs((2, 5, 3, 9), torch.float64, memory_format, requires_grad=True)

    def penalty():
        (dx,) = torch.autograd.grad(bias_act(x, b, act=act).square().sum(), x, create_graph=True)
        return torch.autograd.grad(dx.square().sum(), [x, b])

    with provider_context("reference"):
        exact = penalty()
    for mine, true in zip(penalty(), exact, strict=True):
        assert_close_to(mine, true)


@pytest.mark.parametrize("act", PIECEWISE)
def test_second_derivative_of_piecewise_is_undefined(compiled_provider, act):
    x, b = inputs((2, 3, 4, 4), torch.float32, requires_grad=True)
    dy = torch.randn(2, 3, 4, 4, requires_grad=True)
    (dx,) = torch.autograd.grad(bias_act(x, b, act=act), x, dy, create_graph=True)
    gradients = torch.autograd.grad(dx.sum(), [dy, x, b], allow_unused=True)
    assert gradients[0] is not None and gradients[1] is None and gradients[2] is None


def test_third_derivative_is_refused(compiled_provider):
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(bias_act(x, act="tanh").sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="last derivative"):
        torch.autograd.grad(second.sum(), x)


def test_bias_gradient_is_left_out_inside_penalties(compiled_provider, monkeypatch):
    x, b = inputs((2, 3, 4, 4), torch.float32, requires_grad=True)
    wanted = []
    original = op.needed
    monkeypatch.setattr(op, "needed", lambda ctx: wanted.append(original(ctx)) or wanted[-1])
    (dx,) = torch.autograd.grad(bias_act(x, b, act="tanh").sum(), x, create_graph=True)
    assert [needs[:2] for needs in wanted] == [(True, False)]
    db = torch.autograd.grad(dx.square().sum(), b)[0]
    with provider_context("reference"):
        (dx,) = torch.autograd.grad(bias_act(x, b, act="tanh").sum(), x, create_graph=True)
        torch.testing.assert_close(db, torch.autograd.grad(dx.square().sum(), b)[0])


def test_kept_for_backward(compiled_provider):
    kept = []
    x, b = inputs((2, 8, 16, 16), torch.float32, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.nbytes) or t, lambda t: t):
        bias_act(x, b, act="lrelu")
    assert sum(kept) <= x.numel() / 4  # bits, not tensors


# 5. opcheck


@pytest.mark.parametrize("act", ["lrelu", "swish"])
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_opcheck(compiled_provider, act, memory_format):
    x, b = inputs((2, 3, 4, 5), torch.float32, memory_format, requires_grad=True)
    settings = (1, OPERATORS["bias_act"].registered[compiled_provider].numbering.index(act), 0.2, 1.5, 0.8)
    forward = getattr(torch.ops.fastgan, f"bias_act_{compiled_provider}")
    torch.library.opcheck(forward, (x, b, *settings, act == "lrelu"))
    mask = forward(x, b, *settings, True)[1] if act == "lrelu" else None
    saved = (None, None, mask) if act == "lrelu" else (x, b, None)
    dy = torch.randn_like(x).requires_grad_()
    torch.library.opcheck(
        getattr(torch.ops.fastgan, f"bias_act_backward_{compiled_provider}"), (dy, *saved, *settings, True)
    )


# 6. compile


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.needs_compiler)])
def test_compile(provider, backend):
    x, b = inputs((2, 5, 4, 4), torch.float32, requires_grad=True)

    def layer(x, b):
        return bias_act(x, b, act="lrelu", clamp=2.0) + bias_act(x, b, act="swish")

    eager = torch.autograd.grad(layer(x, b).square().sum(), [x, b])
    compiled = torch.autograd.grad(torch.compile(layer, backend=backend, fullgraph=True)(x, b).square().sum(), [x, b])
    torch.testing.assert_close(compiled, eager)


def test_export(provider):
    class Layer(torch.nn.Module):
        def forward(self, x):
            return bias_act(x, act="lrelu")

    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(torch.export.export(Layer(), (x,)).module()(x), Layer()(x))


# 7. errors


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"b": torch.zeros(4)}, ValueError, r"b must have shape \[C\]=\[3\] to match x, got \[4\]"),
        ({"b": torch.zeros(3, 1)}, ValueError, r"b must have shape \[C\]=\[3\]"),
        ({"b": torch.zeros(3, dtype=torch.int32)}, TypeError, "b must be a floating-point .* got torch.int32"),
        ({"b": torch.zeros(3), "dim": 4}, ValueError, "dim must be an axis of x, which has 4; got 4"),
        ({"act": "lrelou"}, ValueError, "act must be one of linear, relu, .*; got 'lrelou'"),
        ({"clamp": -1.0}, ValueError, "clamp must be None or at least 0, got -1.0"),
        ({"clamp": float("nan")}, ValueError, "clamp must be finite and within float32, got nan"),
        ({"x": torch.zeros(2, 3, dtype=torch.int64)}, TypeError, "x must be a floating-point tensor, got torch.int64"),
        ({"x": [1.0]}, TypeError, "x must be a floating-point tensor, got list"),
        ({"b": torch.zeros(3, device="meta")}, ValueError, "b must be on x's device cpu, got meta"),
    ],
)
def test_errors(provider, arguments, error, message):
    with pytest.raises(error, match=message):
        bias_act(**({"x": torch.zeros(2, 3, 4, 4)} | arguments))


# adding an activation


def test_an_activation_of_ones_own(monkeypatch):
    monkeypatch.setitem(ACTIVATIONS, "mish", Activation("mish", lambda v, alpha: torch.nn.functional.mish(v)))
    x, b = inputs((2, 3, 2, 2), torch.float64, requires_grad=True)
    torch.testing.assert_close(bias_act(x, act="mish"), torch.nn.functional.mish(x))
    assert torch.autograd.gradgradcheck(lambda x, b: bias_act(x, b, act="mish"), [x, b])
    with provider_context("native"), pytest.raises(ValueError, match="provider 'native' cannot serve bias_act"):
        bias_act(x, act="mish")


def test_native_knows_every_activation(native_provider):
    assert set(OPERATORS["bias_act"].registered["native"].numbering) == set(ACTIVATIONS)


def test_no_memory_is_lost(native_provider):
    class Heap(ctypes.Structure):  # struct mallinfo2 of glibc
        names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
        _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

    mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo is None:
        pytest.skip("needs glibc 2.33 to count memory in use")
    mallinfo.restype = Heap
    x, b = inputs((2, 3, 4, 4), torch.float32, requires_grad=True)

    def step():
        (dx,) = torch.autograd.grad(bias_act(x, b, act="tanh").sum(), x, create_graph=True)
        torch.autograd.grad(dx.sum(), [x, b])

    for _ in range(300):
        step()
    before = mallinfo().uordblks
    for _ in range(1000):
        step()
    assert mallinfo().uordblks - before < 20_000
