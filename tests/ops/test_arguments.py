"""Arguments of operators that once slipped through: each is served, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import fastgan
from fastgan.nn import minibatch_stddev
from fastgan.ops import setup_filter, upfirdn2d

X = torch.arange(48.0).reshape(1, 3, 4, 4)


def test_an_expanded_bias_is_added(provider: str) -> None:
    b = torch.tensor([2.0]).expand(3)
    assert torch.equal(fastgan.bias_act(X, b), X + 2)


def test_cropping_may_reach_into_the_padding(provider: str) -> None:
    # 4 samples, 6 cropped on the left and 5 zeros on the right: 3 of the zeros are left.
    assert torch.equal(upfirdn2d(X, None, padding=[-6, 5, 0, 0]), torch.zeros(1, 3, 4, 3))
    assert torch.equal(upfirdn2d(X, None, padding=[3, -5, 0, 0]), torch.zeros(1, 3, 4, 3)[..., :2])
    assert upfirdn2d(torch.zeros(0, 0, 0, 0), None, up=3, padding=[-1, 4, 5, -2]).shape == (0, 0, 3, 3)


def test_an_image_of_nothing_that_is_padded_has_a_gradient(provider: str) -> None:
    x = torch.zeros(1, 2, 0, 0, requires_grad=True)
    y = upfirdn2d(x, torch.ones(2), padding=1)
    assert torch.equal(y, torch.zeros(1, 2, 1, 1))
    assert torch.autograd.grad(y.sum(), x)[0].shape == (1, 2, 0, 0)


@pytest.mark.parametrize("operator", [fastgan.upfirdn2d, fastgan.filter2d, fastgan.upsample2d, fastgan.downsample2d])
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"f": [1.0, 2.0]}, TypeError, "f must be a floating-point tensor or None, got list"),
        ({"f": torch.tensor(1.0)}, ValueError, r"f must have shape \[taps\] or \[fh, fw\], got \[\]"),
        ({"f": torch.ones(2).to_sparse()}, TypeError, "f must be .*, got torch.float32, torch.sparse_coo"),
        ({"gain": None}, TypeError, "gain must be a number, got NoneType"),
        ({"gain": float("nan")}, ValueError, "gain must be finite and within float32, got nan"),
        ({"gain": 10**400}, ValueError, "gain must be finite and within float32, got inf"),
        ({"flip_filter": torch.ones(2)}, TypeError, "flip_filter must be True or False, got Tensor"),
        ({"padding": 2**62}, ValueError, "padding must be .* within ±16777216; got 4611686018427387904"),
    ],
)
def test_resampling_names_the_argument(operator, options: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        operator(X, **({"f": None} | options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"up": 10**9}, r"up must be an int or \[x, y\], each from 1 to 4096; got 1000000000"),
        ({"padding": [2**24, 0, 0, 0]}, "padding and up make 16777220 samples along x, at most 16777216"),
        ({"padding": 2**23 - 2}, r"padding and up make an output of \[1, 3\] by .*, more than 1099511627776 values"),
    ],
)
def test_terabytes_are_not_asked_for(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        upfirdn2d(X, None, **options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dim": "1", "b": torch.ones(3)}, ValueError, "dim must be an axis of x, which has 4; got '1'"),
        ({"act": ["relu"]}, ValueError, r"act must be one of .*; got \['relu'\]"),
        ({"alpha": "0.2"}, TypeError, "alpha must be a number, got str"),
        ({"alpha": 1e300}, ValueError, "alpha must be finite and within float32, got 1e\\+300"),
        ({"clamp": torch.ones(2)}, TypeError, "clamp must be a number, got Tensor"),
        ({"x": X.to(torch.float8_e4m3fn)}, TypeError, "x must be a floating-point tensor, got torch.float8_e4m3fn"),
        ({"x": X[0, 0].to_sparse()}, TypeError, "x must be .*, got torch.float32, torch.sparse_coo"),
    ],
)
def test_bias_act_names_the_argument(options: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        fastgan.bias_act(options.pop("x", X), **options)


@pytest.mark.parametrize(
    ("f", "options", "error", "message"),
    [
        ("abc", {}, TypeError, "f must hold taps, numbers in one or two axes"),
        ([[1.0], [1.0, 2.0]], {}, TypeError, "f must hold taps, numbers in one or two axes"),
        ([10**400], {}, TypeError, "f must hold taps, numbers in one or two axes"),
        (torch.ones(2, dtype=torch.complex64), {}, TypeError, "f must be a dense tensor of real numbers"),
        ([float("nan"), 1.0], {}, ValueError, "f must hold finite taps"),
        ([1.0, 1.0], {"gain": -1, "separable": True}, ValueError, "gain must be at least 0 for a separable f"),
        ([1.0], {"device": "gpu"}, ValueError, "device must be a torch.device or its name, got 'gpu'"),
        ([1.0], {"separable": "yes"}, TypeError, "separable must be True or False, got str"),
    ],
)
def test_setup_filter_names_the_argument(f, options: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        setup_filter(f, **options)


def test_a_negative_gain_of_a_two_dimensional_filter_is_its_sign() -> None:
    assert torch.allclose(setup_filter([1.0, 3.0], gain=-2), -2 * setup_filter([1.0, 3.0]))


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8, np.array, torch.tensor])
def test_integers_of_numpy_and_torch_are_ints(provider: str, kind: Callable) -> None:
    one, two, f, w = kind(1), kind(2), setup_filter([1, 3, 3, 1]), torch.ones(3, 3, 3, 3)
    for operator in (fastgan.upsample2d, fastgan.downsample2d):
        assert torch.equal(operator(X, f, two, padding=[one, two]), operator(X, f, 2, padding=[1, 2]))
    assert torch.equal(upfirdn2d(X, f, up=[two, one], down=two, padding=two), upfirdn2d(X, f, [2, 1], 2, 2))
    assert torch.equal(fastgan.filter2d(X, f, padding=one), fastgan.filter2d(X, f, padding=1))
    assert torch.equal(fastgan.bias_act(X.mT, torch.arange(4.0), dim=two), fastgan.bias_act(X.mT, torch.arange(4.0), 2))
    expected = fastgan.conv2d_resample(X, w, f, up=2, padding=1)
    assert torch.equal(fastgan.conv2d_resample(X, w, f, up=two, down=one, padding=one, groups=one), expected)
    expected = fastgan.modulated_conv2d(X, w, torch.ones(1, 3), down=2, padding=1)
    assert torch.equal(fastgan.modulated_conv2d(X, w, torch.ones(1, 3), down=two, padding=[one, one]), expected)


@pytest.mark.parametrize("half", [np.float32(0.5), np.float64(0.5), np.array(0.5), torch.tensor(0.5)])
def test_floats_of_numpy_and_torch_are_numbers(provider: str, half) -> None:
    f, w = setup_filter([1, 3, 3, 1]), torch.ones(3, 3, 3, 3)
    options: list[dict[str, Any]] = [{"act": "lrelu", "alpha": x, "gain": x, "clamp": x} for x in (half, 0.5)]
    taken, expected = (fastgan.bias_act(X - 9, None, **each) for each in options)
    assert torch.equal(taken, expected)
    taken, expected = (fastgan.conv2d_resample(X - 9, w, padding=1, **each) for each in options)
    assert torch.equal(taken, expected)
    assert torch.equal(upfirdn2d(X, f, gain=half), upfirdn2d(X, f, gain=0.5))
    true: Any = np.True_
    assert torch.equal(setup_filter(f, gain=half, flip_filter=true), setup_filter(f, gain=0.5, flip_filter=True))


@pytest.mark.parametrize(
    "bad", [True, np.True_, torch.tensor(True), 2.0, np.float64(2), torch.tensor(2.0), "2", None, [[2]]]
)
def test_a_bool_or_a_float_is_no_int(bad) -> None:
    w = torch.ones(3, 3, 3, 3)
    for call, name in (
        (lambda: upfirdn2d(X, None, up=bad), "up must be an int"),
        (lambda: upfirdn2d(X, None, padding=[0, bad]), "padding must be an int"),
        (lambda: fastgan.bias_act(X, torch.ones(3), dim=bad), "dim must be an axis of x"),
        (lambda: fastgan.conv2d_resample(X, w, up=bad), "up must be an int"),
        (lambda: fastgan.conv2d_resample(X, w, groups=bad), "groups must divide"),
        (lambda: minibatch_stddev(X, group=bad), "group must be an int"),
    ):
        with pytest.raises(ValueError, match=name):
            call()


@pytest.mark.parametrize("bad", [True, np.True_, torch.tensor(True), "1", torch.ones(1), np.ones(1), 1j])
def test_a_bool_or_a_list_is_no_number(bad) -> None:
    with pytest.raises(TypeError, match="gain must be a number, got"):
        fastgan.bias_act(X, gain=bad)


def test_a_gain_that_wants_a_gradient_is_refused_for_it_gets_none() -> None:
    gain: Any = torch.tensor(1.0, requires_grad=True)
    with pytest.raises(ValueError, match="gain must not require grad.*multiply by it"):
        fastgan.bias_act(X, gain=gain)
