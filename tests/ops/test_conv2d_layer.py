"""conv2d_resample and modulated_conv2d: known answers, forward, gradient, second gradient, opcheck, compile, errors."""

from __future__ import annotations

import contextlib
import math

import pytest
import torch
import torch.nn.functional as F

from fastgan.ops import conv2d_resample, exact_convolutions, modulated_conv2d, provider
from tests.ops.cases import CONV2D_LAYER_CASES, DTYPE_IDS, DTYPES, FORMATS, arranged, assert_close_to, poison_allocator

provider_context = provider  # the fixture of the same name hides it inside tests
CASES = pytest.mark.parametrize("case", CONV2D_LAYER_CASES.values(), ids=CONV2D_LAYER_CASES)
DOUBLE = torch.float64
TAPS = torch.tensor([0.1, 0.4, 0.3, 0.2])  # not symmetric: a filter turned round shows
OPERANDS = ("styles", "noise", "b", "residual")


@pytest.fixture(autouse=True)
def exact():
    """Products as their formulas say; what Winograd's algorithm adds is tested by itself."""
    with exact_convolutions():
        yield


def inputs(case, dtype, memory_format="contiguous", requires_grad=False):
    """The tensors of a case, and the arguments of `layer` that are none."""
    shape, channels, kernel, settings = case
    kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
    up, down = settings.get("up", 1), settings.get("down", 1)
    arguments = {"up": up, "down": down, "padding": kw // 2, "f": TAPS if max(up, down) > 1 else None}
    arguments |= {"flip_weight": up == 1}
    arguments |= {key: value for key, value in settings.items() if key not in OPERANDS}
    tensors = {
        "x": arranged(torch.randn(shape, dtype=DOUBLE), memory_format),
        "w": torch.randn(channels, shape[1], kh, kw, dtype=DOUBLE),
    }
    if settings.get("styles"):
        tensors["styles"] = 1 + 0.5 * torch.randn(shape[:2], dtype=DOUBLE)
    size = by_definition(tensors, arguments).shape
    if settings.get("noise"):
        tensors["noise"] = torch.randn(size[2:] if settings["noise"] == "const" else (size[0], 1, *size[2:]), dtype=DOUBLE)
    if settings.get("b"):
        tensors["b"] = torch.randn(channels, dtype=DOUBLE)
    if settings.get("residual"):
        tensors["residual"] = torch.randn(size, dtype=DOUBLE)
    for name, tensor in tensors.items():
        tensor = arranged(tensor.to(dtype), memory_format if name in ("x", "residual") else "contiguous")
        tensors[name] = tensor.requires_grad_(requires_grad)
    return tensors, arguments


def layer(tensors, arguments):
    """The public function of a case."""
    rest = dict(arguments)
    operands = {name: tensors.get(name) for name in ("b", "residual")}
    f, demodulate = rest.pop("f"), rest.pop("demodulate", True)
    if "styles" not in tensors:
        return conv2d_resample(tensors["x"], tensors["w"], f, **rest, **operands)
    names = ("x", "w", "styles")
    rest |= {"resample_filter": f, "demodulate": demodulate, "noise": tensors.get("noise")}
    return modulated_conv2d(*(tensors[name] for name in names), **rest, **operands)


def by_definition(
    tensors, arguments, activations={"linear": lambda v: v, "lrelu": lambda v: F.leaky_relu(v, 0.2), "relu": F.relu,
                                     "tanh": torch.tanh, "swish": F.silu}
):  # fmt: skip
    """The docstring's formula in float64, step by step: zeros inserted, padding, FIR, one kernel a sample, decimation."""
    x, w, styles, noise, b, residual = (
        None if t is None else t.double() for t in map(tensors.get, ("x", "w", "styles", "noise", "b", "residual"))
    )
    up, down, f, padding = (arguments[name] for name in ("up", "down", "f", "padding"))
    (n, c, h, width), o = x.shape, w.shape[0]
    p = [padding] * 4 if isinstance(padding, int) else list(padding)
    z = x.new_zeros(n, c, h * up, width * up)
    z[:, :, ::up, ::up] = x
    if f is not None:
        taps = f.shape[0]
        low, high = ((taps + up - 1) // 2, (taps - up) // 2) if up > 1 else ((taps - down + 1) // 2, (taps - down) // 2)
        p = [p[0] + low, p[1] + high, p[2] + low, p[3] + high]
    z = F.pad(z, p) * up**2
    if f is not None:
        z = F.conv2d(z, torch.outer(f.double(), f.double()).flip([0, 1])[None, None].repeat(c, 1, 1, 1), groups=c)
    w = (w if arguments["flip_weight"] else w.flip([2, 3])).expand(n, *w.shape)
    if styles is not None:
        w = w * styles[:, None, :, None, None]  # [N, O, I, kh, kw]
        if arguments.get("demodulate", True):
            w = w * (w.square().sum(dim=[2, 3, 4], keepdim=True) + 1e-8).rsqrt()
    if n == 0:
        y = F.conv2d(z, w.new_zeros(w.shape[1:]))
    else:
        y = torch.cat([F.conv2d(z[k : k + 1], w[k]) for k in range(n)])
    y = y[:, :, ::down, ::down]
    y = y if noise is None else y + noise
    y = y if b is None else y + b.reshape(o, 1, 1)
    act, clamp = arguments.get("act", "linear"), arguments.get("clamp")
    y = activations[act](y) * arguments.get("gain", math.sqrt(2) if act in ("lrelu", "relu", "swish") else 1.0)
    y = y if clamp is None else y.clamp(-clamp, clamp)
    return y if residual is None else y + residual


# 1. known answers


def test_one_pixel_by_hand(provider):
    # 3·2 + 4·1, demodulated by 1/sqrt((3·2)² + (4·1)²), plus noise 1 and bias -4, lrelu 0.2, gain 5, clamp 2
    x, w = torch.ones(1, 2, 1, 1), torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)
    styles, noise, b = torch.tensor([[2.0, 1.0]]), torch.tensor([[1.0]]), torch.tensor([-4.0])
    v = 10 / math.sqrt(52) + 1 - 4
    for clamp, expected in ((None, v), (1.5, -1.5)):
        y = modulated_conv2d(x, w, styles, noise, b=b, act="lrelu", gain=5.0, clamp=clamp)
        assert y.item() == pytest.approx(expected, rel=1e-6)
    y = modulated_conv2d(x, w, styles, noise, b=b, act="lrelu", gain=5.0, clamp=1.5, residual=torch.full_like(x, 9.0)[:, :1])
    assert y.item() == pytest.approx(7.5)


def test_impulse_gives_the_kernel(provider):
    x, w = torch.zeros(1, 1, 5, 5), torch.arange(1.0, 10.0).view(1, 1, 3, 3)
    x[0, 0, 2, 2] = 1
    y = conv2d_resample(x, w, padding=1)[0, 0, 1:4, 1:4]
    torch.testing.assert_close(y, w[0, 0].flip([0, 1]))  # a correlation turns an impulse's kernel round
    y = conv2d_resample(x, w, padding=1, flip_weight=False)[0, 0, 1:4, 1:4]
    torch.testing.assert_close(y, w[0, 0])
    y = conv2d_resample(x, w, None, up=2, padding=1, flip_weight=False)[0, 0, 3:6, 3:6]
    torch.testing.assert_close(y, 4 * w[0, 0])  # around the impulse's place, with the gain of zeros inserted
    y = conv2d_resample(x, w, None, down=2, padding=1)
    torch.testing.assert_close(y[0, 0, 1, 1], w[0, 0, 1, 1])
    assert y.sum() == w[0, 0, 1, 1]


def test_two_pixels_up(provider):
    # 2 5 with zeros inserted: 2 0 5 0; FIR (1, 3) / 4 with gain 2 on this axis: 1 3 2.5 7.5; kernel 10 at the middle
    x, w = torch.tensor([[[[2.0, 5.0]]]]), torch.zeros(1, 1, 1, 3)
    w[..., 1] = 10
    f = torch.tensor([[1.0, 3.0]]) / 4
    y = conv2d_resample(x, w, f, up=2, padding=[1, 1, 0, 0], flip_weight=False)
    assert y.shape == (1, 1, 2, 4)
    torch.testing.assert_close(y[0, 0].sum(dim=0), 2 * torch.tensor([10.0, 30.0, 25.0, 75.0]))


def test_input_gain_is_not_demodulated(provider):
    x, w, s = torch.randn(2, 3, 4, 4), torch.randn(4, 3, 3, 3), torch.randn(2, 3)
    doubled = modulated_conv2d(x, w, s, padding=1, input_gain=torch.tensor(2.0))
    torch.testing.assert_close(doubled, 2 * modulated_conv2d(x, w, s, padding=1))
    torch.testing.assert_close(modulated_conv2d(x, w, 2 * s, padding=1), doubled / 2)


# 2. forward


@CASES
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_IDS)
def test_forward(provider, case, dtype, memory_format):
    tensors, arguments = inputs(case, dtype, memory_format)
    exact = by_definition(tensors, arguments)
    poison_allocator(exact)
    y = layer(tensors, arguments)
    with provider_context("reference"):
        own = layer(tensors, arguments)
    assert y.dtype == dtype
    if memory_format == "channels_last":
        assert y.is_contiguous(memory_format=torch.channels_last) or y.is_contiguous()
    assert_close_to(y, exact, own)


