"""grid_sample: known answers, forward, gradient, higher derivatives, opcheck, compile, errors."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import gradcheck, gradgradcheck
from torch.utils._python_dispatch import TorchDispatchMode

import fastgan
from fastgan.interop import ops as interop
from fastgan.ops import grid_sample
from tests.ops.cases import DTYPE_IDS, DTYPES, arranged, assert_close_to

PADDINGS = ["zeros", "border", "reflection"]
RULES = pytest.mark.parametrize(("padding", "align_corners"), [(p, a) for p in PADDINGS for a in (False, True)])


def image(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, dtype=torch.float64).to(dtype).requires_grad_()


def places(*shape: int, dtype: torch.dtype = torch.float64, reach: float = 2.1) -> Tensor:
    """Inside and well outside of the image."""
    return ((torch.rand(*shape, 2, dtype=torch.float64) * 2 - 1) * reach).to(dtype).requires_grad_()


def of_dtype(leaves: Sequence[Tensor], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    x, grid = (leaf.detach().to(dtype).requires_grad_() for leaf in leaves)
    return x, grid


def at(*pairs: tuple[float, float]) -> Tensor:
    return torch.tensor(pairs, dtype=torch.float64)[None, None]


def gradients(x: Tensor, grid: Tensor, padding: str, align_corners: bool) -> tuple[Tensor, ...]:
    """Of a function that is curved in y."""
    y = grid_sample(x, grid, padding, align_corners)
    return torch.autograd.grad(y.sin().sum(), (x, grid), create_graph=True)


def second_gradients(x: Tensor, grid: Tensor, padding: str, align_corners: bool) -> tuple[Tensor, ...]:
    dx, dgrid = gradients(x, grid, padding, align_corners)
    return torch.autograd.grad(dx.sin().sum() + dgrid.sin().sum(), (x, grid), create_graph=True)


# 1. known answers


def test_places_between_and_beyond_two_pixels():
    x = torch.tensor([[[[1.0, 3.0]]]], dtype=torch.float64)
    grid = at((-0.5, 0), (0.5, 0), (0.0, 0), (1.5, 0), (-1.0, 0))
    expected = {"zeros": [1, 3, 2, 0, 0.5], "border": [1, 3, 2, 3, 1], "reflection": [1, 3, 2, 3, 1]}
    for padding, values in expected.items():
        assert grid_sample(x, grid, padding).flatten().tolist() == values, padding
    corners = {"zeros": [1.5, 2.5, 2, 2.25, 1], "border": [1.5, 2.5, 2, 3, 1], "reflection": [1.5, 2.5, 2, 2.5, 1]}
    for padding, values in corners.items():
        row = grid_sample(x, torch.stack([grid[..., 0], torch.zeros(1, 1, 5)], dim=-1), padding, True)
        assert row.flatten().tolist() == values, padding


def test_derivatives_inside_of_four_pixels_by_hand():
    x = torch.tensor([[[[1.0, 2.0], [4.0, 9.0]]]], dtype=torch.float64, requires_grad=True)
    grid = at((0.25, -0.5)).requires_grad_()  # pixels (0.625, 0.25), each with slope 1/2 under align_corners
    y = grid_sample(x, grid, align_corners=True)
    dx, dgrid = torch.autograd.grad(y.sum(), (x, grid), create_graph=True)
    assert y.item() == 1 + 0.625 * 1 + 0.25 * 3 + 0.625 * 0.25 * 4
    assert dx.flatten().tolist() == [0.375 * 0.75, 0.625 * 0.75, 0.375 * 0.25, 0.625 * 0.25]
    assert dgrid.flatten().tolist() == [(1 + 0.25 * 4) / 2, (3 + 0.625 * 4) / 2]
    column, row = dgrid.flatten()
    (of_column,) = torch.autograd.grad(column, grid, retain_graph=True)
    assert of_column.flatten().tolist() == [0, 4 / 4]  # (x11 - x10 - x01 + x00)/4
    (of_pixels,) = torch.autograd.grad(row, x)
    assert of_pixels.flatten().tolist() == [-0.375 / 2, -0.625 / 2, 0.375 / 2, 0.625 / 2]


# 2. forward


@RULES
@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_IDS)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "strided"])
def test_forward(padding, align_corners, dtype, layout):
    x, grid = arranged(image(2, 3, 5, 7, dtype=dtype).detach(), layout), places(2, 4, 9, dtype=dtype).detach()
    y = grid_sample(x, grid, padding, align_corners)
    how = {"padding_mode": padding, "align_corners": align_corners}
    exact = F.grid_sample(x.double(), grid.double(), **how)
    assert y.dtype == dtype and y.is_contiguous(
        memory_format=torch.channels_last if layout == "channels_last" else torch.contiguous_format
    )
    assert_close_to(y, exact, F.grid_sample(x, grid, **how))


@pytest.mark.parametrize("shape", [(0, 3, 5, 7), (2, 0, 5, 7), (2, 3, 1, 1)])
@pytest.mark.parametrize("size", [(4, 3), (0, 3)])
def test_empty_and_single(shape, size):
    x, grid = image(*shape), places(shape[0], *size)
    dx, dgrid = second_gradients(x, grid, "border", False)
    assert grid_sample(x, grid).shape == (*shape[:2], *size) and dx.shape == x.shape and dgrid.shape == grid.shape


# 3. gradient


@RULES
def test_gradient(padding, align_corners):
    leaves = image(2, 2, 3, 4), places(2, 3, 3)
    assert gradcheck(lambda x, grid: grid_sample(x, grid, padding, align_corners), leaves)
    for dtype in DTYPES[1:]:
        rounded = of_dtype(leaves, dtype)
        mine = gradients(*rounded, padding, align_corners)
        expected = gradients(*of_dtype(rounded, torch.float64), padding, align_corners)
        for got, exact in zip(mine, expected, strict=True):
            assert got.dtype == dtype
            assert (got.double() - exact).abs().max() < 40 * torch.finfo(dtype).eps * exact.abs().max().clamp_min(1)


class Counted(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **kwargs or {})


def test_what_is_not_asked_for_is_not_computed():
    x, grid = image(2, 3, 5, 7), places(2, 4, 3).detach()
    with Counted() as counted:
        (dx,) = torch.autograd.grad(grid_sample(x, grid).square().sum(), x, create_graph=True)
        dx.square().sum().backward()
    assert counted.names.count("grid_sample") == 2 and "gather" not in counted.names
    assert counted.names.count("grid_sample_backward") == 2


# 4. higher derivatives


@RULES
def test_second_gradient(padding, align_corners):
    leaves = image(2, 2, 3, 4), places(2, 3, 3)
    assert gradgradcheck(lambda x, grid: grid_sample(x, grid, padding, align_corners), leaves)


@RULES
def test_third_gradient(padding, align_corners):
    leaves = image(1, 2, 3, 4), places(1, 2, 3)
    assert gradcheck(lambda x, grid: second_gradients(x, grid, padding, align_corners), leaves)


def test_fourth_gradient():
    leaves = image(1, 2, 3, 4), places(1, 2, 2)
    assert gradgradcheck(lambda x, grid: second_gradients(x, grid, "reflection", False), leaves)


@pytest.mark.parametrize("alone", [0, 1], ids=["image", "places"])
def test_second_gradient_of_one_alone(alone):
    leaves = [image(2, 2, 3, 4), places(2, 3, 3)]
    other = leaves[1 - alone].detach()

    def call(leaf: Tensor) -> Tensor:
        return grid_sample(leaf, other) if alone == 0 else grid_sample(other, leaf)

    assert gradgradcheck(lambda leaf: call(leaf).sin(), leaves[alone])


@pytest.mark.parametrize("dtype", DTYPES[1:], ids=DTYPE_IDS[1:])
def test_second_gradient_of_other_dtypes(dtype):
    leaves = of_dtype([image(2, 3, 5, 4), places(2, 3, 3)], dtype)
    mine = second_gradients(*leaves, "border", False)
    exact = second_gradients(*of_dtype(leaves, torch.float64), "border", False)
    for got, expected in zip(mine, exact, strict=True):
        assert got.dtype == dtype and got.isfinite().all()
        assert (got.double() - expected).norm() < 40 * torch.finfo(dtype).eps * expected.norm()


def test_a_flow_is_found_by_a_penalty_on_what_it_does():
    """A use of all of it: places descend on the norm of the warped image's gradient by them."""
    x, shift = image(1, 1, 8, 8).detach(), torch.zeros(2, dtype=torch.float64, requires_grad=True)
    base = F.affine_grid(torch.eye(2, 3, dtype=torch.float64)[None], [1, 1, 8, 8], align_corners=False)

    def steepness(shift: Tensor) -> Tensor:
        y = grid_sample(x, base + shift, "border")
        return torch.autograd.grad(y.square().sum(), shift, create_graph=True)[0].square().sum()

    assert gradcheck(steepness, (shift + 0.03).detach().requires_grad_())


