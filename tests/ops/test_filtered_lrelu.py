"""filtered_lrelu: known answers, forward, gradient, second gradient, opcheck, compile, errors."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fastgan.ops import bias_act, filtered_lrelu, provider, setup_filter, upfirdn2d
from fastgan.ops.filtered_lrelu.geometry import columns_of_class
from tests.ops import cases_filtered_lrelu
from tests.ops.cases import DTYPE_IDS, DTYPES, FORMATS, arranged, assert_close_to, poison_allocator

provider_context = provider  # the fixture of the same name hides it inside tests
CASES = pytest.mark.parametrize("case", cases_filtered_lrelu.CASES.values(), ids=cases_filtered_lrelu.CASES)


def inputs(case, dtype, memory_format="contiguous", requires_grad=False):
    shape, up_taps, down_taps, arguments = case
    x = arranged(torch.randn(shape, dtype=torch.float64).to(dtype), memory_format).requires_grad_(requires_grad)
    b = torch.randn(shape[1], dtype=torch.float64).to(dtype).requires_grad_(requires_grad)
    fu, fd = (None if taps is None else _filter(taps) for taps in (up_taps, down_taps))
    return (x, b), (fu, fd), arguments


def _filter(taps):
    """Random, its sum of the size of that of a filter that keeps the brightness."""
    f = torch.randn(taps, dtype=torch.float64).float()
    return f / f.square().sum().sqrt()


def composed(x, fu, fd, b=None, up=1, down=1, padding=0, gain=2**0.5, slope=0.2, clamp=None, flip_filter=False):
    """The definition, of operators that have tests of their own, in their references."""
    with provider_context("reference"):
        v = upfirdn2d(bias_act(x, b), fu, up=up, padding=padding, gain=up**2, flip_filter=flip_filter)
        v = torch.nn.functional.leaky_relu(v, slope) * gain
        v = v if clamp is None else v.clamp(-clamp, clamp)
        return upfirdn2d(v, fd, down=down, flip_filter=flip_filter)


# 1. known answers


def test_the_order_of_bias_slope_gain_and_clamp(provider):
    x, b = torch.tensor([[[[-3.0, -1.0, 0.5, 2.0]]]]), torch.tensor([-1.0])
    # x + b = -4 -2 -0.5 1; slope 1/4: -1 -0.5 -0.125 1; gain 2: -2 -1 -0.25 2; clamp 1.5
    y = filtered_lrelu(x, b=b, slope=0.25, gain=2.0, clamp=1.5)
    torch.testing.assert_close(y, torch.tensor([[[[-1.5, -1.0, -0.25, 1.5]]]]))


def test_padding_gets_no_bias(provider):
    x, b = torch.ones(1, 1, 1, 1), torch.tensor([1.0])
    y = filtered_lrelu(x, b=b, padding=[1, 2, 0, 1], gain=1.0)
    torch.testing.assert_close(y, torch.tensor([[[[0.0, 2.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]]]))


def test_an_impulse_shows_which_way_the_filters_run(provider):
    fu, fd = torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[1.0, 0.0, 10.0]])
    x = torch.tensor([[[[1.0]]]])
    # up 1, padded by 2: the convolution is fu itself, 1 2 4; the second, valid: 1·10 + 4·1 reversed over it
    convolved = filtered_lrelu(x, fu, fd, padding=[2, 2, 0, 0], gain=1.0)
    torch.testing.assert_close(convolved, torch.tensor([[[[1.0 * 10 + 4.0 * 1]]]]))
    # correlated: 4 2 1, then 4·1 + 1·10
    flipped = filtered_lrelu(x, fu, fd, padding=[2, 2, 0, 0], gain=1.0, flip_filter=True)
    torch.testing.assert_close(flipped, torch.tensor([[[[4.0 * 1 + 1.0 * 10]]]]))


def test_zeros_are_inserted_after_samples_and_every_second_result_is_kept(provider):
    x, sum_of_two = torch.tensor([[[[1.0, -2.0]]]]), torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    # up 2: 1 0 -2 0 over a row of zeros, times 2²: 4 0 -8 0; slope 0.5: 4 0 -4 0; sums of two of the upper row: 4 -4 -4
    y = filtered_lrelu(x, None, sum_of_two, up=2, down=2, slope=0.5, gain=1.0)
    torch.testing.assert_close(y, torch.tensor([[[[4.0, -4.0]]]]))


def test_a_constant_stays_one_inside(provider):
    f = setup_filter([1, 3, 3, 1], separable=True)
    y = filtered_lrelu(torch.full((1, 2, 8, 9), 3.0), f, f, up=2, down=2, padding=[3, 2, 3, 2], gain=1.0)
    torch.testing.assert_close(y[:, :, 2:-2, 2:-2], torch.full_like(y[:, :, 2:-2, 2:-2], 3.0))


# 2. forward


@CASES
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_IDS)
def test_forward(provider, case, dtype, memory_format):
    (x, b), filters, arguments = inputs(case, dtype, memory_format)
    poison_allocator(x)
    y = filtered_lrelu(x, *filters, b, **arguments)
    with provider_context("reference"):
        own = filtered_lrelu(x, *filters, b, **arguments)
    assert y.dtype == dtype and y.stride() == own.stride()
    assert_close_to(y, composed(x.double(), *filters, b.double(), **arguments), own)


@pytest.mark.slow_interpreted
@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_IDS)
@pytest.mark.parametrize("name", ["stylegan3", "stylegan3-up", "radial", "up3-down2"])
def test_memory_that_is_not_aligned(compiled_provider, name, dtype):
    (x, b), filters, arguments = inputs(cases_filtered_lrelu.CASES[name], dtype, "unaligned")
    assert torch.equal(filtered_lrelu(x, *filters, b, **arguments), filtered_lrelu(x.clone(), *filters, b, **arguments))


@pytest.mark.parametrize("seed", range(24))
def test_random_filters_and_paddings(provider, seed):
    """1 to 32 taps, factors 1 to 4, any padding that leaves something."""
    random = torch.Generator().manual_seed(seed)

    def draw(low, high):
        return int(torch.randint(low, high + 1, (1,), generator=random))

    def taps():
        return (draw(1, 32),) if draw(0, 2) else (draw(1, 12), draw(1, 12))

    shape, fu, fd, up, down = (draw(1, 2), draw(1, 3), draw(1, 9), draw(1, 40)), taps(), taps(), draw(1, 4), draw(1, 4)
    padding = []
    for size, length in ((shape[3], fu[-1] + fd[-1]), (shape[2], fu[0] + fd[0])):
        low = draw(-4, 12)
        padding += [low, max(draw(-4, 12), length - size * up - low)]
    clamp = 0.5 if draw(0, 1) else None
    case = shape, fu, fd, {"up": up, "down": down, "padding": padding, "clamp": clamp, "flip_filter": bool(draw(0, 1))}
    (x, b), filters, arguments = inputs(case, torch.float64, requires_grad=True)
    y, expected = filtered_lrelu(x, *filters, b, **arguments), composed(x, *filters, b, **arguments)
    assert_close_to(y, expected)
    dy = torch.randn_like(y)
    for mine, exact in zip(torch.autograd.grad(y, [x, b], dy), torch.autograd.grad(expected, [x, b], dy), strict=True):
        assert_close_to(mine, exact)


@pytest.mark.slow_interpreted
@pytest.mark.parametrize("taps", [(12, 12), (7, 12), (2, 5), (1, 3)], ids=str)
def test_filters_that_are_their_own_mirror_images(provider, taps):
    (x, b), (fu, _), arguments = inputs(cases_filtered_lrelu.CASES["radial"], torch.float64, requires_grad=True)
    for f in (torch.randn(taps), torch.randn(taps[::-1])):
        for fd in (f + f.flip(0), f + f.flip(1), f + f.flip(0, 1)):
            y, expected = filtered_lrelu(x, fu, fd, b, **arguments), composed(x, fu, fd, b, **arguments)
            assert_close_to(y, expected)
            gradients = [torch.autograd.grad(v.square().sum(), [x, b]) for v in (y, expected)]
            for found, exact in zip(*gradients, strict=True):
                assert_close_to(found, exact)


@pytest.mark.parametrize("radial", [False, True])
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_threads_do_not_matter(native_provider, memory_format, radial):
    """Few planes are divided by rows, many by planes; the bias's gradient is summed in one order."""
    f = torch.rand(12)
    fd = f.outer(f) + torch.eye(12) if radial else f
    for shape in ((1, 3, 67, 61), (2, 37, 35, 33)):
        x = arranged(torch.randn(shape), memory_format).requires_grad_()
        b = torch.randn(shape[1]).requires_grad_()
        results = []
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            y = filtered_lrelu(x, f, fd, b, up=2, down=2, padding=[9, 8, 9, 8], clamp=3.0)
            node: Any = y.grad_fn
            results.append((y, node.saved_tensors[2], *torch.autograd.grad(y, [x, b], torch.ones_like(y))))
        for result in results[1:]:
            assert all(map(torch.equal, result, results[0]))


