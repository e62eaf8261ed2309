"""Where a layer may not round to tf32, torch's convolutions inside do not either; seen without a GPU."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from unittest import mock

import pytest
import torch

from fastgan.ops import conv2d_resample, exact_convolutions, provider, providers, tf32

SETTING = torch.backends.cudnn.conv  # pyright: ignore[reportAttributeAccessIssue]


@pytest.fixture(autouse=True)
def as_on_cuda():
    """Images count as CUDA's, and torch allows tf32."""
    before = SETTING.fp32_precision
    SETTING.fp32_precision = "tf32"
    with mock.patch.object(tf32, "_follows", lambda x: x.dtype == torch.float32):
        yield
    SETTING.fp32_precision = before


@contextmanager
def recording(found: list[str]):
    """The setting at each of torch's convolutions that a layer calls."""

    def recorded(operator):
        def call(*arguments):
            found.append(SETTING.fp32_precision)
            return operator(*arguments)

        return call

    with ExitStack() as stack:
        for name in ("convolution", "convolution_backward"):
            patch = mock.patch.object(torch.ops.aten, name, recorded(getattr(torch.ops.aten, name)))
            stack.enter_context(patch)
        yield


def passes(exact, dtype=torch.float32):
    """The setting at each convolution of a layer's forward, backward and double backward, the last two outside."""
    x, w = (torch.randn(2, 4, side, side, dtype=dtype, requires_grad=True) for side in (8, 3))
    found: list[str] = []
    with recording(found), provider("native"):
        with exact_convolutions() if exact else provider("native"):
            y = conv2d_resample(x, w, down=2, padding=1, b=torch.ones(2, dtype=dtype), act="lrelu")
        dx, dw = torch.autograd.grad(y.square().sum(), [x, w], create_graph=True)
        torch.autograd.grad(dx.square().sum() + dw.square().sum(), [x, w])
    assert SETTING.fp32_precision == "tf32"
    return found


def test_all_passes_of_an_exact_layer_are_exact(native_provider):
    found = passes(exact=True)
    assert len(found) >= 7 and set(found) == {"ieee"}


def test_others_follow_torch(native_provider):
    assert set(passes(exact=False)) == {"tf32"}
    assert set(passes(exact=True, dtype=torch.float64)) == {"tf32"}


def test_an_error_restores_the_setting(native_provider):
    full = mock.patch.object(torch.ops.aten, "convolution", side_effect=RuntimeError("full"))
    with exact_convolutions(), full, pytest.raises(RuntimeError, match="full"):
        conv2d_resample(torch.randn(1, 2, 4, 4), torch.randn(2, 2, 3, 3), padding=1)
    assert SETTING.fp32_precision == "tf32" and not tf32._blocks


def test_a_setting_that_is_exact_already_stays():
    SETTING.fp32_precision = "ieee"
    with tf32.exactly(torch.ones(1)):
        assert not tf32.allowed()
    assert SETTING.fp32_precision == "ieee"


def test_blocks_of_two_threads_overlap():
    """The one that began first ends first: the other is exact to its end, and what torch is set to is still known."""
    begun, leave = threading.Event(), threading.Event()
    found = []

    def other():
        with tf32.exactly(torch.ones(1)):
            begun.set()
            assert leave.wait(10)
            found.append(SETTING.fp32_precision)

    thread = threading.Thread(target=other)
    with tf32.exactly(torch.ones(1)):
        thread.start()
        assert begun.wait(10)
    assert SETTING.fp32_precision == "ieee" and tf32.allowed()
    leave.set()
    thread.join()
    assert found == ["ieee"] and SETTING.fp32_precision == "tf32"


def test_a_layer_of_cuda_asks_torch():
    x = mock.Mock(dtype=torch.float32, is_cuda=True)
    assert providers.fast_products(x)
    with tf32.exactly(torch.ones(1)):
        assert providers.fast_products(x)
    SETTING.fp32_precision = "ieee"
    assert not providers.fast_products(x)
