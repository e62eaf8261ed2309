"""The raw operator `conv2d_up` of CUDA, run by the shim: transposed convolution, FIR and epilogue at once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fastgan.ops.conv2d_layer.gpu_passes import GpuPasses
from fastgan.ops.conv2d_layer.passes import Convolution, Epilogue, Passes
from fastgan.ops.fir import FirPass
from tests.ops.cases import arranged, assert_close_to, poison_allocator
from tests.ops.layers import TAPS
from tests.ops.plans import planned
from tests.ops.test_conv2d import ACTS, DTYPES, Conv, Layer, copies_weights, launched
from tests.ops.test_conv2d_forms import forms_of

pytestmark = pytest.mark.usefixtures("shim")
PRECISIONS = [name for name in DTYPES if name != "fp64"]


def up(x: tuple[int, int, int, int], o: int, *padding: int) -> Conv:
    """padding: the FIR's."""
    return Conv(x, (o, 3, 3), padding, stride=2, transposed=True)  # pyright: ignore[reportArgumentType]


CASES = {
    "stylegan2": up((2, 24, 5, 4), 40, 1, 1, 1, 1),
    "one-pixel": up((3, 8, 1, 1), 8, 1, 1, 1, 1),
    "one-channel": up((2, 1, 6, 5), 1, 1, 1, 1, 1),
    "to-rgb": up((1, 40, 3, 9), 3, 1, 1, 1, 1),
    "from-rgb": up((2, 3, 9, 2), 24, 1, 1, 1, 1),
    "many-channels": up((1, 72, 4, 4), 72, 1, 1, 1, 1),
    "full": up((1, 24, 4, 6), 24, 3, 3, 3, 3),
    "uneven": up((2, 16, 5, 6), 20, 2, 1, 0, 3),
    "odd-rows": up((1, 16, 7, 3), 16, 0, 2, 1, 0),
    "cropped": up((1, 24, 8, 9), 24, -3, -2, -1, -4),
    "far": up((1, 8, 2, 3), 8, 9, 0, -2, 14),
    "tiles": up((1, 16, 11, 13), 33, 1, 1, 1, 1),
    "tiles-uneven": up((2, 24, 13, 15), 40, 2, 0, 0, 1),
    "empty": up((0, 8, 3, 3), 8, 1, 1, 1, 1),
}


@dataclass(frozen=True)
class UpLayer(Layer):
    """Everything that `conv2d_up` takes."""

    f: Tensor = TAPS
    flip: bool = False
    fir_gain: float = 4.0

    def product(self, x: Tensor, w: Tensor) -> Tensor:
        u = F.pad(F.conv_transpose2d(x, w.transpose(0, 1), stride=2), self.conv.padding)
        f = self.f.to(u.dtype) if self.flip else self.f.to(u.dtype).flip(0)
        kernel = (torch.outer(f, f) * self.fir_gain).repeat(u.shape[1], 1, 1, 1)
        return F.conv2d(u, kernel, groups=u.shape[1])

    def run(self) -> tuple[Tensor, Tensor]:
        poison_allocator(self.x)
        return torch.ops.fastgan.conv2d_up_shim(
            self.x,
            self.w,
            self.f,
            self.in_scale,
            *self.conv.padding,
            self.flip,
            self.fir_gain,
            *self.epilogue,
            self.tf32,
        )


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_known_answers():
    """An impulse's kernel is w, here at its middle alone, filtered: a FIR turns round what it meets."""
    x, w = torch.full((1, 1, 1, 1), 2.0), torch.zeros(1, 1, 3, 3)
    w[..., 1, 1] = 5
    layer = UpLayer(x, w, up((1, 1, 1, 1), 1, 3, 3, 3, 3), f=torch.tensor([1.0, 2.0, 3.0, 4.0]), fir_gain=1)
    expected = 10 * torch.outer(layer.f, layer.f)
    assert torch.equal(layer.run()[0][0, 0, 1:5, 1:5], expected)
    assert torch.equal(replace(layer, flip=True).run()[0][0, 0, 1:5, 1:5], expected.flip([0, 1]))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("case", CASES)
def test_forward(case, precision):
    layer = UpLayer.random(CASES[case], precision)
    layer.check()
    replace(layer.with_operands("in_scale"), w=arranged(layer.w, "channels_last"), flip=True, fir_gain=1.0).check()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("case", ["stylegan2", "to-rgb", "uneven"])
@pytest.mark.parametrize("act", ACTS)
def test_epilogue(case, precision, act):
    layer = UpLayer.random(CASES[case], precision, act=act, gain=1.4)
    for name in ("scale", "noise", "b", "residual"):
        layer.with_operands(name).check()
    layer = replace(layer, clamp=0.8, keep_mask=True)
    layer.check()
    every = layer.with_operands("in_scale", "scale", "noise", "b", "residual")
    every.check()
    assert every.noise is not None
    replace(every, noise=every.noise[:1]).check()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("o", [1, 6, 21])
