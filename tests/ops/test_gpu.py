"""The CUDA kernels of each provider: streams, graphs, determinism, equality with the reference in float64, size.

CUDA's kernels are compiled before; Triton compiles one when it first meets an activation, dtype, layout and kind of
size. Its tests of equality are thinned, by three rules:

- lrelu, which keeps two bits an element, and swish, which keeps x, everywhere; the other activations once, in fp32.
- fp32 and bf16 everywhere; fp64 and fp16 in one shape of each operator's, contiguous (tests/ops/thinning.py).
- no `strided` tensors, which are copied before a kernel sees them (there, too).
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from fastgan import bias_act, exact_convolutions, interpolate, provider, setup_filter, squared_norm, upfirdn2d
from fastgan.ops import providers
from fastgan.ops.bias_act.activations import ACTIVATIONS
from fastgan.ops.operator import OPERATORS
from tests.ops import cases_bias_act, cases_conv2d_layer, cases_gradient_penalty, cases_upfirdn2d
from tests.ops.cases import DTYPE_IDS, DTYPES, FORMATS, assert_close_to
from tests.ops.derivatives import derivatives, random
from tests.ops.layers import inputs, layer
from tests.ops.operators import cases_of
from tests.ops.plans import FORMS, planned

pytestmark = pytest.mark.gpu
CUDA = torch.device("cuda")


@pytest.fixture(params=["native", "triton"])
def kernels(request):
    """Run the test with each provider's kernels; without them it is skipped, and fails under --require=gpu."""
    reason = None if torch.cuda.is_available() else "there is no CUDA device"
    for row in providers.report(("cuda",)) if reason is None else ():
        if row.provider == request.param and row.dtype == "float32" and not row.serves:
            reason = row.reason
    if reason is None and request.param not in providers.NAMES:
        reason = f"there is no provider {request.param}"
    if reason is not None:
        skipped = "gpu" not in request.config.getoption("--require").split(",")
        (pytest.skip if skipped else pytest.fail)(reason)
    with provider(request.param):
        yield request.param


def moved(tensors, device=None):
    return [t.detach().to(device or CUDA).requires_grad_() for t in tensors]


def assert_like_reference(call, leaves, dy, ddx=None):
    """Compares what a call gives on the device with the reference on the CPU in float64.

    Args:
        call: (device, *leaves) -> y.
        leaves: CPU tensors, the first of which is x.
        dy: cotangent of y.
        ddx: cotangent of dx, None for no second derivatives.

    Returns:
        y, on the device.
    """
    extra = [dy] if ddx is None else [dy, ddx]

    def on(device, tensors):
        return derivatives(lambda *given: call(device, *given), tensors[: len(leaves)], *tensors[len(leaves) :])

    mine = on(CUDA, moved([*leaves, *extra]))
    with provider("reference"):
        exact = on("cpu", [t.detach().double().requires_grad_() for t in (*leaves, *extra)])
        own = on("cpu", [*leaves, *extra])
    for one, true, reference in zip(mine, exact, own, strict=True):
        assert one.dtype == leaves[0].dtype and one.device.type == CUDA.type
        assert_close_to(one.cpu(), true, reference)
    return mine[0]


# the device


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_the_bias_gradient_is_the_same_in_every_run(kernels, dtype, memory_format):
    x, b = moved([random((8, 96, 65, 129), dtype, memory_format), random((96,), dtype)])
    dy = torch.randn_like(x)
    first = torch.autograd.grad(bias_act(x, b, act="lrelu"), [x, b], dy)
    for _ in range(20):
        again = torch.autograd.grad(bias_act(x, b, act="lrelu"), [x, b], dy)
        assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


