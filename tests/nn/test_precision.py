"""Precision as a policy: where half precision is on, who follows it, and where it is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from fastgan.models.registry import build
from fastgan.nn import MixedPrecision, Precision, precision, set_precision
from fastgan.nn.convolution import Conv2d, ConvTranspose2d
from fastgan.ops import tf32

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("largest", [16, 64, 256, 1024])
@pytest.mark.parametrize("count", range(6))
def test_half_precision_is_on_where_the_published_networks_have_it(largest, count):
    policy = Precision("fp16", count)
    first = 2 ** (math.log2(largest) + 1 - count)  # of the resolutions in half precision, as StyleGAN2-ADA counts
    for resolution in (2**k for k in range(2, int(math.log2(largest)) + 1)):
        expected = torch.float16 if resolution >= first else torch.float32
        assert policy.at(resolution, largest) == expected, resolution
    assert policy.half == (torch.float16 if count else None)


def test_names():
    assert [Precision(name).half for name in ("fp32", "tf32", "bf16", "fp16")] == [
        None, None, torch.bfloat16, torch.float16,
    ]  # fmt: skip
    assert Precision("bf16", 1).at(32, 64, torch.float64) == torch.float64
    assert Precision("bf16", 1).at(64, 64, torch.float64) == torch.bfloat16
    with pytest.raises(ValueError, match="precision must be one of fp32, tf32, bf16, fp16, got 'half'"):
        Precision("half")
    with pytest.raises(ValueError, match="half_resolutions must be an integer of at least 0, got -1"):
        Precision("fp16", -1)


def test_all_parts_of_a_network_follow():
    _, G, D = build("stylegan2", resolution=16, channel_base=64, channel_max=8, z_dim=8, w_dim=8)
    assert G.synthesis.precision == D.precision == Precision()
    set_precision(G, Precision("fp16", 2))
    assert G.synthesis.precision == Precision("fp16", 2) and D.precision == Precision()


def test_a_network_that_follows_none_is_refused():
    set_precision(nn.Linear(1, 1), Precision("tf32"))
    set_precision(nn.Linear(1, 1), Precision("bf16", 0))
    with pytest.raises(ValueError, match="must be fp32 or tf32 for Linear, which is no fastgan.nn.MixedPrecision"):
        set_precision(nn.Linear(1, 1), Precision("bf16"))


def test_training_is_refused_where_half_precision_is_slower(monkeypatch):
    seconds = {torch.float32: 0.002, torch.bfloat16: 0.001, torch.float16: 0.3}
    monkeypatch.setattr(precision, "_seconds", lambda dtype: seconds[dtype])
    assert precision.refusal(Precision("bf16"), CPU) is None  # as on a CPU with units for it
    assert precision.refusal(Precision("fp16"), CPU) == (
        "fp16 is slower than fp32 on this CPU: a 3×3 convolution of 64 channels at 32×32 took 300 ms, in fp32 2 ms"
    )
    assert "of GPUs alone" in (precision.refusal(Precision("tf32"), CPU) or "")
    assert all(precision.refusal(Precision(name), GPU) is None for name in ("fp32", "tf32", "bf16", "fp16"))
    seconds.clear()
    assert precision.refusal(Precision("fp32"), CPU) is precision.refusal(Precision("fp16", 0), CPU) is None


def test_what_is_measured_takes_time():
    assert 0 < precision._seconds(torch.float32) < 10


def test_tf32_is_allowed_for_a_block():
    before = tf32.allowed()
    with tf32.permission(True):
        assert tf32.allowed()
        with tf32._without():
            assert tf32.allowed() and tf32._SETTING.fp32_precision == "ieee"
            with tf32.permission(False):
                assert not tf32.allowed()
            assert tf32.allowed()
        assert tf32._SETTING.fp32_precision == "tf32"
        with tf32.permission(False):
            assert not tf32.allowed() and tf32._SETTING.fp32_precision == "ieee"
    assert tf32.allowed() == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_convolutions_compute_in_the_dtype_of_their_images(dtype, transposed, bias):
    ours, theirs = (ConvTranspose2d, nn.ConvTranspose2d) if transposed else (Conv2d, nn.Conv2d)
    settings: dict[str, Any] = {"stride": 2, "padding": 2, "bias": bias} | ({"output_padding": 1} if transposed else {})
    conv, plain = ours(3, 4, 5, **settings), theirs(3, 4, 5, **settings)
    plain.load_state_dict(conv.state_dict())
    plain.to(dtype)
    x = torch.randn(2, 3, 6, 6).to(dtype).requires_grad_()
    y, expected = conv(x), plain(x)
    assert y.dtype == dtype and torch.equal(y, expected)
    for gradient, other in zip(
        torch.autograd.grad(y.float().square().sum(), [x, *conv.parameters()]),
        torch.autograd.grad(expected.float().square().sum(), [x, *plain.parameters()]),
        strict=True,
    ):
        assert torch.equal(gradient, other.to(gradient.dtype))
    assert all(p.dtype == torch.float32 for p in conv.parameters())


def test_transposed_convolutions_have_one_size():
    with pytest.raises(ValueError, match="output_size must be None"):
        ConvTranspose2d(1, 1, 3)(torch.zeros(1, 1, 2, 2), [4, 4])


def test_the_base_is_fp32():
    class Network(MixedPrecision, nn.Module):
        pass

    assert Network().precision == Precision("fp32")
