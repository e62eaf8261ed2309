"""The raw operators `conv2d` and `conv2d_weight_gradient` of CUDA, run by the shim, against torch's convolutions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.ops.cases import arranged, assert_close_to, poison_allocator

pytestmark = pytest.mark.usefixtures("shim")

DTYPES = {
    "fp64": torch.float64,
    "fp32": torch.float32,
    "tf32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}
ACTS = {"linear": 0, "relu": 1, "lrelu": 2}


@dataclass(frozen=True)
class Conv:
    """x's shape, w's but for the channels of x, padding x0, x1, y0, y1."""

    x: tuple[int, int, int, int]
    w: tuple[int, int, int]
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    stride: int = 1
    transposed: bool = False

    @property
    def geometry(self) -> tuple:
        """What every operator takes."""
        return (self.stride, self.transposed, *self.padding)


CASES = {
    "1x1": Conv((2, 24, 5, 7), (40, 1, 1)),
    "1x1-to-rgb": Conv((1, 40, 9, 5), (3, 1, 1)),
    "1x1-from-rgb": Conv((3, 3, 5, 4), (24, 1, 1)),
    "3x3": Conv((1, 72, 7, 9), (40, 3, 3), (1, 1, 1, 1)),
    "3x3-one-channel": Conv((2, 1, 6, 5), (1, 3, 3), (1, 1, 1, 1)),
    "3x3-rgb": Conv((2, 3, 9, 8), (72, 3, 3), (1, 1, 1, 1)),
    "3x3-images": Conv((3, 8, 3, 3), (20, 3, 3), (1, 1, 1, 1)),
    "2x3-uneven-padding": Conv((2, 24, 5, 7), (24, 2, 3), (2, 0, 1, 3)),
    "3x3-cropped": Conv((2, 24, 9, 8), (18, 3, 3), (-1, -2, 1, -3)),
    "3x3-one-pixel": Conv((2, 24, 1, 1), (40, 3, 3), (1, 1, 1, 1)),
    "3x3-tiles": Conv((1, 16, 13, 11), (130, 3, 3), (1, 1, 1, 1)),
    "3x3-down": Conv((2, 24, 9, 11), (40, 3, 3), (1, 1, 1, 1), stride=2),
    "4x4-down-rgb": Conv((1, 3, 10, 8), (24, 4, 4), (1, 1, 1, 1), stride=2),
    "1x1-down": Conv((2, 24, 5, 6), (17, 1, 1), stride=2),
    "2x3-down3": Conv((1, 5, 11, 13), (3, 2, 3), (1, 0, 0, 2), stride=3),
    "3x3-up": Conv((2, 24, 5, 4), (40, 3, 3), stride=2, transposed=True),
    "3x3-up-padded": Conv((1, 40, 5, 7), (24, 3, 3), (1, 0, -1, 2), stride=2, transposed=True),
    "2x3-up3": Conv((2, 3, 4, 3), (5, 2, 3), (0, 1, 1, -2), stride=3, transposed=True),
    "1x1-up": Conv((1, 24, 3, 5), (3, 1, 1), stride=2, transposed=True),
    "3x3-turned": Conv((2, 24, 5, 7), (40, 3, 3), (1, 1, 1, 1), transposed=True),
    "3x3-up-one-pixel": Conv((3, 1, 1, 1), (1, 3, 3), stride=2, transposed=True),
    "empty": Conv((0, 24, 5, 7), (40, 3, 3), (1, 1, 1, 1)),
}


def launched() -> Counter[str]:
    """How often each kernel has run."""
    from tests.ops import shim

    return Counter(shim.launches())


def convolution(x: Tensor, w: Tensor, conv: Conv) -> Tensor:
    """By torch, in the dtype of the tensors."""
    x0, x1, y0, y1 = conv.padding
    if conv.transposed:
        return F.pad(F.conv_transpose2d(x, w.transpose(0, 1), stride=conv.stride), (-x0, -x1, -y0, -y1))
    return F.conv2d(F.pad(x, (x0, x1, y0, y1)), w, stride=conv.stride)


def as_tf32(x: Tensor) -> Tensor:
    """float32 with 10 bits of mantissa, to nearest, ties away from 0."""
    return ((x.float().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


@dataclass(frozen=True)
class Layer:
    """Everything that `conv2d` takes."""

    x: Tensor
    w: Tensor
    conv: Conv
    in_scale: Tensor | None = None
    scale: Tensor | None = None
    noise: Tensor | None = None
    b: Tensor | None = None
    residual: Tensor | None = None
    act: str = "linear"
    alpha: float = 0.2
    gain: float = 1.0
    clamp: float = -1.0
    keep_mask: bool = False
    tf32: bool = False

    @classmethod
    def random(cls, conv: Conv, precision: str, **options) -> Layer:
        dtype, (o, kh, kw) = DTYPES[precision], conv.w
        x = arranged(torch.randn(conv.x).to(dtype), "channels_last")
        w = torch.randn(o, conv.x[1], kh, kw).div(max(1, conv.x[1] * kh * kw) ** 0.5).to(dtype)
        return cls(x, w, conv, tf32=precision == "tf32", **options)

    def product(self, x: Tensor, w: Tensor) -> Tensor:
        """Of the tensors as they are, by torch."""
        return convolution(x, w, self.conv)

    def with_operands(self, *names: str) -> Layer:
        """With random operands of the epilogue, or of the load."""
        n, o = self.x.shape[0], self.w.shape[0]
        wide = torch.float64 if self.x.dtype == torch.float64 else torch.float32
        out = self.product(self.x.double(), self.w.double()).shape
        made = {
            "in_scale": lambda: 1 + 0.3 * torch.randn(n, self.x.shape[1], dtype=wide),
            "scale": lambda: 1 + 0.3 * torch.randn(n, o, dtype=wide),
            "noise": lambda: torch.randn(n, 1, *out[2:]).to(self.x.dtype),
            "b": lambda: torch.randn(o).to(self.x.dtype),
            "residual": lambda: arranged(torch.randn(out).to(self.x.dtype), "channels_last"),
        }
        return replace(self, **{name: made[name]() for name in names})

    @property
    def epilogue(self) -> tuple:
        """What every operator takes of it."""
        operands = (self.scale, self.noise, self.b, self.residual)
        return (*operands, ACTS[self.act], self.alpha, self.gain, self.clamp, self.keep_mask)

    def run(self) -> tuple[Tensor, Tensor]:
        """By the shim."""
        poison_allocator(self.x)
        inputs = (self.x, self.w, self.in_scale)
        return torch.ops.fastgan.conv2d_shim(*inputs, *self.conv.geometry, *self.epilogue, self.tf32)

    def formula(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """y, v and act(v)·gain by torch in `dtype`. x is scaled and, for tensor cores, rounded as the kernels do."""
        x, w = self.x, self.w
        if self.in_scale is not None:
            x = (x.to(self.in_scale.dtype) * self.in_scale[:, :, None, None]).to(x.dtype)
        if self.tf32:
            x, w = as_tf32(x), as_tf32(w)
        v = self.product(x.to(dtype), w.to(dtype))
        if self.scale is not None:
            v = v * self.scale.to(dtype)[:, :, None, None]
        if self.noise is not None:
            v = v + self.noise.to(dtype)
        if self.b is not None:
            v = v + self.b.to(dtype)[:, None, None]
        slope = {"linear": 1.0, "relu": 0.0, "lrelu": self.alpha}[self.act]
        u = torch.where(v > 0, v, slope * v) * self.gain
        y = u if self.clamp < 0 else u.clamp(-self.clamp, self.clamp)
        return (y if self.residual is None else y + self.residual.to(dtype)), v, u

    def check(self) -> None:
        """y and the mask are those of the formula in float64."""
        y, mask = self.run()
        exact, v, u = self.formula(torch.float64)
        assert y.is_contiguous(memory_format=torch.channels_last)
        assert_close_to(y, exact, self.formula(torch.float32)[0].to(y.dtype))
        assert mask.shape == ((y.numel() + 3) // 4 if self.keep_mask else 0,)
        if self.keep_mask:
            codes = (mask[:, None] >> torch.tensor([0, 2, 4, 6]) & 3).flatten()[: y.numel()]
            n, o, h, w = y.shape
            codes = codes.view(n, h, w, o).permute(0, 3, 1, 2)
            clear = v.abs() > 1e-4 * v.abs().max()
            assert ((codes & 1).bool() == (v > 0))[clear].all()
            limit = self.clamp if self.clamp >= 0 else float("inf")
            clear = (u.abs() - limit).abs() > 1e-4 * u.abs().max()
            assert ((codes > 1) == (u.abs() > limit))[clear].all()


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_known_answers():
    """An impulse gives w turned by 180°; transposed, w itself."""
    x = torch.zeros(1, 1, 3, 3)
    x[0, 0, 1, 1] = 2
    w = torch.arange(9.0).view(1, 1, 3, 3)
    plain = Layer(x, w, Conv((1, 1, 3, 3), (1, 3, 3), (1, 1, 1, 1)))
    assert plain.run()[0].tolist() == [[[[16, 14, 12], [10, 8, 6], [4, 2, 0]]]]
    up = replace(plain, x=x[:, :, 1:2, 1:2], conv=Conv((1, 1, 1, 1), (1, 3, 3), stride=2, transposed=True))
    assert up.run()[0].tolist() == [[[[0, 2, 4], [6, 8, 10], [12, 14, 16]]]]


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_forward(case, precision):
    layer = Layer.random(CASES[case], precision)
    layer.check()
    replace(layer.with_operands("in_scale"), w=arranged(layer.w, "channels_last")).check()


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("case", ["3x3-images", "1x1-to-rgb", "3x3-up", "4x4-down-rgb"])
@pytest.mark.parametrize("act", ACTS)
def test_epilogue(case, precision, act):
    layer = Layer.random(CASES[case], precision, act=act, gain=1.4)
    for name in ("scale", "noise", "b", "residual"):
        layer.with_operands(name).check()
    layer = replace(layer, clamp=0.8, keep_mask=True)
    layer.check()
    every = layer.with_operands("in_scale", "scale", "noise", "b", "residual")
    every.check()
    assert every.noise is not None
    replace(every, noise=every.noise[:1]).check()


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("o", [1, 3, 4, 6, 20, 21])
def test_mask(precision, o):
    """Also where a byte of it belongs to several pixels."""
    layer = Layer.random(Conv((3, 8, 5, 3), (o, 1, 1)), precision, act="lrelu", clamp=0.7, keep_mask=True)
    layer.check()


@pytest.mark.parametrize("precision", DTYPES)
def test_many_channels(precision):
    layer = Layer.random(Conv((1, 512, 3, 3), (512, 3, 3), (1, 1, 1, 1)), precision).with_operands("in_scale", "b")
    layer.check()


def copies_weights(layer: Layer) -> bool:
    before = launched()
    layer.check()
    return any(name.startswith("conv2d weights") for name in launched() - before)


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("case", ["3x3-images", "3x3-up", "1x1", "3x3-down"])
def test_weights_that_lie_as_they_are_read_are_not_copied(case, precision):
    layer = Layer.random(CASES[case], precision)
    assert not copies_weights(replace(layer, w=arranged(layer.w, "channels_last")))
    assert copies_weights(layer) == (case != "1x1")
    assert copies_weights(replace(layer, w=arranged(layer.w, "unaligned")))


@pytest.mark.parametrize("precision", DTYPES)
def test_unaligned(precision):
    """Nothing begins at 16 bytes."""

    def shifted(t: Tensor | None) -> Tensor | None:
        if t is None:
            return None
        if t.ndim < 4:
            return arranged(t, "unaligned")
        return arranged(t.permute(0, 2, 3, 1).contiguous(), "unaligned").permute(0, 3, 1, 2)

    conv = CASES["3x3-images"]
    layer = Layer.random(conv, precision, clamp=0.8, keep_mask=True)
    layer = layer.with_operands("in_scale", "scale", "noise", "b", "residual")
    names = ("x", "w", "in_scale", "scale", "noise", "b", "residual")
    layer = replace(layer, **{name: shifted(getattr(layer, name)) for name in names})
    assert all(getattr(layer, name).data_ptr() % 16 for name in names)
    layer.check()
    check_weight_gradient(layer)


def check_weight_gradient(layer: Layer) -> None:
    out = convolution(layer.x.double(), layer.w.double(), layer.conv)
    dy = arranged(torch.randn(out.shape).to(layer.x.dtype), "channels_last")
    poison_allocator(dy)
    dw = torch.ops.fastgan.conv2d_weight_gradient_shim(
        layer.x, dy, layer.in_scale, *layer.conv.w[1:], *layer.conv.geometry, layer.tf32
    )

    def formula(dtype: torch.dtype) -> Tensor:
        x, g = layer.x, dy
        if layer.in_scale is not None:
            x = (x.to(layer.in_scale.dtype) * layer.in_scale[:, :, None, None]).to(x.dtype)
        if layer.tf32:
            x, g = as_tf32(x), as_tf32(g)
        w = layer.w.to(dtype).contiguous().requires_grad_()
        return torch.autograd.grad(convolution(x.to(dtype), w, layer.conv), w, g.to(dtype))[0]

    assert dw.is_contiguous()
    assert_close_to(dw, formula(torch.float64), formula(torch.float32).to(dw.dtype))


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_weight_gradient(case, precision):
    layer = Layer.random(CASES[case], precision)
    check_weight_gradient(layer)
    check_weight_gradient(layer.with_operands("in_scale"))


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize(
    "conv",
    [
        Conv((2, 40, 37, 23), (72, 3, 3), (1, 1, 1, 1)),
        Conv((2, 72, 17, 13), (16, 3, 3), stride=2, transposed=True),
        Conv((1, 3, 70, 65), (8, 1, 1)),
    ],
    ids=["3x3", "3x3-up", "1x1-from-rgb"],
)
def test_weight_gradient_of_many_pixels(conv, precision):
    """In several slices."""
    check_weight_gradient(Layer.random(conv, precision))
    check_weight_gradient(Layer.random(conv, precision).with_operands("in_scale"))


def test_errors():
    layer = Layer.random(CASES["3x3"], "fp32")
    wrong = {
        "x must be channels_last": replace(layer, x=layer.x.contiguous()),
        "w must be .* dtype of x": replace(layer, w=layer.w.double()),
        "w must be .O, I, kh, kw., with the channels": replace(layer, w=layer.w[:, :5]),
        "in_scale must be .* .1, 72.": replace(layer, in_scale=torch.ones(2, 72)),
        "scale must be .*float32": replace(layer, scale=torch.ones(1, 40, dtype=torch.float64)),
        "noise must be .*1, 7, 9": replace(layer, noise=torch.ones(1, 1, 9, 7)),
        "b must be .*.40.": replace(layer, b=torch.ones(41)),
        "residual must be .*.1, 40, 7, 9.": replace(layer, residual=torch.ones(1, 40, 9, 7)),
        "stride must be": replace(layer, conv=replace(layer.conv, stride=0)),
        "as large as the taps": replace(layer, conv=replace(layer.conv, padding=(-4, -4, 0, 0))),
    }
    for message, case in wrong.items():
        with pytest.raises(RuntimeError, match=message):
            case.run()
    with pytest.raises(RuntimeError, match=r"dy must be \[1, 40, 7, 9\]"):
        dy = arranged(torch.ones(1, 40, 9, 7), "channels_last")
        torch.ops.fastgan.conv2d_weight_gradient_shim(layer.x, dy, None, 3, 3, *layer.conv.geometry, False)