@pytest.mark.parametrize("op", OPERATORS)
def test_a_side_stream_sees_its_input(kernels, op):
    call, leaves, dy = cases_of(op).device_call(CUDA)
    expected = derivatives(call, leaves, dy)
    late = [torch.full_like(t, float("nan")) for t in (*leaves, dy)]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        torch.cuda._sleep(200_000_000)  # about a tenth of a second: a kernel of another stream would overtake
        for target, source in zip(late, (*leaves, dy), strict=True):
            target.copy_(source.detach())
        mine = derivatives(call, [t.requires_grad_() for t in late[:-1]], late[-1])
    side.synchronize()
    assert all(torch.equal(one, true) for one, true in zip(mine, expected, strict=True))


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "forward+backward"])
@pytest.mark.parametrize("op", OPERATORS)
def test_a_captured_graph_follows_its_inputs(kernels, op, backward):
    call, leaves, dy = cases_of(op).device_call(CUDA)

    def step():
        if backward:
            return derivatives(call, leaves, dy)
        with torch.no_grad():
            return [call(*leaves)]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    for _ in range(3):
        with torch.no_grad():
            for tensor in (*leaves, dy):
                tensor.copy_(torch.randn_like(tensor))
        graph.replay()
        torch.cuda.synchronize()
        assert all(torch.equal(one, true) for one, true in zip(captured, step(), strict=True))


@pytest.mark.parametrize("op", OPERATORS)
def test_a_second_device(kernels, op):
    if torch.cuda.device_count() < 2:
        pytest.skip("there is one CUDA device")
    other = torch.device("cuda", 1)
    call, leaves, dy = cases_of(op).device_call(CUDA)
    expected = derivatives(call, leaves, dy)
    mine = derivatives(cases_of(op).device_call(other)[0], moved(leaves, other), dy.to(other))  # device 0 is current
    assert all(t.device == other for t in mine)
    assert all(torch.equal(one.to(true.device), true) for one, true in zip(mine, expected, strict=True))


# equality


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_IDS)
@pytest.mark.parametrize("shape", cases_bias_act.SHAPES.values(), ids=cases_bias_act.SHAPES)
def test_bias_act(kernels, shape, dtype, memory_format):
    once = (shape, dtype, memory_format) == (cases_bias_act.SHAPES["odd"], torch.float32, "contiguous")
    everywhere = ("lrelu", "swish") if kernels == "triton" and not once else ACTIVATIONS
    for act, clamp in itertools.product(everywhere, (None, 0.7)):
        x, b = random(shape, dtype, memory_format), random(shape[1:2], dtype)
        ddx = random(shape, dtype) if dtype in (torch.float64, torch.float32) else None

        def call(device, x, b, act=act, clamp=clamp):
            return bias_act(x, b, act=act, clamp=clamp)

        assert_like_reference(call, [x, b], random(shape, dtype), ddx)


@pytest.mark.parametrize("dim", [0, 1, 2, 3])
def test_bias_act_of_other_axes(kernels, dim):
    x, b = random((3, 4, 5, 6), torch.float64, "channels_last"), random(((3, 4, 5, 6)[dim],), torch.float64)
    for act in ("lrelu", "swish"):
        assert_like_reference(
            lambda device, x, b, act=act: bias_act(x, b, dim=dim, act=act), [x, b], random(x.shape, torch.float64)
        )


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_IDS)
@pytest.mark.parametrize("case", cases_upfirdn2d.CASES.values(), ids=cases_upfirdn2d.CASES)
def test_upfirdn2d(kernels, case, dtype, memory_format):
    shape, taps, arguments = case
    x, f = random(shape, dtype, memory_format), None if taps is None else torch.randn(taps)

    def call(device, x):
        return upfirdn2d(x, f if f is None else f.to(device), **arguments)

    with provider("reference"):
        y_shape = call("cpu", x).shape
    ddx = random(shape, dtype) if dtype in (torch.float64, torch.float32) else None
    assert_like_reference(call, [x], random(y_shape, dtype), ddx)


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("case", cases_conv2d_layer.CASES.values(), ids=cases_conv2d_layer.CASES)
def test_conv2d_layer(kernels, case, dtype, memory_format):
    check_conv2d_layer(case, dtype, memory_format)


