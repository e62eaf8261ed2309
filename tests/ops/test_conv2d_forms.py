"""The forms of the raw operator `conv2d` of CUDA, by the shim: which a shape gets; all are the same sums."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from tests.ops.plans import FORMS, planned
from tests.ops.test_conv2d import CASES, DTYPES, Conv, Layer, check_weight_gradient, launched

pytestmark = pytest.mark.usefixtures("shim")

# Several wide tiles each way.
WIDE = Conv((2, 24, 13, 11), (136, 3, 3), (1, 1, 1, 1))
WIDE_UP = Conv((2, 24, 11, 13), (136, 3, 3), stride=2, transposed=True)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def forms_of(call: Callable[[], object]) -> list[str]:
    """Of the tiles that a call has launched a product of."""
    before = launched()
    call()
    return [form for name in launched() - before for form in FORMS if f" {form} " in name]


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("operands", [["b"], ["in_scale", "scale", "b"]], ids=["streamed", "scaled"])
def test_forms(precision, operands):
    """All are the same sums, in the same order; a form that a dtype has none of is the shape's."""
    layer = Layer.random(WIDE, precision, act="lrelu", clamp=0.7, keep_mask=True).with_operands(*operands)
    layer.check()
    found = layer.run()
    for form in FORMS:
        with planned(form):
            there_is = form in ("small", "narrow") or (form == "wide" and precision != "fp64")
            assert forms_of(layer.check) == [form if there_is else "small"]
            assert all(map(torch.equal, layer.run(), found))


@pytest.mark.parametrize("precision", ["fp64", "fp32", "bf16"])
def test_the_form_of_a_shape(monkeypatch, precision):
    """Wide tiles from 256 of them on, on a GPU as on the CPU."""
    many, fewer = (Layer.random(Conv((1, 8, rows, 128), (72, 1, 1)), precision) for rows in (256, 255))
    wide = "small" if precision == "fp64" else "wide"
    assert [forms_of(many.check), forms_of(fewer.run)] == [[wide], ["small"]]
    assert forms_of(replace(many, w=many.w[:16].contiguous()).run) == ["narrow"]
    to_64, fewer_to_64 = (replace(layer, w=layer.w[:64].contiguous()) for layer in (many, fewer))
    assert forms_of(to_64.run) == ["small"]
    monkeypatch.setenv("FASTGAN_SHIM_WARPGROUPS", "1")
    halves = precision in ("fp16", "bf16")
    assert forms_of(many.check) == ["warpgroup" if halves else wide]
    assert [forms_of(to_64.check), forms_of(fewer_to_64.run)] == [["warpgroup64" if halves else "small"], ["small"]]


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("operands", [["b"], ["in_scale", "scale", "b"]], ids=["streamed", "scaled"])
@pytest.mark.parametrize("conv", [WIDE, WIDE_UP], ids=["3x3", "3x3-up"])
def test_warpgroups(monkeypatch, conv, precision, operands):
    """What GPUs of compute capability 9.0 have instead: the same numbers as the other forms."""
    layer = Layer.random(conv, precision, act="lrelu", clamp=0.7, keep_mask=True).with_operands(*operands)
    found = layer.run()
    monkeypatch.setenv("FASTGAN_SHIM_WARPGROUPS", "1")
    for form in ("warpgroup", "warpgroup64"):
        with planned(form):
            assert forms_of(layer.check) == [form]
            assert all(map(torch.equal, layer.run(), found))


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("case", ["3x3", "3x3-up-padded", "4x4-down-rgb", "1x1-to-rgb", "3x3-up-one-pixel"])
@pytest.mark.parametrize("splits", [2, 5])
def test_splits(splits, case, precision):
    """Some have nothing to sum; the rest is the same in every form, and in every run."""
    layer = Layer.random(CASES[case], precision, act="lrelu", clamp=0.7, keep_mask=True)
    layer = layer.with_operands("in_scale", "scale", "noise", "b", "residual")
    with planned(splits=splits):
        before = launched()
        layer.check()
        assert sum(name.startswith("conv2d sum") for name in launched() - before) == 1
        found = layer.run()
    for form in ("wide", "small", "narrow"):
        with planned(form, splits):
            assert all(map(torch.equal, layer.run(), found))


@pytest.mark.parametrize("precision", ["fp64", "fp32", "bf16"])
@pytest.mark.parametrize("conv", [Conv((2, 24, 4, 4), (o, 1, 1)) for o in (6, 21)], ids=str)
def test_a_mask_of_splits(conv, precision):
    """Whose bytes pixels share."""
    with planned(splits=2):
        Layer.random(conv, precision, act="lrelu", clamp=0.7, keep_mask=True).check()


@pytest.mark.parametrize(
    ("precision", "conv", "splits"),
    [
        ("fp32", Conv((1, 128, 4, 4), (128, 3, 3), (1, 1, 1, 1)), 6),
        ("tf32", Conv((1, 128, 4, 4), (128, 3, 3), (1, 1, 1, 1)), 6),
        ("tf32", Conv((1, 64, 4, 4), (128, 3, 3), stride=2, transposed=True), 1),
        ("tf32", Conv((1, 128, 4, 4), (16, 3, 3), stride=2, transposed=True), 2),
        ("fp64", Conv((1, 192, 132, 64), (32, 1, 1)), 2),
        ("fp64", Conv((1, 192, 133, 64), (32, 1, 1)), 1),
    ],
    ids=str,
)
def test_the_splits_of_a_shape(precision, conv, splits):
    """Long sums have some where tiles are few, for up to 264 blocks. Sums tell how they were made."""
    layer = Layer.random(conv, precision)
    y, _ = layer.run()
    for number in range(1, splits + 2):
        with planned(splits=number):
            assert torch.equal(layer.run()[0], y) == (number == splits), number


@pytest.mark.parametrize("precision", ["tf32", "fp16", "bf16"])
@pytest.mark.parametrize("operands", [["b"], ["in_scale", "scale", "b"]], ids=["streamed", "scaled"])
def test_two_blocks_fit_a_multiprocessor_of_100_kib(monkeypatch, precision, operands):
    """Which the shim sees to. The same numbers."""
    layer = Layer.random(WIDE, precision, act="lrelu", clamp=0.7, keep_mask=True).with_operands(*operands)
    with planned("wide"):
        found = layer.run()
        monkeypatch.setenv("FASTGAN_SHIM_LITTLE_SHARED", "1")
        assert forms_of(layer.check) == ["wide"]
        assert all(map(torch.equal, layer.run(), found))
        check_weight_gradient(layer)
    with planned("wide", stages=4), pytest.raises(RuntimeError, match="leaves a second one no shared memory"):
        layer.run()