# 5. opcheck, 6. compile


@pytest.mark.parametrize(("number", "align_corners"), [(0, False), (2, True)])
def test_opcheck(number, align_corners):
    x, grid = image(2, 3, 5, 7), places(2, 4, 3)
    torch.library.opcheck(torch.ops.fastgan.grid_sample.default, (x, grid, number, align_corners))
    dy = image(2, 3, 4, 3)
    for of_x in (False, True):
        arguments = (dy, x, grid, number, align_corners, of_x)
        torch.library.opcheck(torch.ops.fastgan.grid_sample_backward.default, arguments)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_compile(layout):
    def call(x, grid):
        return grid_sample(x, grid, "reflection").square().sum()

    compiled = torch.compile(call, backend="aot_eager", fullgraph=True)
    leaves = arranged(image(2, 3, 5, 7).detach(), layout).requires_grad_(), places(2, 4, 3)
    expected = torch.autograd.grad(call(*leaves), leaves)
    for mine, eager in zip(torch.autograd.grad(compiled(*leaves), leaves), expected, strict=True):
        torch.testing.assert_close(mine, eager, rtol=0, atol=0)


def test_shapes_without_values():
    meta = torch.empty(2, 3, 5, 7, device="meta", requires_grad=True)
    grid = torch.empty(2, 4, 3, 2, device="meta", requires_grad=True)
    assert [each.shape for each in second_gradients(meta, grid, "zeros", False)] == [meta.shape, grid.shape]
    with FakeTensorMode():
        x, grid = torch.empty(2, 3, 5, 7, requires_grad=True), torch.empty(2, 4, 3, 2, requires_grad=True)
        assert [each.shape for each in second_gradients(x, grid, "border", True)] == [x.shape, grid.shape]