def check_conv2d_layer(case, dtype, memory_format, quarters=False):
    tensors, arguments = inputs(case, dtype, memory_format)
    for tensor in tensors.values():
        (tensor.copy_((tensor * 4).round() / 4) if quarters else tensor).requires_grad_()
    f = arguments["f"]

    def call(device, *given):
        settings = arguments | {"f": None if f is None else f.to(device)}
        return layer(dict(zip(tensors, given, strict=True)), settings)

    with exact_convolutions(), provider("reference"):
        y_shape = call("cpu", *tensors.values()).shape
    with exact_convolutions():
        ddx = random(case[0], dtype) if dtype == torch.float32 else None
        assert_like_reference(call, list(tensors.values()), random(y_shape, dtype), ddx)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_IDS)
@pytest.mark.parametrize("shape", cases_gradient_penalty.SHAPES.values(), ids=cases_gradient_penalty.SHAPES)
def test_squared_norm_and_interpolate(kernels, shape, dtype, memory_format):
    x, fake, dy = (random(shape, dtype, memory_format) for _ in range(3))
    ddx = random(shape, dtype) if dtype in (torch.float64, torch.float32) else None

    def call(device, x, fake):
        return interpolate(x, fake, squared_norm(x) / max(x.numel(), 1))

    assert_like_reference(call, [x, fake], dy, ddx)


PLANS = [*({"form": form} for form in FORMS), {"form": "wide", "stages": 3}, {"splits": 3}]
WITHOUT_KINKS = {"act": "linear", "clamp": None}  # which few digits decide otherwise


def form_case(name, dtype, **changes):
    """A call of FORM_CASES, its leaves and a cotangent of its result."""
    tensors, arguments = inputs(cases_conv2d_layer.FORM_CASES[name], dtype, "channels_last", requires_grad=True)
    f = arguments["f"]

    def call(device, *given):
        settings = arguments | {"f": None if f is None else f.to(device)} | changes
        return layer(dict(zip(tensors, given, strict=True)), settings)

    with provider("reference"):
        dy = random(call("cpu", *tensors.values()).shape, dtype, "channels_last")
    return call, list(tensors.values()), dy


@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_IDS)
@pytest.mark.parametrize("plan", PLANS, ids=str)
@pytest.mark.parametrize("kernels", ["native"], indirect=True)
def test_plans_of_convolutions(kernels, plan, dtype):
    for name in cases_conv2d_layer.FORM_CASES:
        call, leaves, dy = form_case(name, dtype, **(WITHOUT_KINKS if dtype.itemsize == 2 else {}))
        with exact_convolutions(), planned(**plan):
            assert_like_reference(call, leaves, dy)


@pytest.mark.parametrize("plan", PLANS, ids=str)
@pytest.mark.parametrize("kernels", ["native"], indirect=True)
def test_plans_in_tf32(kernels, plan):
    for name in cases_conv2d_layer.FORM_CASES:
        call, leaves, dy = form_case(name, torch.float32, **WITHOUT_KINKS)
        with planned(**plan):
            found = derivatives(lambda *given, call=call: call(CUDA, *given), moved(leaves), *moved([dy]))
        with provider("reference"):
            wide = [t.detach().double().requires_grad_() for t in (*leaves, dy)]
            exact = derivatives(lambda *given, call=call: call("cpu", *given), wide[:-1], wide[-1])
        for one, true in zip(found, exact, strict=True):
            assert (one.cpu() - true).norm() <= 1e-3 * true.norm()  # 10 bits of mantissa


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize("shape", [(2, 64, 128, 128), (3, 48, 65, 257)], ids=["layer", "odd"])
def test_bias_act_and_upfirdn2d_of_the_size_of_layers(kernels, shape, memory_format, dtype):
    """Many blocks and whole tiles, which the small cases have none of."""
    x, b, f = random(shape, dtype, memory_format), random(shape[1:2], dtype), setup_filter([1, 3, 3, 1])
    form = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}[memory_format]
    y = assert_like_reference(
        lambda device, x, b: bias_act(x, b, act="lrelu"), [x, b], random(shape, dtype), random(shape, dtype)
    )
    assert y.is_contiguous(memory_format=form)
    resamplings: list[dict[str, Any]] = [
        {"up": 2, "padding": [2, 1, 2, 1], "gain": 4},
        {"down": 2, "padding": 1},
        {"padding": [2, 1] * 2},
    ]
    for arguments in resamplings:

        def call(device, x, arguments=arguments):
            return upfirdn2d(x, f.to(device), **arguments)

        with torch.no_grad():
            dy = random(call("cpu", x[:1]).shape, dtype).detach()
        y = assert_like_reference(call, [x], dy.expand(shape[0], -1, -1, -1).clone())
        assert y.is_contiguous(memory_format=form)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize("shape", [(2, 64, 64, 64), (3, 48, 33, 65)], ids=["layer", "odd"])
