"""conv2d_resample and modulated_conv2d: gradient, second gradient, opcheck, compile."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fastgan.ops import conv2d_resample, exact_convolutions, provider
from fastgan.ops.conv2d_layer.formulas import LayerCall, PerInput
from fastgan.ops.conv2d_layer.passes import Epilogue
from tests.ops import cases_conv2d_layer
from tests.ops.cases import DTYPE_IDS, DTYPES, assert_close_to, poison_allocator
from tests.ops.layers import DOUBLE, TAPS, by_definition, inputs, layer

provider_context = provider  # the fixture of the same name hides it inside tests
CASES = pytest.mark.parametrize("case", cases_conv2d_layer.CASES.values(), ids=cases_conv2d_layer.CASES)
FORMATS = pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])


@pytest.fixture(autouse=True)
def exact():
    """Products as their formulas say; what Winograd's algorithm adds is tested by itself."""
    with exact_convolutions():
        yield


# 1. gradient


def gradients(tensors, arguments, dy):
    y = layer(tensors, arguments)
    return torch.autograd.grad(y, list(tensors.values()), dy.to(y.dtype))


def away_from_kinks(tensors, arguments):
    """Where no rounding to halves moves a value over a kink: the slope of its other side would be right as well."""
    sums = {name: tensor for name, tensor in tensors.items() if name != "residual"}
    before = by_definition(sums, arguments | {"act": "linear", "gain": 1.0, "clamp": None})
    after = by_definition(sums, arguments | {"clamp": None})
    bound = arguments.get("clamp") or torch.inf
    return ((before.abs() > 0.05) & ((after.abs() - bound).abs() > 0.05)).detach()


@pytest.mark.slow_interpreted("plain", "generator-up", "skip")
@CASES
@FORMATS
@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_IDS)
def test_gradient(provider, case, dtype, memory_format):
    tensors, arguments = inputs(case, dtype, memory_format, requires_grad=True)
    dy = torch.randn(by_definition(tensors, arguments).shape, dtype=DOUBLE)
    if dtype in (torch.float16, torch.bfloat16):
        dy = dy * away_from_kinks(tensors, arguments)
    poison_allocator(dy)
    mine = gradients(tensors, arguments, dy)
    with provider_context("reference"):
        own = gradients(tensors, arguments, dy)
    doubles = {name: tensor.detach().double().requires_grad_() for name, tensor in tensors.items()}
    y, dy = by_definition(doubles, arguments), dy.to(dtype).double()
    exact = torch.autograd.grad(y, list(doubles.values()), dy, allow_unused=True, materialize_grads=True)
    for name, grad, exact_grad, own_grad in zip(tensors, mine, exact, own, strict=True):
        try:
            assert_close_to(grad, exact_grad, own_grad)
        except AssertionError as error:
            raise AssertionError(f"gradient of {name}") from error


@pytest.mark.slow_interpreted("plain", "skip", "styles-to-rgb")
@CASES
def test_gradcheck(provider, case):
    tensors, arguments = inputs(case, DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda *values: layer(dict(zip(tensors, values, strict=True)), arguments),
        list(tensors.values()),
        fast_mode=True,
    )


@pytest.mark.parametrize("name", ["generator", "discriminator"])
def test_saved_tensors_that_come_back_in_another_format(compiled_provider, name):
    tensors, arguments = inputs(cases_conv2d_layer.CASES[name], torch.float32, "channels_last", requires_grad=True)
    dy = torch.randn(by_definition(tensors, arguments).shape, dtype=DOUBLE)
    expected = gradients(tensors, arguments, dy)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.contiguous().clone(), lambda t: t):
        torch.testing.assert_close(gradients(tensors, arguments, dy), expected)


def test_parameters_left_out(compiled_provider):
    tensors, arguments = inputs(cases_conv2d_layer.CASES["generator-up"], DOUBLE, requires_grad=True)
    full = gradients(tensors, arguments, torch.ones(2, 4, 10, 8))
    for name in tensors:
        alone = {key: t.detach().requires_grad_(key == name) for key, t in tensors.items()}
        y = layer(alone, arguments)
        (grad,) = torch.autograd.grad(y, alone[name], torch.ones_like(y))
        torch.testing.assert_close(grad, full[list(tensors).index(name)])


# 2. second gradient