# 3. gradient


@CASES
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_IDS)
def test_gradient(provider, case, dtype, memory_format):
    (x, b), filters, arguments = inputs(case, dtype, memory_format, requires_grad=True)
    y = filtered_lrelu(x, *filters, b, **arguments)
    dy = torch.randn(y.shape, dtype=torch.float64).to(dtype)
    poison_allocator(x)
    mine = torch.autograd.grad(y, [x, b], dy)
    leaves = [x.detach().double().requires_grad_(), b.detach().double().requires_grad_()]
    exact = torch.autograd.grad(composed(leaves[0], *filters, leaves[1], **arguments), leaves, dy.double())
    with provider_context("reference"):
        own = torch.autograd.grad(filtered_lrelu(x, *filters, b, **arguments), [x, b], dy)
    for found, truth, reference in zip(mine, exact, own, strict=True):
        assert_close_to(found, truth, reference)


@pytest.mark.parametrize("name", ["stylegan3", "stylegan3-up", "radial", "clamp", "up1-down2", "up4-down3", "wide"])
def test_the_mask_is_that_of_the_reference(compiled_provider, name):
    """Bit 0 of an element: it is above 0; bit 1: the clamp stops its gradient. Whole numbers leave nothing to round."""
    shape, up_taps, down_taps, arguments = cases_filtered_lrelu.CASES[name]
    x, b = torch.randint(-3, 4, shape).float().requires_grad_(), torch.randint(-2, 3, (shape[1],)).float()
    fu, fd = (torch.randint(-2, 3, taps).float() for taps in (up_taps, down_taps))
    up, down, padding = (arguments.get(key, value) for key, value in (("up", 1), ("down", 1), ("padding", 0)))
    clamp = 40.0
    y = filtered_lrelu(x, fu, fd, b, up, down, padding, gain=1.0, slope=0.5, clamp=clamp)
    node: Any = y.grad_fn
    mask = node.saved_tensors[2]
    with provider_context("reference"):
        middle = upfirdn2d(x + b[:, None, None], fu, up=up, padding=padding, gain=up**2)
    classes, columns = columns_of_class(middle.shape[3], up, down)
    bits = torch.stack([mask >> shift & 3 for shift in (0, 2, 4, 6)], dim=-1).reshape(
        *middle.shape[:3], classes, columns
    )
    bits = bits.transpose(3, 4).reshape(*middle.shape[:3], -1)[..., : middle.shape[3]]
    value = torch.nn.functional.leaky_relu(middle, 0.5)
    clamped = value.abs() > clamp
    assert (middle > 0).any() and (middle < 0).any() and (name == "up1-down2" or clamped.any())
    assert torch.equal(bits >> 1, clamped.to(torch.uint8))
    assert torch.equal((bits & 1)[~clamped], (middle > 0).to(torch.uint8)[~clamped])