def test_many_channels(provider):
    tensors, arguments = inputs(((1, 512, 2, 3), 20, 3, {"styles": True, "b": True, "act": "lrelu"}), torch.float32)
    assert_close_to(layer(tensors, arguments), by_definition(tensors, arguments))


def test_float16_does_not_overflow(compiled_provider):
    x, w = 100 * torch.randn(2, 64, 4, 4).half(), 50 * torch.randn(8, 64, 3, 3)
    y = modulated_conv2d(x, w, 40 * torch.randn(2, 64), padding=1)
    assert y.isfinite().all() and 10 < y.float().std() < 1000


# 3. gradient


def gradients(tensors, arguments, dy):
    y = layer(tensors, arguments)
    return torch.autograd.grad(y, list(tensors.values()), dy.to(y.dtype))


@CASES
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_IDS)
def test_gradient(provider, case, dtype, memory_format):
    tensors, arguments = inputs(case, dtype, memory_format, requires_grad=True)
    dy = torch.randn(by_definition(tensors, arguments).shape, dtype=DOUBLE)
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


@CASES
def test_gradcheck(provider, case):
    tensors, arguments = inputs(case, DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda *values: layer(dict(zip(tensors, values, strict=True)), arguments), list(tensors.values()), fast_mode=True
    )