@pytest.mark.slow_interpreted("generator-1x1", "crop")
@CASES
def test_gradgradcheck(provider, case):
    tensors, arguments = inputs(case, DOUBLE, requires_grad=True)
    assert torch.autograd.gradgradcheck(
        lambda *values: layer(dict(zip(tensors, values, strict=True)), arguments),
        list(tensors.values()),
        fast_mode=True,
    )


@pytest.mark.slow_interpreted("styles-to-rgb")
@pytest.mark.parametrize("name", ["generator-up", "discriminator-down", "to-rgb"])
@pytest.mark.parametrize("second", ["x", "w", "styles", "b"])
def test_second_gradient_of_each_input(compiled_provider, name, second):
    """Of the first gradient for one input alone, for all inputs: every term of the double backward by itself."""
    tensors, arguments = inputs(cases_conv2d_layer.CASES[name], DOUBLE, requires_grad=True)
    if second not in tensors:
        return

    def first(*values):
        given = dict(zip(tensors, values, strict=True))
        y = layer(given, arguments)
        weights = torch.linspace(0.5, 2, y.numel(), dtype=DOUBLE).view(y.shape)
        return torch.autograd.grad((y * weights + y.square()).sum(), given[second], create_graph=True)[0]

    assert torch.autograd.gradcheck(first, list(tensors.values()), fast_mode=True)


def test_third_derivative_is_refused(compiled_provider):
    x, w = torch.randn(1, 2, 4, 4, requires_grad=True), torch.randn(2, 2, 3, 3, requires_grad=True)
    (dx,) = torch.autograd.grad(conv2d_resample(x, w, padding=1).pow(3).sum(), x, create_graph=True)
    (dw,) = torch.autograd.grad(dx.pow(2).sum(), w, create_graph=True)
    with pytest.raises(RuntimeError, match="is the last derivative that this operator has"):
        torch.autograd.grad(dw.square().sum(), w)


def test_second_derivative_is_none_of_its_inputs(compiled_provider):
    x, w = torch.randn(2, 3, 4, 4), torch.randn(1, 3, 3, 3)
    ddnoise = torch.randn(2, 1, 4, 4)
    operator = getattr(torch.ops.fastgan, f"conv2d_layer_double_backward_{compiled_provider}")
    call = (x, w, None, None, torch.randn(2, 1, 4, 4), *[None] * 5, 1, 1, [1] * 4, 0, 0.0, 1.0, -1.0, False)
    ddy = operator(None, None, None, None, ddnoise, None, torch.randn(2, 1, 4, 4), *call, [True, *[False] * 7])[0]
    assert torch.equal(ddy, ddnoise) and ddy.data_ptr() != ddnoise.data_ptr()


@pytest.mark.parametrize("name", [name for name, case in cases_conv2d_layer.CASES.items() if "styles" in case[3]])
def test_derivatives_where_the_convolution_is_kept(kernels, name, monkeypatch):
    """What halves with noise or bias keep; here in float64, which finite differences need."""
    monkeypatch.setattr(LayerCall, "needs_sum", property(lambda call: call.scale is not None))
    tensors, arguments = inputs(cases_conv2d_layer.CASES[name], DOUBLE, requires_grad=True)

    def call(*values):
        return layer(dict(zip(tensors, values, strict=True)), arguments)

    with kernels():
        assert torch.autograd.gradcheck(call, list(tensors.values()), fast_mode=True)
        assert torch.autograd.gradgradcheck(call, list(tensors.values()), fast_mode=True)


