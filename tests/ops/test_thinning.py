from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.ops.cases_bias_act import SHAPES
from tests.ops.cases_upfirdn2d import CASES
from tests.ops.thinning import repeats

LONG, ODD, PLAIN = SHAPES["long"], SHAPES["odd"], CASES["filter4"]
FP64, FP32, FP16, BF16 = torch.float64, torch.float32, torch.float16, torch.bfloat16


def collected(request: pytest.FixtureRequest, gpu: bool, **parameters: Any) -> pytest.Item:
    """A test of these parameters, as pytest would collect it. Its id says other things than they do."""
    item = pytest.Function.from_parent(request.node.parent, name="test_it", callobj=lambda: None)
    item.callspec = SimpleNamespace(params=parameters, id="interpreter-long-strided-fp64-channels_last")  # type: ignore
    if gpu:
        item.add_marker(pytest.mark.gpu)
    return item


@pytest.mark.parametrize(
    ("repeated", "parameters"),
    [
        (False, {}),
        (False, {"provider": "native", "memory_format": "strided", "dtype": FP64}),
        (False, {"provider": "native", "shape": LONG}),
        (False, {"name": "long", "case": "strided", "provider": "interpreter"}),
        (True, {"provider": "interpreter", "memory_format": "strided"}),
        (False, {"compiled_provider": "interpreter", "memory_format": "channels_last", "dtype": BF16}),
        (True, {"compiled_provider": "interpreter", "memory_format": "channels_last", "dtype": FP16}),
        (True, {"raw": "interpreter", "memory_format": "channels_last", "precision": FP64}),
        (False, {"provider": "interpreter", "memory_format": "contiguous", "dtype": FP64, "case": PLAIN}),
        (False, {"provider": "interpreter", "memory_format": "contiguous", "dtype": FP32, "shape": LONG}),
        (True, {"provider": "interpreter", "memory_format": "channels_last", "dtype": FP32, "shape": LONG}),
        (True, {"provider": "interpreter", "memory_format": "contiguous", "dtype": BF16, "shape": LONG}),
        (True, {"provider": "interpreter", "case": CASES["long"]}),
        (False, {"kernels": "triton", "memory_format": "strided"}),
    ],
)
def test_what_is_left_out_in_the_interpreter(
    request: pytest.FixtureRequest, repeated: bool, parameters: dict[str, Any]
) -> None:
    assert repeats(collected(request, gpu=False, **parameters)) is repeated


@pytest.mark.parametrize(
    ("repeated", "parameters"),
    [
        (False, {"kernels": "native", "memory_format": "strided", "dtype": FP64}),
        (True, {"kernels": "triton", "memory_format": "strided", "dtype": FP32}),
        (False, {"kernels": "triton", "memory_format": "channels_last", "dtype": FP32, "shape": LONG}),
        (False, {"kernels": "triton", "memory_format": "contiguous", "dtype": FP64, "shape": ODD}),
        (True, {"kernels": "triton", "memory_format": "channels_last", "dtype": FP64, "shape": ODD}),
        (
            False,
            {"kernels": "triton", "memory_format": "contiguous", "dtype": FP16, "case": CASES["separable4"]},
        ),
        (True, {"kernels": "triton", "memory_format": "contiguous", "dtype": FP16, "case": PLAIN}),
    ],
)
def test_what_is_left_out_on_a_gpu(request: pytest.FixtureRequest, repeated: bool, parameters: dict[str, Any]) -> None:
    assert repeats(collected(request, gpu=True, **parameters)) is repeated