def test_parameters_left_out(compiled_provider):
    tensors, arguments = inputs(CONV2D_LAYER_CASES["generator-up"], DOUBLE, requires_grad=True)
    full = gradients(tensors, arguments, torch.ones(2, 4, 10, 8))
    for name in tensors:
        alone = {key: t.detach().requires_grad_(key == name) for key, t in tensors.items()}
        y = layer(alone, arguments)
        (grad,) = torch.autograd.grad(y, alone[name], torch.ones_like(y))
        torch.testing.assert_close(grad, full[list(tensors).index(name)])


# 4. second gradient


@CASES
def test_gradgradcheck(provider, case):
    tensors, arguments = inputs(case, DOUBLE, requires_grad=True)
    assert torch.autograd.gradgradcheck(
        lambda *values: layer(dict(zip(tensors, values, strict=True)), arguments), list(tensors.values()), fast_mode=True
    )


@pytest.mark.parametrize("name", ["generator-up", "discriminator-down", "to-rgb"])
@pytest.mark.parametrize("second", ["x", "w", "styles", "b"])
def test_second_gradient_of_each_input(compiled_provider, name, second):
    """Of the first gradient for one input alone, for all inputs: every term of the double backward by itself."""
    tensors, arguments = inputs(CONV2D_LAYER_CASES[name], DOUBLE, requires_grad=True)
    if second not in tensors:
        return

    def first(*values):
        given = dict(zip(tensors, values, strict=True))
        y = layer(given, arguments)
        return torch.autograd.grad((y * torch.linspace(0.5, 2, y.numel(), dtype=DOUBLE).view(y.shape)).sum() + y.square().sum(),
                                   given[second], create_graph=True)[0]  # fmt: skip

    assert torch.autograd.gradcheck(first, list(tensors.values()), fast_mode=True)


def test_third_derivative_is_refused(compiled_provider):
    x, w = torch.randn(1, 2, 4, 4, requires_grad=True), torch.randn(2, 2, 3, 3, requires_grad=True)
    (dx,) = torch.autograd.grad(conv2d_resample(x, w, padding=1).pow(3).sum(), x, create_graph=True)
    (dw,) = torch.autograd.grad(dx.pow(2).sum(), w, create_graph=True)
    with pytest.raises(RuntimeError, match="is the last derivative that this operator has"):
        torch.autograd.grad(dw.square().sum(), w)


# 5. opcheck


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize("name", ["generator", "generator-up", "discriminator-down"])
def test_opcheck(compiled_provider, name, memory_format):
    tensors, arguments = inputs(CONV2D_LAYER_CASES[name], torch.float32, memory_format, requires_grad=True)
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
    torch.library.opcheck(operator, (*inputs_, *settings, True))
    y, mask = (t.detach() for t in operator(*inputs_, *settings, True))
    dy = torch.randn_like(y).requires_grad_()
    want = [t is not None for t in inputs_[:6]]
    backward = getattr(torch.ops.fastgan, f"conv2d_layer_backward_{compiled_provider}")
    kept = (*inputs_[:6], y.requires_grad_() if scale is not None else None, mask)
    torch.library.opcheck(backward, (dy, *kept, *settings, want))


