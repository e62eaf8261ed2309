"""The passes that a convolution layer is made of, without gradients of their own, against formulas in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.ops.cases import DTYPE_IDS, DTYPES, arranged, assert_close_to, poison_allocator

FORMATS = ["contiguous", "channels_last"]
# x shape, w shape, stride, transposed, (padx0, padx1, pady0, pady1)
CONVOLUTIONS = {
    "1x1": ((2, 3, 5, 7), (24, 3, 1, 1), 1, False, (0, 0, 0, 0)),
    "3x3": ((3, 24, 6, 4), (40, 24, 3, 3), 1, False, (1, 1, 1, 1)),
    "2x3": ((1, 40, 5, 9), (3, 40, 2, 3), 1, False, (2, 0, -1, 1)),
    "square": ((2, 3, 8, 8), (8, 3, 3, 3), 1, False, (1, 1, 1, 1)),
    "oblong": ((2, 4, 9, 10), (12, 4, 1, 1), 1, False, (0, 0, 0, 0)),
    "stride2": ((2, 24, 9, 7), (8, 24, 3, 3), 2, False, (1, 0, 0, 2)),
    "cropped": ((2, 3, 9, 8), (4, 3, 3, 3), 2, False, (-1, -2, 1, -1)),
    "turned": ((2, 3, 6, 5), (4, 3, 3, 3), 1, True, (1, 1, 1, 1)),
    "transposed": ((2, 24, 5, 4), (40, 24, 3, 3), 2, True, (0, 0, 0, 0)),
    "transposed-even": ((2, 4, 5, 4), (3, 4, 3, 3), 2, True, (0, 1, 1, 0)),
    "transposed-2x3": ((1, 3, 4, 5), (1, 3, 2, 3), 2, True, (1, 2, -1, 1)),
    "transposed-gaps": ((1, 4, 3, 4), (8, 4, 2, 2), 3, True, (0, -2, 1, 0)),
    "one-pixel": ((3, 1, 1, 1), (1, 1, 3, 3), 1, False, (1, 1, 1, 1)),
    "empty": ((0, 3, 4, 4), (8, 3, 3, 3), 1, False, (1, 1, 1, 1)),
}
OPERANDS = ["scale", "noise", "b", "residual"]
LRELU = (2, 0.2, 1.5, 0.9)
LINEAR = (0, 0.0, 1.0, -1.0)
# Images that the passes alone see: one sample a tile and several, a mask whose bytes cross rows, one pixel, none.
IMAGES = {
    "odd": (3, 5, 5, 7),
    "even": (2, 8, 4, 6),
    "many": (1, 3, 20, 26),
    "dots": (2, 4, 1, 1),
    "empty": (0, 3, 4, 4),
}


@pytest.fixture(params=["interpreter"])
def raw(request):
    """The raw operators of a provider by name, run as it runs them."""
    stand_in = request.getfixturevalue(request.param)
    with stand_in.selected():
        yield lambda name: getattr(torch.ops.fastgan, f"{name}_{request.param}")


def random(shape, dtype: torch.dtype, memory_format: str = "contiguous") -> Tensor:
    return arranged(torch.randn(shape).to(dtype), memory_format)


def lies(x: Tensor, memory_format: str) -> bool:
    return not x.numel() or x.is_contiguous(
        memory_format=getattr(torch, f"{memory_format}_format", torch.channels_last)
    )


def factors(shape, dtype: torch.dtype) -> Tensor:
    """Positive, as what demodulates is; float32 for halves."""
    return torch.rand(shape).add(0.5).to(torch.float64 if dtype == torch.float64 else torch.float32)


def exact_convolution(x: Tensor, w: Tensor, in_scale, stride: int, transposed: bool, padding) -> Tensor:
    """w ∗ (in_scale·x) in float64."""
    x, w = x.double(), w.double()
    if in_scale is not None:
        x = x * in_scale.double()[:, :, None, None]
    if transposed:
        return F.pad(F.conv_transpose2d(x, w.transpose(0, 1), stride=stride), [-pad for pad in padding])
    return F.conv2d(F.pad(x, list(padding)), w, stride=stride)


def exact_epilogue(u: Tensor, operands: dict[str, Tensor | None], formula) -> tuple[Tensor, Tensor, Tensor]:
    """y in float64, v = scale·u + noise + b, and what is clamped."""
    (act, alpha, gain, clamp), v = formula, u.double()
    shapes = {"scale": (*u.shape[:2], 1, 1), "noise": (-1, 1, *u.shape[2:]), "b": (1, -1, 1, 1)}
    given = {k: operands[k].double().view(s) for k, s in shapes.items() if operands[k] is not None}  # pyright: ignore
    v = v * given.get("scale", 1) + given.get("noise", 0) + given.get("b", 0)
    activated = gain * (v, v.relu(), F.leaky_relu(v, alpha))[act]
    y = activated.clamp(-clamp, clamp) if clamp >= 0 else activated
    return (y if operands["residual"] is None else y + operands["residual"].double()), v, activated


def make_operands(names, shape, dtype: torch.dtype, memory_format: str, shared_noise=False) -> dict[str, Tensor | None]:
    n, o, h, w = shape
    made: dict[str, Tensor | None] = dict.fromkeys(OPERANDS)
    for name in names:
        if name == "scale":
            made[name] = factors((n, o), dtype)
        elif name == "noise":
            made[name] = random((1 if shared_noise else n, 1, h, w), dtype)
        else:
            made[name] = random((o,) if name == "b" else shape, dtype, memory_format)
    return made


def check_mask(mask: Tensor, y: Tensor, v: Tensor, activated: Tensor, formula) -> None:
    """Compare the bits, in y's memory order, where rounding cannot turn them."""
    assert mask.dtype == torch.uint8 and mask.shape == ((y.numel() + 3) // 4,)
    codes = (mask[:, None] >> 2 * torch.arange(4) & 3).flatten()
    assert not codes[y.numel() :].any(), "bits beyond the last element"
    last = not y.is_contiguous()
    v, activated = ((t.permute(0, 2, 3, 1) if last else t).flatten() for t in (v, activated))
    tolerance = 16 * torch.finfo(y.dtype).eps * v.abs().amax() if v.numel() else 0.0
    codes, clamp = codes[: y.numel()], formula[3]
    sure = v.abs() > tolerance
    assert torch.equal((codes & 1)[sure] == 1, (v > 0)[sure])
    sure = (activated.abs() - clamp).abs() > tolerance
    assert torch.equal((codes & 2)[sure] == 2, (activated.abs() > clamp)[sure] & (clamp >= 0))


def check_convolution(raw, case: str, dtype: torch.dtype, memory_format: str, names, formula, keep: bool) -> None:
    shape, taps, stride, transposed, padding = CONVOLUTIONS[case]
    x, w = random(shape, dtype, memory_format), random(taps, dtype) / taps[1] ** 0.5
    in_scale = factors(shape[:2], dtype) if "in_scale" in names else None
    u = exact_convolution(x, w, in_scale, stride, transposed, padding)
    operands = make_operands([name for name in names if name in OPERANDS], u.shape, dtype, memory_format)
    exact, v, activated = exact_epilogue(u, operands, formula)
    poison_allocator(exact.to(dtype))
    y, mask = raw("conv2d")(x, w, in_scale, stride, transposed, *padding, *operands.values(), *formula, keep, False)
    assert y.dtype == dtype and lies(y, memory_format)
    assert_close_to(y, exact)
    if keep:
        check_mask(mask, y, v, activated, formula)
    else:
        assert mask.shape == (0,)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolution(raw, case, memory_format):
    check_convolution(raw, case, torch.float32, memory_format, ["in_scale"], LINEAR, False)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_layer(raw, case, memory_format):
    check_convolution(raw, case, torch.float32, memory_format, ["in_scale", *OPERANDS], LRELU, True)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_IDS)