@pytest.mark.parametrize("dtype", DTYPES[2:], ids=DTYPE_IDS[2:])
@pytest.mark.parametrize("size", [30.0, 1000.0])
@pytest.mark.parametrize("act", ["linear", "lrelu"])
def test_gradient_of_styles_under_a_large_bias_in_half_precision(kernels, dtype, size, act):
    case = ((2, 16, 6, 5), 16, 3, {"styles": True, "noise": "const", "b": True, "act": act, "gain": 1.0})
    tensors, arguments = inputs(case, dtype)
    tensors["b"] = (size * (1 + torch.rand(16))).to(dtype)  # all on one side of the kink
    dy = torch.randn(2, 16, 6, 5).to(dtype)

    def differentiated(dtype):
        given = {name: tensor.detach().to(dtype).requires_grad_() for name, tensor in tensors.items()}
        y = layer(given, arguments)
        wanted = [given[name] for name in ("x", "w", "styles")]
        first = torch.autograd.grad(y, wanted, dy.to(dtype), create_graph=True)
        second = torch.autograd.grad([g.float().square().sum() for g in first], wanted)
        return [g.detach().double() for g in (first[2], *second)]

    with kernels():
        mine = differentiated(dtype)
    with provider_context("reference"):
        own, exact = differentiated(dtype), differentiated(DOUBLE)
    for name, *results in zip(("dstyles", "ddx", "ddw", "ddstyles"), mine, own, exact, strict=True):
        error, usual = ((result - results[2]).norm() / results[2].norm() for result in results[:2])
        assert error <= 2 * usual, f"{name}: {error:.4f}, the reference {usual:.4f}"


# 3. opcheck


@pytest.mark.slow_interpreted("generator-contiguous")
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize("name", ["generator", "generator-up", "discriminator-down"])
def test_opcheck(compiled_provider, name, memory_format):
    tensors, arguments = inputs(cases_conv2d_layer.CASES[name], torch.float32, memory_format, requires_grad=True)
    styles, b = tensors.get("styles"), tensors["b"]
    scale = None if styles is None else (1 + torch.rand(2, tensors["w"].shape[0])).requires_grad_()
    noise = tensors.get("noise")
    noise = None if noise is None else noise.detach().view(-1, 1, *noise.shape[-2:]).requires_grad_()
    up, down = arguments["up"], arguments["down"]
    settings = (arguments["f"], up, down, [2, 2, 2, 2], 2, 0.2, 1.5, 1.0, False)
    if name == "generator":
        settings = (None, 1, 1, [1, 1, 1, 1], *settings[4:])
    if name == "generator-up":
        settings = (TAPS, 2, 1, [3, 2, 3, 2], *settings[4:])
    inputs_ = (tensors["x"], tensors["w"], styles, scale, noise, b, None)
    operator = getattr(torch.ops.fastgan, f"conv2d_layer_{compiled_provider}")
    backward = getattr(torch.ops.fastgan, f"conv2d_layer_backward_{compiled_provider}")
    want = [t is not None for t in inputs_[:6]]
    for keep_u in (False, True)[: 1 if scale is None else 2]:
        torch.library.opcheck(operator, (*inputs_, *settings, True, keep_u))
        y, mask, u = (t.detach() for t in operator(*inputs_, *settings, True, keep_u))
        dy = torch.randn_like(y).requires_grad_()
        y_or_u = (None, u) if keep_u else (y.requires_grad_() if scale is not None else None, None)
        torch.library.opcheck(backward, (dy, *inputs_[:6], *y_or_u, mask, *settings, want))


def test_the_operators_take_a_call_in_its_own_order():
    def names(operator):
        return [a.name for a in getattr(torch.ops.fastgan, f"conv2d_layer{operator}_native").default._schema.arguments]

    held: Any = LayerCall._fields  # each field holds its name
    call = LayerCall(*held)
    assert names("") == [*call.forward_arguments, "keep_mask", "keep_u"]
    assert names("_backward") == ["dy", *call.derivative_arguments, "want"]
    dd = [f"dd{name}" for name in PerInput._fields]
    assert names("_double_backward") == [*dd, "dy", *call.derivative_arguments, "want"]
    derivative: Any = call.derivative_arguments
    again = LayerCall.of_derivative(derivative)
    assert again == call._replace(residual=None) and call.inputs == PerInput._fields
    names_of_epilogue: Any = Epilogue._fields
    assert call.epilogue == Epilogue(*names_of_epilogue)


# 4. compile


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.needs_compiler)])
def test_compile(provider, backend):
    tensors, arguments = inputs(cases_conv2d_layer.CASES["generator-up"], torch.float32, requires_grad=True)
    eager = gradients(tensors, arguments, torch.ones(2, 4, 10, 8))

    def loss(*values):
        return layer(dict(zip(tensors, values, strict=True)), arguments).sum()

    compiled = torch.compile(loss, backend=backend, fullgraph=True)
    grads = torch.autograd.grad(compiled(*tensors.values()), list(tensors.values()))
    torch.testing.assert_close(grads, eager, rtol=1e-5, atol=1e-5)