def test_mask(precision, o):
    """Where a byte of it belongs to several pixels."""
    UpLayer.random(up((2, 8, 3, 4), o, 1, 1, 1, 1), precision, act="lrelu", clamp=0.7, keep_mask=True).check()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("operands", [["b"], ["in_scale", "b"]], ids=["streamed", "scaled"])
@pytest.mark.parametrize("conv", ["tiles", "stylegan2"])
def test_forms(conv, precision, operands):
    """The same sums in both."""
    layer = UpLayer.random(CASES[conv], precision, act="lrelu", clamp=0.7, keep_mask=True).with_operands(*operands)
    found = layer.run()
    for form in ("wide", "small"):
        with planned(form):
            assert forms_of(layer.check) == [form]
            assert all(map(torch.equal, layer.run(), found))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_form_of_a_shape(monkeypatch, precision):
    """Wide tiles from 256 of them on, where they do not waste more."""
    by_channels = 2 if precision == "fp32" else 1  # tiles of these 32 channels
    many, fewer, wasteful = (
        UpLayer.random(up((1, 8, rows // by_channels, columns), 32, 1, 1, 1, 1), precision)
        for rows, columns in ((96, 224), (84, 224), (768, 18))
    )
    assert [forms_of(many.check), forms_of(fewer.run), forms_of(wasteful.run)] == [["wide"], ["small"], ["small"]]
    monkeypatch.setenv("FASTGAN_SHIM_LITTLE_SHARED", "1")  # on a GPU whose multiprocessors have room for one such block
    assert forms_of(many.run) == (["wide"] if precision == "fp32" else ["small"])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_weights_that_lie_as_they_are_read_are_not_copied(precision):
    layer = UpLayer.random(CASES["stylegan2"], precision)
    assert not copies_weights(replace(layer, w=arranged(layer.w, "channels_last")))
    assert copies_weights(layer)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_unaligned(precision):
    """Nothing begins at 16 bytes."""
    layer = UpLayer.random(CASES["tiles"], precision, clamp=0.8, keep_mask=True)
    layer = layer.with_operands("in_scale", "scale", "noise", "b", "residual")
    for name in ("x", "w", "in_scale", "scale", "noise", "b", "residual"):
        tensor = getattr(layer, name)
        if tensor.ndim == 4:
            tensor = arranged(tensor.permute(0, 2, 3, 1).contiguous(), "unaligned").permute(0, 3, 1, 2)
        layer = replace(layer, **{name: arranged(tensor, "unaligned") if tensor.ndim < 4 else tensor})
        assert getattr(layer, name).data_ptr() % 16
    layer.check()


@pytest.mark.parametrize(
    ("changes", "fused"),
    [
        ({}, True),
        ({"padding": (0, -1, -1, 0)}, True),
        ({"padding": (0, 1, 0, 0)}, False),
        ({"stride": 3}, False),
        ({"transposed": False}, False),
        ({"f": torch.outer(TAPS, TAPS)}, False),
        ({"f": TAPS[:3]}, False),
        ({"f": None}, False),
        ({"up": (2, 2)}, False),
        ({"down": (2, 2)}, False),
        ({"dtype": torch.float64}, False),
    ],
)
def test_what_is_fused(changes, fused):
    """The same either way."""
    dtype = changes.get("dtype", torch.float32)
    x = arranged(torch.randn(2, 3, 9, 8, dtype=dtype), "channels_last")
    w = torch.randn(4, 3, 3, 3, dtype=dtype)
    settings = {"stride": 2, "transposed": True, "padding": (0, 0, 0, 0), "fast": False}
    convolution = Convolution(**settings | {key: changes[key] for key in settings.keys() & changes})
    settings = {"f": TAPS, "up": (1, 1), "down": (1, 1), "padding": (2, 1, 0, 2), "gain": 4.0}
    settings |= {"flip_filter": True}
    fir = FirPass(**settings | {key: changes[key] for key in ("f", "up", "down") if key in changes})
    if fir.f is not None and dtype == torch.float64:
        fir = fir._replace(f=fir.f.double())
    before = launched()
    y, _ = GpuPasses("shim", contiguous=False, fused_up=True).convolve_up(
        x, w, None, convolution, fir, Epilogue(), False
    )
    assert any(name.startswith("conv2d_up") for name in launched() - before) == fused
    fir = fir._replace(f=fir.f if fir.f is None else fir.f.double())
    exact, _ = Passes("native").convolve_up(x.double(), w.double(), None, convolution, fir, Epilogue(), False)
    assert_close_to(y, exact)


def test_errors():
    layer = UpLayer.random(CASES["stylegan2"], "fp32")
    wrong = {
        "x must not be float64": replace(layer, x=layer.x.double(), w=layer.w.double()),
        "x must be channels_last": replace(layer, x=layer.x.contiguous()),
        r"f must be .*\[4\], in float32": replace(layer, f=torch.ones(3)),
        r"w must be \[O, I, 3, 3\]": replace(layer, w=layer.w[..., :2].contiguous()),
        "as large as the taps": replace(layer, conv=up((2, 24, 5, 4), 40, -6, -6, 0, 0)),
    }
    for message, case in wrong.items():
        with pytest.raises(RuntimeError, match=message):
            case.run()