def test_layer_in_every_type(raw, dtype, memory_format):
    for case in ("3x3", "stride2", "transposed-even"):
        check_convolution(raw, case, dtype, memory_format, ["in_scale", *OPERANDS], LRELU, True)


@pytest.mark.parametrize("name", [*OPERANDS, "in_scale"])
def test_each_operand(raw, name):
    check_convolution(raw, "1x1", torch.float32, "channels_last", [name], (1, 0.0, 2.0, -1.0), True)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_weight_gradient(raw, case, memory_format):
    check_weight_gradient(raw, case, torch.float32, memory_format)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_IDS)
def test_weight_gradient_in_every_type(raw, dtype, memory_format):
    for case in ("3x3", "transposed-even"):
        check_weight_gradient(raw, case, dtype, memory_format)


def check_weight_gradient(raw, case: str, dtype: torch.dtype, memory_format: str) -> None:
    shape, taps, stride, transposed, padding = CONVOLUTIONS[case]
    for in_scale in (None, factors(shape[:2], dtype)):
        x, w = random(shape, dtype, memory_format), torch.zeros(taps, dtype=torch.float64, requires_grad=True)
        y = exact_convolution(x, w, in_scale, stride, transposed, padding)
        dy = random(y.shape, dtype, memory_format)
        (exact,) = torch.autograd.grad(y, w, dy.double())
        poison_allocator(exact.to(dtype))
        dw = raw("conv2d_weight_gradient")(x, dy, in_scale, *taps[2:], stride, transposed, *padding, False)
        assert dw.dtype == dtype
        assert_close_to(dw, exact)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_IDS)
@pytest.mark.parametrize("shape", IMAGES)
def test_epilogue(raw, shape, dtype, memory_format):
    check_epilogue(raw, shape, dtype, memory_format)