def test_it_is_where_others_look_for_it():
    x, grid = image(2, 3, 5, 7), places(2, 4, 3)
    assert fastgan.grid_sample is grid_sample
    assert torch.equal(interop.grid_sample(x, grid), F.grid_sample(x, grid, align_corners=False))
    (dx,) = torch.autograd.grad(interop.grid_sample(x, grid).square().sum(), x, create_graph=True)
    assert dx.requires_grad


# 7. errors


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"x": torch.zeros(3, 5, 7)}, ValueError, r"x must have shape \[N, C, H, W\], H and W at least 1, got \[3, 5"),
        ({"x": torch.zeros(2, 3, 0, 7)}, ValueError, r"H and W at least 1, got \[2, 3, 0, 7\]"),
        ({"x": torch.zeros(2, 3, 5, 7, dtype=torch.int64)}, TypeError, "x must be a floating-point tensor"),
        ({"x": None}, TypeError, "x must be a floating-point tensor, got NoneType"),
        ({"grid": torch.zeros(1, 4, 3, 2)}, ValueError, r"\[N, H', W', 2\]=\[2, H', W', 2\] to match x, got \[1, 4, 3"),
        ({"grid": torch.zeros(2, 4, 3, 3)}, ValueError, r"grid must have shape .*, got \[2, 4, 3, 3\]"),
        ({"grid": torch.zeros(2, 4, 3, 2).double()}, TypeError, "grid must have x's dtype torch.float32, got torch.fl"),
        ({"grid": torch.zeros(2, 4, 3, 2, device="meta")}, ValueError, "grid must be on x's device cpu, got meta"),
        ({"padding_mode": "mirror"}, ValueError, "padding_mode must be one of zeros, border, reflection; got 'mirror'"),
        ({"align_corners": None}, TypeError, "align_corners must be True or False, got NoneType"),
    ],
)
def test_errors(change, error, words):
    with pytest.raises(error, match=words):
        grid_sample(**{"x": torch.zeros(2, 3, 5, 7), "grid": torch.zeros(2, 4, 3, 2)} | change)
