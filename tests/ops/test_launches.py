"""What layers launch, bounded: a copy or a cast that comes back is seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

# Launches of our kernels and of torch's by a forward in fp32 and one in bf16: demodulation takes six of torch's, a
# weight's factor one, in bf16 each of w, noise and b a cast.
LAUNCHES = {
    "G 3x3": ((1, 6), (2, 9)),
    "G up": ((1, 6), (2, 9)),
    "to-RGB": ((2, 0), (2, 2)),
    "D 3x3": ((1, 1), (1, 3)),
    "D down": ((2, 1), (2, 3)),
    "D skip": ((2, 1), (2, 2)),
    "from-RGB": ((2, 1), (2, 3)),  # its weights have no whole packets, and are packed
}


@pytest.mark.parametrize("name", LAUNCHES)
def test_a_layer_launches_no_more(shim, name):
    from tests.ops.launches import DTYPES, LAYERS, costs

    for dtype, (ours, torchs) in zip(DTYPES.values(), LAUNCHES[name], strict=True):
        forward = costs(LAYERS[name], dtype)["forward"]
        assert (forward.ours, forward.torch) == (ours, torchs)


def test_inner_launches_are_seen(shim):
    """A gradient's weight is turned, its images are not copied: in the operator, below what dispatch modes see."""
    from tests.ops.launches import LAYERS, _Operators, passes

    steps = passes(LAYERS["D 3x3"], torch.float32)
    with shim.selected():
        steps["forward"]()
        steps["cotangent"]()
        with _Operators(1) as seen:
            steps["backward"]()
    assert sorted(seen.names) == ["contiguous", "mul"]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("settings", [{}, {"down": 2}, {"up": 2}], ids=["plain", "down", "up"])
def test_a_weight_in_either_format_gives_the_same(shim, settings, memory_format):
    from fastgan.ops import conv2d_resample, exact_convolutions, setup_filter

    x = torch.randn(2, 8, 6, 6).contiguous(memory_format=memory_format)
    weight, f, results = torch.randn(16, 8, 3, 3), setup_filter([1, 3, 3, 1], separable=True), []
    for form in (torch.contiguous_format, torch.channels_last):
        leaves = [x.clone().requires_grad_(), weight.contiguous(memory_format=form).requires_grad_()]
        with shim.selected(), exact_convolutions():
            y = conv2d_resample(leaves[0], leaves[1], f, padding=1, act="lrelu", **settings)
            first = torch.autograd.grad(y.square().sum(), leaves, create_graph=True)
            penalty = first[0].square().sum() + first[1].square().sum()
            results.append([y, *first, *torch.autograd.grad(penalty, leaves)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_geometry_is_worked_out_once_and_for_plain_ints_alone():
    from fastgan.ops import fir

    x, w = torch.empty(1, 2, 8, 8), torch.empty(2, 2, 3, 3)
    fir._remembered.cache_clear()
    first = fir.sampling_of(x, w, None, 1, 2, [1, 1])
    assert fir.sampling_of(x, w, None, 1, 2, (1, 1)) is first and first[1] == (4, 4)
    assert fir._remembered.cache_info().currsize == 1
    others: list[Any] = [torch.tensor(1), np.int64(1)]
    for one in others:
        assert fir.sampling_of(x, w, None, one, 2, 1) == first
    with pytest.raises(ValueError, match="up must be an int of at least 1, got True"):
        fir.sampling_of(x, w, None, True, 2, 1)  # equal to the 1 that is remembered
    assert fir._remembered.cache_info().currsize == 1