@pytest.mark.parametrize("wanted", ["x", "b"])
def test_only_what_is_asked_for(provider, wanted):
    (x, b), filters, arguments = inputs(cases_filtered_lrelu.CASES["stylegan3"], torch.float64)
    leaf = (x if wanted == "x" else b).requires_grad_()
    y, exact = filtered_lrelu(x, *filters, b, **arguments), composed(x, *filters, b, **arguments)
    dy = torch.randn_like(y)
    assert_close_to(torch.autograd.grad(y, leaf, dy)[0], torch.autograd.grad(exact, leaf, dy)[0])


# 4. second gradient


@pytest.mark.slow_interpreted(only=["up3-down2"])
@CASES
def test_gradgradcheck(provider, case):
    """The masked pass is linear in the gradient that goes through it: to any order, in both directions."""
    (x, b), filters, arguments = inputs(case, torch.float64, requires_grad=True)

    def smooth(x, b):
        return filtered_lrelu(x.tanh(), *filters, b.sin(), **arguments).sin()

    assert torch.autograd.gradcheck(smooth, [x, b], fast_mode=True)
    assert torch.autograd.gradgradcheck(smooth, [x, b], fast_mode=True)


def test_third_derivative(provider):
    x = torch.randn(1, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    f = torch.tensor([1.0, 3.0, 2.0, 0.5])

    def second(x):
        y = filtered_lrelu(x.sin(), f, f, up=2, down=2, padding=3).pow(3).sum()
        (first,) = torch.autograd.grad(y, x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), x, create_graph=True)[0]

    assert torch.autograd.gradcheck(second, [x], fast_mode=True)