# 6. compile


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.needs_compiler)])
def test_compile(provider, backend):
    tensors, arguments = inputs(CONV2D_LAYER_CASES["generator-up"], torch.float32, requires_grad=True)
    eager = gradients(tensors, arguments, torch.ones(2, 4, 10, 8))

    def loss(*values):
        return layer(dict(zip(tensors, values, strict=True)), arguments).sum()

    compiled = torch.compile(loss, backend=backend, fullgraph=True)
    grads = torch.autograd.grad(compiled(*tensors.values()), list(tensors.values()))
    torch.testing.assert_close(grads, eager, rtol=1e-5, atol=1e-5)


# 7. errors


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": torch.zeros(2, 4, 4)}, ValueError, r"x and w must be 4-dimensional, got \[2, 4, 4\] and"),
        ({"x": torch.zeros(1, 2, 4, 4).int()}, TypeError, "x must be a floating-point tensor, got torch.int32"),
        ({"x": torch.zeros(1, 5, 4, 4)}, ValueError, r"x must have shape \[N, 2, H, W\] to match w, got \[1, 5, 4, 4\]"),
        ({"w": torch.zeros(3, 2, 3, 3, device="meta")}, ValueError, "w must be on x's device cpu, got meta"),
        ({"w": torch.zeros(0, 2, 3, 3)}, ValueError, r"w must not be empty, got shape \[0, 2, 3, 3\]"),
        ({"groups": 2}, ValueError, "groups must divide w's 3 output channels, got 2"),
        ({"up": 2, "down": 2}, ValueError, "up and down must not both exceed 1, got 2 and 2"),
        ({"up": 1.5}, ValueError, "up must be an int of at least 1, got 1.5"),
        ({"down": 0}, ValueError, "down must be an int of at least 1, got 0"),
        ({"padding": [1, 2, 3]}, ValueError, r"padding must be an int, \[x, y\] or .* got \[1, 2, 3\]"),
        ({"padding": -1}, ValueError, "padding -1 leaves images of 4x4 no output under a kernel of 3x3: it would be 0x0"),
        ({"b": torch.zeros(2)}, ValueError, r"b must have shape \[O\]=\[3\], got \[2\]"),
        ({"act": "gelu"}, ValueError, "act must be one of"),
        ({"clamp": -1}, ValueError, "clamp must be None or at least 0, got -1"),
        ({"residual": torch.zeros(1, 3, 4, 4)}, ValueError, r"residual must have the result's shape \[1, 3, 2, 2\], got"),
        ({"f": torch.zeros(2, requires_grad=True), "up": 2}, ValueError, "f must not require grad"),
    ],
)
def test_errors(provider, arguments, error, message):
    with pytest.raises(error, match=message):
        conv2d_resample(**({"x": torch.zeros(1, 2, 4, 4), "w": torch.zeros(3, 2, 3, 3)} | arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"styles": torch.zeros(2, 4)}, r"styles must have shape \[N, I\]=\[2, 3\], got \[2, 4\]"),
        ({"noise": torch.zeros(2, 5, 2, 2)}, r"noise must be broadcastable to \[N, 1, H', W'\]=\[2, 1, 2, 2\], got"),
        ({"weight": torch.zeros(5, 3, 3)}, "x and weight must be 4-dimensional"),
    ],
)
def test_errors_of_modulation(arguments, message):
    given = {"x": torch.zeros(2, 3, 4, 4), "weight": torch.zeros(5, 3, 3, 3), "styles": torch.zeros(2, 3)}
    with pytest.raises(ValueError, match=message):
        modulated_conv2d(**(given | arguments))


def test_groups_are_independent_convolutions():
    x, w = torch.randn(2, 4, 6, 6, dtype=DOUBLE), torch.randn(6, 2, 3, 3, dtype=DOUBLE)
    for sampling in ({"up": 2}, {"down": 2}, {}):
        y = conv2d_resample(x, w, TAPS, padding=1, groups=2, **sampling)
        halves = [
            conv2d_resample(x[:, 2 * g : 2 * g + 2], w[3 * g : 3 * g + 3], TAPS, padding=1, **sampling) for g in range(2)
        ]
        torch.testing.assert_close(y, torch.cat(halves, dim=1))
    with contextlib.ExitStack() as stack:
        stack.enter_context(provider_context("native"))
        stack.enter_context(pytest.raises(ValueError, match="groups above 1 are composed of other operators"))
        conv2d_resample(x, w, groups=2)
