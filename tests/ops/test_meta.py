"""Tensors without values: the meta device, and fake tensors as compilers and planners use them."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from fastgan.ops import native, provider, setup_filter
from tests.ops.operators import CALLS, examples

DTYPES = {"fp64": torch.float64, "fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@pytest.fixture(params=list(CALLS))
def operator(request):
    return CALLS[request.param]


@pytest.fixture(params=["contiguous", "channels_last", "strided"])
def inputs(request):
    return [tensor.requires_grad_() for tensor in examples(request.param)]


def seen(tensors):
    """What can be known of tensors without values."""
    return [None if t is None else (tuple(t.shape), t.stride(), t.dtype, t.requires_grad) for t in tensors]


def twice_differentiated(operator, inputs):
    """The result, its gradients, and those of the first of these."""
    y = operator(*inputs)
    first = torch.autograd.grad(y.pow(2).sum(), inputs, create_graph=True, allow_unused=True)
    return y, *first, *torch.autograd.grad(first[0].float().pow(2).sum(), inputs, allow_unused=True)


def without_values(inputs, device):
    made = [torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device=device) for t in inputs]
    return [tensor.requires_grad_(torch.is_grad_enabled()) for tensor in made]


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_an_operator_on_the_meta_device_gives_what_it_gives_on_a_cpu(native_provider, operator, inputs, dtype):
    inputs[0] = inputs[0].detach().to(dtype).requires_grad_()
    expected = seen(twice_differentiated(operator, inputs))
    results = twice_differentiated(operator, without_values(inputs, "meta"))
    assert seen(results) == expected
    assert {t.device.type for t in results if t is not None} == {"meta"}


def test_the_meta_device_needs_neither_a_name_nor_the_library(operator, inputs, monkeypatch):
    expected = seen([operator(*inputs)])
    monkeypatch.setattr(native, "unavailable", "it was not built")
    assert seen([operator(*without_values(inputs, "meta"))]) == expected


def test_the_reference_on_the_meta_device(operator, inputs):
    with provider("reference"):
        expected = seen(twice_differentiated(operator, inputs))
        assert seen(twice_differentiated(operator, without_values(inputs, "meta"))) == expected


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_an_operator_on_fake_tensors_gives_what_it_gives_on_real_ones(native_provider, operator, inputs, dtype):
    inputs[0] = inputs[0].detach().to(dtype).requires_grad_()
    expected = seen(twice_differentiated(operator, inputs))
    with FakeTensorMode():
        results = twice_differentiated(operator, without_values(inputs, "cpu"))
    assert seen(results) == expected


@pytest.mark.parametrize("make", [lambda: torch.empty(4, device="meta"), lambda: [1.0, 3.0, 3.0, 1.0]])
def test_a_filter_made_for_the_meta_device_has_its_shape(make):
    with torch.device("meta"):
        for separable, shape in ((None, (4, 4)), (True, (4,))):
            f = setup_filter(make(), flip_filter=True, gain=2, separable=separable)
            assert f.is_meta and f.shape == shape and f.dtype == torch.float32


def test_a_filter_made_of_fake_taps_has_its_shape():
    with FakeTensorMode():
        f = setup_filter(torch.empty(3, 5), normalize=False)
        assert f.shape == (3, 5) and f.device.type == "cpu"
        assert setup_filter([0.0, 1.0]).shape == (2, 2)