# 5. opcheck


@pytest.mark.slow_interpreted
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize("name", ["even-odd", "crop"])
def test_opcheck(compiled_provider, name, memory_format):
    (x, b), (fu, fd), arguments = inputs(cases_filtered_lrelu.CASES[name], torch.float32, memory_format, True)
    padding = arguments["padding"]
    padding = [padding] * 4 if isinstance(padding, int) else padding
    operator = getattr(torch.ops.fastgan, f"filtered_lrelu_{compiled_provider}")
    settings = arguments.get("up", 1), arguments.get("down", 1), *padding, 1.5, 0.2, 1.0, False, True
    torch.library.opcheck(operator, (x, fu, fd, b, *settings))
    y, mask = operator(x, fu, fd, b, *settings)
    node = y.grad_fn
    while not hasattr(node, "geometry"):
        node = node.next_functions[0][0]
    geometry = node.geometry
    numbers = geometry.up, geometry.down, *geometry.padding, *geometry.inner, *node.middle
    masked = getattr(torch.ops.fastgan, f"filtered_lrelu_masked_{compiled_provider}")
    dy = arranged(torch.randn(y.shape), memory_format).requires_grad_()
    torch.library.opcheck(masked, (dy, mask, fd, fu, *numbers, 6.0, 0.2, True, True))


# 6. compile


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.needs_compiler)])
def test_compile(provider, backend):
    x, f = torch.randn(2, 3, 6, 5, requires_grad=True), setup_filter([1, 3, 3, 1], separable=True)

    def layer(x):
        return filtered_lrelu(x * 2, f, f, up=2, down=2, padding=3)

    eager = torch.autograd.grad(layer(x).square().sum(), x)
    compiled = torch.autograd.grad(torch.compile(layer, backend=backend, fullgraph=True)(x).square().sum(), x)
    torch.testing.assert_close(compiled, eager)


# 7. errors


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": torch.zeros(3, 4, 4)}, ValueError, r"x must have shape \[N, C, H, W\], got \[3, 4, 4\]"),
        ({"x": torch.zeros(1, 2, 4, 4, dtype=torch.uint8)}, TypeError, "x must be .* got torch.uint8"),
        ({"fu": torch.zeros(2, 2, 2)}, ValueError, r"fu must have shape \[taps\] or \[fh, fw\], got \[2, 2, 2\]"),
        ({"fd": torch.zeros(0)}, ValueError, r"fd must have shape \[taps\] or \[fh, fw\], got \[0\]"),
        ({"fd": torch.zeros(2, requires_grad=True)}, ValueError, "fd must not require grad"),
        ({"fu": torch.zeros(2, device="meta")}, ValueError, "fu must be on x's device cpu, got meta"),
        ({"b": torch.zeros(3)}, ValueError, r"b must have shape \[C\]=\[2\] to match x, got \[3\]"),
        ({"up": 0}, ValueError, "up must be an int from 1 to 64, got 0"),
        ({"down": [2, 2]}, ValueError, r"down must be an int from 1 to 64, got \[2, 2\]"),
        ({"padding": [1, 2, 3]}, ValueError, r"padding must be an int, \[x, y\] or .* got \[1, 2, 3\]"),
        ({"padding": [0, -3, 0, 0]}, ValueError, "padding leaves 0 samples along x between the filters, but fd has 2"),
        ({"clamp": -1.0}, ValueError, "clamp must be"),
        ({"gain": "2"}, TypeError, "gain must be"),
        ({"slope": None}, TypeError, "slope must be a number, got NoneType"),
    ],
)
def test_errors(provider, arguments, error, message):
    with pytest.raises(error, match=message):
        filtered_lrelu(**({"x": torch.zeros(1, 2, 4, 4), "fu": torch.ones(2), "fd": torch.ones(2)} | arguments))