@pytest.mark.parametrize("settings", cases_conv2d_layer.LAYERS.values(), ids=cases_conv2d_layer.LAYERS)
def test_conv2d_layer_of_the_size_of_layers(kernels, settings, shape, memory_format, dtype):
    check_conv2d_layer((shape, 72, 3, settings), dtype, memory_format, quarters=True)


@pytest.mark.parametrize("act", ["tanh", "swish", "softplus"])
def test_bias_act_by_finite_differences(kernels, act):
    x, b = moved([random((2, 3, 4, 5), torch.float64), random((3,), torch.float64)])
    assert torch.autograd.gradcheck(lambda x, b: bias_act(x, b, act=act), (x, b))
    assert torch.autograd.gradgradcheck(lambda x, b: bias_act(x, b, act=act), (x, b))


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_opcheck(kernels, memory_format):
    x, b = moved([random((2, 3, 4, 5), torch.float32, memory_format), random((3,), torch.float32)])
    lrelu = OPERATORS["bias_act"].registered[kernels].numbering.index("lrelu")
    operators, settings = torch.ops.fastgan, (1, lrelu, 0.2, 1.5, 0.8)
    forward = getattr(operators, f"bias_act_{kernels}")
    torch.library.opcheck(forward, (x, b, *settings, True))
    mask = forward(x, b, *settings, True)[1]
    dy = torch.randn_like(x).requires_grad_()
    torch.library.opcheck(getattr(operators, f"bias_act_backward_{kernels}"), (dy, None, None, mask, *settings, True))
    f = torch.randn(4, device=CUDA)
    torch.library.opcheck(getattr(operators, f"upfirdn2d_{kernels}"), (x, f, 2, 2, 1, 1, 2, 1, 2, 1, False, 1.5))


@pytest.mark.slow
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "channels_last"])
@pytest.mark.parametrize("op", OPERATORS)
def test_more_than_2_to_the_31_elements(kernels, op, memory_format):
    shape = (2, 3, 18950, 18950)  # 2,154,615,000 elements, 2^31 is 2,147,483,648
    if torch.cuda.mem_get_info()[0] < 40 * 2**30:
        pytest.skip("the device has less than 40 GiB free")
    x = torch.empty(shape, dtype=torch.bfloat16, device=CUDA, memory_format=memory_format).normal_().requires_grad_()
    call = cases_of(op).large_call
    y = call(x)
    (dx,) = torch.autograd.grad(y, x, x.detach())
    last = (
        x.detach()[1:].clone(memory_format=memory_format).requires_grad_()
    )  # ends beyond 2^31; alone, its offsets are small
    alone = call(last)
    (dx_alone,) = torch.autograd.grad(alone, last, last.detach())
    for whole, part in ((y.detach(), alone.detach()), (dx, dx_alone)):
        for rows in range(0, shape[2], 4096):
            assert torch.equal(whole[1:, :, rows : rows + 4096], part[:, :, rows : rows + 4096])