def check_epilogue(raw, shape: str, dtype: torch.dtype, memory_format: str) -> None:
    u = random(IMAGES[shape], dtype, memory_format)
    for names, formula, keep in (
        (OPERANDS, LRELU, True),
        (["noise"], (1, 0.0, 0.7, -1.0), True),
        (["scale", "b"], (0, 0.0, 1.3, 0.8), False),
        ([], (2, -0.5, 1.0, -1.0), False),
    ):
        operands = make_operands(names, u.shape, dtype, memory_format, shared_noise=keep)
        exact, v, activated = exact_epilogue(u, operands, formula)
        poison_allocator(u)
        y, mask = raw("conv2d_epilogue")(u, *operands.values(), *formula, keep)
        assert lies(y, memory_format)
        assert_close_to(y, exact)
        if keep:
            check_mask(mask, y, v, activated, formula)
        else:
            assert mask.shape == (0,)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_IDS)
@pytest.mark.parametrize("shape", IMAGES)
def test_epilogue_backward(raw, shape, dtype, memory_format):
    check_epilogue_backward(raw, shape, dtype, memory_format)


def check_epilogue_backward(raw, shape: str, dtype: torch.dtype, memory_format: str) -> None:
    u, dy = (random(IMAGES[shape], dtype, memory_format) for _ in range(2))
    for names, formula, keep in (
        (["scale", "noise", "b"], LRELU, True),
        (["scale", "noise"], (1, 0.0, 0.7, -1.0), True),
        (["scale", "b"], (0, 0.0, 1.3, -1.0), False),
        (["noise"], (2, 0.2, 1.0, -1.0), True),
    ):
        operands = make_operands(names, u.shape, dtype, memory_format, shared_noise=formula[0] == 1)
        y, mask = raw("conv2d_epilogue")(u, *operands.values(), *formula, keep)
        exact = exact_gradients(u, operands, formula, dy)
        needs = ["scale" in names, "noise" in names, "b" in names]
        poison_allocator(u)
        du, *sums = raw("conv2d_epilogue_backward")(
            dy, mask if keep else None, y if needs[0] else None, *list(operands.values())[:3], *formula, *needs
        )
        assert du.dtype == dtype and lies(du, memory_format)
        assert_close_to(du, exact["u"])
        for name, need, mine in zip(("scale", "noise", "b"), needs, sums, strict=True):
            if not need:
                assert mine.shape == (0,)
            elif name == "scale":
                check_scale_gradient(mine, exact[name], dy, y, operands["scale"])
            else:
                assert mine.dtype == dtype
                assert_close_to(mine, exact[name])


def exact_gradients(u: Tensor, operands: dict[str, Tensor | None], formula, dy: Tensor) -> dict[str, Tensor]:
    """Of u and of what there is of scale, noise (for each sample) and b, by autograd in float64."""
    leaves = {name: t.double() for name, t in {"u": u, **operands}.items() if t is not None}
    if "noise" in leaves:
        leaves["noise"] = leaves["noise"].expand(len(u), -1, -1, -1).clone()
    for leaf in leaves.values():
        leaf.requires_grad_()
    y = exact_epilogue(leaves["u"], {name: leaves.get(name) for name in OPERANDS}, formula)[0]
    return dict(zip(leaves, torch.autograd.grad(y, [*leaves.values()], dy.double()), strict=True))


def check_scale_gradient(mine: Tensor, exact: Tensor, dy: Tensor, y: Tensor, scale: Tensor | None) -> None:
    """u is found from y, which was rounded: by that much of dy·y / scale the sum may be wrong."""
    assert scale is not None and mine.dtype == scale.dtype
    terms = (dy.double() * y.double()).abs().sum([2, 3]) / scale.double() + exact.abs()
    assert ((mine.double() - exact).abs() <= 2 * torch.finfo(y.dtype).eps * terms).all()


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_IDS)
@pytest.mark.parametrize("shape", IMAGES)
def test_style_gradient(raw, shape, dtype, memory_format):
    dz, x = (random(IMAGES[shape], dtype, memory_format) for _ in range(2))
    styles = random(IMAGES[shape][:2], torch.float64).to(factors((1,), dtype).dtype)
    poison_allocator(x)
    dx, dstyles = raw("conv2d_style_gradient")(dz, x, styles)
    assert dx.dtype == dtype and lies(dx, memory_format) and dstyles.dtype == styles.dtype
    assert_close_to(dx, styles.double()[:, :, None, None] * dz.double())
    assert_close_to(dstyles, (x.double() * dz.double()).sum([2, 3]))


def test_infinite_numbers(raw):
    """relu makes 0 of -inf, and lets no infinite gradient through; NaN stays."""
    u = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0]).view(1, 1, 2, 2)
    y, mask = raw("conv2d_epilogue")(u, None, None, None, None, 1, 0.0, 1.0, 0.5, True)
    torch.testing.assert_close(y.flatten(), torch.tensor([float("nan"), 0.5, 0.0, 0.0]), equal_nan=True)
    assert [byte & 0b11111100 for byte in mask.tolist()] == [0b00001100]  # either bit of NaN stops its gradient
    dy = torch.full_like(u, float("inf"))
    du = raw("conv2d_epilogue_backward")(dy, mask, None, None, None, None, 1, 0.0, 1.0, 0.5, False, False, False)[0]
    assert du.flatten().tolist() == [0, 0, 0, 0]
