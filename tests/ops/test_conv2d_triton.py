"""What the tests of a layer's passes leave open about Triton's kernels: many programs, slices and 64-bit offsets."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.ops import test_conv2d_layer_raw as layer
from tests.ops.cases import arranged


@pytest.fixture(params=["many-programs", "wide-offsets"])
def raw(request, interpreter, monkeypatch):
    """The raw operators, launched as for tensors too large for a test, sums and products of 32-bit integers checked."""
    from fastgan.kernels import conv2d_launch, launch

    if request.param == "many-programs":
        for key, tile in launch.TILES.items():
            monkeypatch.setitem(launch.TILES, key, dataclasses.replace(tile, elements=64, programs=3))
        for key, block in conv2d_launch.BLOCKS.items():
            monkeypatch.setitem(conv2d_launch.BLOCKS, key, dataclasses.replace(block, rows=16, columns=16, depth=16))
        for name, value in {"_FEWEST_TERMS": 32, "_SUM_ELEMENTS": 64}.items():
            monkeypatch.setattr(conv2d_launch, name, value)
        for name, value in {"_SUM_CHANNELS": 16, "_SUM_TERMS": 4}.items():
            monkeypatch.setattr(launch, name, value)
    else:
        monkeypatch.setattr(launch, "WIDEST", 0)
    with interpreter.selected(overflow_checks=True):
        yield lambda name: getattr(torch.ops.fastgan, f"{name}_interpreter")


@pytest.mark.parametrize("memory_format", layer.FORMATS)
@pytest.mark.parametrize("case", ["square", "oblong", "stride2", "transposed-even", "transposed-gaps"])
def test_layer(raw, case, memory_format):
    names = ["in_scale", *layer.OPERANDS]
    layer.check_convolution(raw, case, torch.float32, memory_format, names, layer.LRELU, True)


@pytest.mark.parametrize("memory_format", layer.FORMATS)
@pytest.mark.parametrize("case", ["square", "cropped", "transposed-even"])
def test_weight_gradient(raw, case, memory_format):
    layer.check_weight_gradient(raw, case, torch.float32, memory_format)


@pytest.mark.parametrize("memory_format", layer.FORMATS)
@pytest.mark.parametrize("shape", ["even", "many"])
def test_passes(raw, shape, memory_format):
    layer.check_epilogue(raw, shape, torch.float32, memory_format)
    layer.check_epilogue_backward(raw, shape, torch.float32, memory_format)


def test_one_launch_writes_the_mask_where_it_can(interpreter, monkeypatch):
    """And where bytes are shared by programs the epilogue is a launch of its own, whose numbers were not rounded."""
    from fastgan.kernels.launch import Plan

    launched, launch = [], Plan.launch

    def counted(plan: Plan) -> None:
        launched.append(plan.kernel.__name__)
        launch(plan)

    monkeypatch.setattr(Plan, "launch", counted)
    # channels of y, a side of it, whether it is transposed by 2, and formats in which the mask is of the same launch
    for channels, side, transposed, whole in (
        (4, 6, False, {"contiguous", "channels_last"}),
        (4, 5, False, {"channels_last"}),
        (3, 6, False, {"contiguous"}),
        (3, 5, False, set()),
        (4, 6, True, {"channels_last"}),
    ):
        for memory_format in layer.FORMATS:
            x = arranged(
                torch.randn(1, 2, side // (2 if transposed else 1), side // (2 if transposed else 1)), memory_format
            )
            w, padding = torch.randn(channels, 2, 2 if transposed else 1, 2 if transposed else 1), (0, 0, 0, 0)
            geometry = (2 if transposed else 1, transposed, *padding)
            for keep in (True, False):
                launched.clear()
                with interpreter.selected():
                    torch.ops.fastgan.conv2d_interpreter(
                        x, w, None, *geometry, None, None, None, None, *layer.LRELU, keep, False
                    )
                extra = [] if not keep or memory_format in whole else ["conv2d_epilogue_kernel"]
                assert launched == ["conv2d_kernel", *extra]


def test_weights_in_any_layout_give_the_same(interpreter):
    x, w = torch.randn(2, 3, 5, 6), torch.randn(4, 3, 3, 3)
    rest = (None, 1, False, 1, 1, 1, 1, None, None, None, None, *layer.LINEAR, False, False)
    with interpreter.selected():
        ys = [
            torch.ops.fastgan.conv2d_interpreter(x, v, *rest)[0]
            for v in (w, w.contiguous(memory_format=torch.channels_last), w.mT.contiguous().mT)
        ]
    assert torch.equal(ys[0], ys[1]) and torch.equal(ys[0], ys[2])
