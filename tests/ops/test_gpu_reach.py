"""What the tests of tests.ops.test_gpu call reaches the operators that they are named after: their calls, on a CPU."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fastgan.ops.operator import OPERATORS
from tests.ops import cases_conv2d_layer, cases_gradient_penalty, test_gpu
from tests.ops.operators import cases_of


class Operators(TorchDispatchMode):
    """The names of all that is computed."""

    def __init__(self):
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func._schema.name)
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch, native_provider):
    monkeypatch.setattr(test_gpu, "CUDA", torch.device("cpu"))


def reached(call, *arguments):
    with Operators() as seen:
        call(*arguments)
    return seen.names


def operators_of(op):
    """The operator as torch has it; in parts, where Triton has kernels of these."""
    return {f"fastgan::{name}_native" for name in (op, *OPERATORS[op].triton)}


@pytest.mark.parametrize("op", OPERATORS)
def test_device_calls(op):
    """Those of side streams, graphs and second devices."""
    call, leaves, dy = cases_of(op).device_call(torch.device("cpu"))
    assert reached(test_gpu.derivatives, call, leaves, dy) & operators_of(op)


@pytest.mark.parametrize("op", OPERATORS)
def test_large_calls(op):
    x = torch.randn(1, 3, 6, 5, requires_grad=True)
    assert reached(lambda: cases_of(op).large_call(x).sum().backward()) & operators_of(op)
    assert cases_of(op).large_call(x).shape == x.shape


@pytest.mark.parametrize("settings", cases_conv2d_layer.LAYERS.values(), ids=cases_conv2d_layer.LAYERS)
def test_layers_of_the_size_of_layers(settings):
    check = test_gpu.test_conv2d_layer_of_the_size_of_layers
    found = reached(check, "native", settings, (2, 24, 17, 18), "channels_last", torch.float32)
    names = ("conv2d_layer", "conv2d_layer_backward", "conv2d_layer_double_backward")
    assert found >= {f"fastgan::{name}_native" for name in names}


@pytest.mark.parametrize("shape", cases_gradient_penalty.SHAPES.values(), ids=cases_gradient_penalty.SHAPES)
def test_squared_norm_and_interpolate(shape):
    found = reached(test_gpu.test_squared_norm_and_interpolate, "native", shape, torch.float32, "channels_last")
    assert found >= operators_of("gradient_penalty") - {"fastgan::gradient_penalty_native"}


def test_bias_act_and_upfirdn2d_of_the_size_of_layers():
    check = test_gpu.test_bias_act_and_upfirdn2d_of_the_size_of_layers
    found = reached(check, "native", (2, 4, 9, 8), "channels_last", torch.float32)
    assert found >= {"fastgan::bias_act_native", "fastgan::bias_act_backward_native", "fastgan::upfirdn2d_native"}
