"""torch.jit.trace: networks, layers and operators are traced, saved, loaded and run at another batch size."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.jit._trace import TracerWarning

import fastgan
from fastgan.nn import EqualizedConv2d, EqualizedLinear, SynthesisLayer, ToRGB, minibatch_stddev, pixel_norm
from tests.interop.networks import NETWORKS, inputs, network

pytestmark = pytest.mark.thorough

BATCHES = (4, 1, 6, 8)  # the first is traced


def traced(function: Callable, example: Any) -> Any:
    """What torch.jit.trace makes, which has more types than one can call."""
    return torch.jit.trace(function, example)


def saved_and_loaded(program: Any) -> Any:
    file = io.BytesIO()
    torch.jit.save(program, file)
    file.seek(0)
    return torch.jit.load(file)


def assert_close(mine: object, expected: object) -> None:
    torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("grad", [True, False], ids=["grad", "no_grad"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_traced_network_is_saved_and_runs_on_any_batch(name: str, grad: bool) -> None:
    module = network(name)
    with torch.set_grad_enabled(grad):
        loaded = saved_and_loaded(traced(module, inputs(name, BATCHES[0])))
    assert "fastgan::" not in str(loaded.inlined_graph)
    for n in BATCHES:
        given = inputs(name, n)
        assert_close(loaded(*given), module(*given))
    given = inputs(name, 2)
    mine, expected = (
        torch.autograd.grad(each(*given).square().sum(), list(each.parameters()), allow_unused=True)
        for each in (loaded, module)
    )
    for one, other in zip(mine, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("grad", [True, False], ids=["grad", "no_grad"])
@pytest.mark.parametrize("name", ["stylegan2-cond-G", "stylegan2-plain-D", "dcgan-plain-D"])
def test_a_named_provider_stays_in_the_trace(native_provider: str, name: str, grad: bool) -> None:
    module = network(name)
    with torch.set_grad_enabled(grad):
        loaded = saved_and_loaded(traced(module, inputs(name, BATCHES[0])))
    assert "fastgan::" in str(loaded.inlined_graph)
    for n in BATCHES:
        given = inputs(name, n)
        given[0].requires_grad_()
        mine, expected = loaded(*given), module(*given)
        assert_close(mine, expected)
        # Traced without a gradient, differentiated where it runs: kinks and clamps must be known there.
        assert_close(*(torch.autograd.grad(each.square().sum(), given[0])[0] for each in (mine, expected)))


def test_a_traced_discriminator_forms_its_groups_from_the_batch_that_comes() -> None:
    program = traced(minibatch_stddev, torch.randn(2, 3, 4, 4))  # groups of 2
    for n in (0, 1, 2, 3, 4, 5, 6, 8, 12):
        x = torch.randn(n, 3, 4, 4)
        torch.testing.assert_close(program(x), minibatch_stddev(x))


F, F1 = fastgan.setup_filter([1, 3, 3, 1]), fastgan.setup_filter([1, 2, 1], separable=True)
W, B = torch.linspace(-1, 1, 4 * 3 * 9).reshape(4, 3, 3, 3), torch.linspace(-1, 1, 4)
LAYER = {"padding": 1, "b": B, "act": "lrelu", "clamp": 2.0}
OPERATORS: dict[str, Callable] = {
    "bias_act": lambda x: fastgan.bias_act(x, B[:3], act="lrelu", clamp=1),
    "swish": lambda x: fastgan.bias_act(x, B[:3], act="swish"),
    "upfirdn2d": lambda x: fastgan.upfirdn2d(x, F, up=[2, 3], down=[3, 2], padding=[-1, 2, 3, -2]),
    "upsample2d": lambda x: fastgan.upsample2d(x, F),
    "downsample2d": lambda x: fastgan.downsample2d(x, F1),
    "filter2d": lambda x: fastgan.filter2d(x, F, padding=1),
    "conv2d_resample": lambda x: fastgan.conv2d_resample(x, W, **LAYER),
    "conv2d_resample-up": lambda x: fastgan.conv2d_resample(x, W, F, up=2, **LAYER),
    "conv2d_resample-down": lambda x: fastgan.conv2d_resample(x, W, F, down=2, **LAYER),
    "modulated_conv2d": lambda x: fastgan.modulated_conv2d(x, W, x.mean(dim=[2, 3]), x[:, :1], **LAYER),
    "demodulation_coefficients": lambda x: fastgan.demodulation_coefficients(W, x.mean(dim=[2, 3])),
}


@pytest.mark.parametrize("chosen", [None, "native"])
@pytest.mark.parametrize("grad", [True, False], ids=["grad", "no_grad"])
@pytest.mark.parametrize("name", OPERATORS)
def test_a_traced_operator_runs_on_any_batch(name: str, grad: bool, chosen: str | None, request) -> None:
    if chosen:
        request.getfixturevalue("native_provider")
    operator = OPERATORS[name]
    with torch.set_grad_enabled(grad):
        loaded = saved_and_loaded(traced(operator, torch.randn(2, 3, 8, 6, requires_grad=grad)))
    for n in (2, 5):
        x = torch.randn(n, 3, 8, 6, requires_grad=True)
        mine, expected = loaded(x), operator(x)
        assert_close(mine, expected)
        assert_close(*(torch.autograd.grad(each.square().sum(), x)[0] for each in (mine, expected)))


@pytest.mark.parametrize("name", ["upsample2d", "downsample2d", "filter2d", "conv2d_resample-up", "bias_act"])
def test_a_traced_operator_runs_on_images_of_another_size(name: str) -> None:
    program = traced(OPERATORS[name], torch.randn(2, 3, 8, 6))
    x = torch.randn(3, 3, 4, 10)
    assert_close(program(x), OPERATORS[name](x))


class Styled(torch.nn.Module):
    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x, x.mean(dim=[2, 3]))


@pytest.mark.parametrize(
    "make",
    [
        lambda: EqualizedConv2d(3, 4, 3, act="lrelu", down=2),
        lambda: EqualizedConv2d(3, 4, 1, bias=False, up=2),
        lambda: torch.nn.Sequential(torch.nn.Flatten(), EqualizedLinear(144, 5, act="lrelu"), EqualizedLinear(5, 2)),
        lambda: Styled(SynthesisLayer(3, 4, 3, (16, 12), up=2, clamp=2.0)),
        lambda: Styled(ToRGB(3, 3, 3)),
        lambda: pixel_norm,
    ],
    ids=["down", "up", "linear", "synthesis", "to_rgb", "pixel_norm"],
)
def test_a_traced_layer_runs_on_any_batch(make: Callable) -> None:
    layer = make()
    loaded = saved_and_loaded(traced(layer, torch.randn(2, 3, 8, 6)))
    for n in (1, 2, 5):
        x = torch.randn(n, 3, 8, 6)
        assert_close(loaded(x), layer(x))


def test_a_size_of_a_traced_tensor_is_taken_as_padding_and_torch_says_that_it_is_kept() -> None:
    def same(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return fastgan.conv2d_resample(x, w, padding=w.shape[-1] // 2)

    x = torch.randn(2, 3, 8, 6)
    with pytest.warns(TracerWarning, match="Converting a tensor to a Python integer"):
        program = traced(same, (x, W))
    assert_close(program(x, W), same(x, W))


@pytest.mark.parametrize("chosen", [None, "native"])
def test_the_saved_file_runs_in_a_process_without_fastgan_unless_a_provider_was_named(
    tmp_path: Path, chosen: str | None, request
) -> None:
    if chosen:
        request.getfixturevalue("native_provider")
    with fastgan.provider(chosen) if chosen else nullcontext():
        traced(network("stylegan2-plain-G"), inputs("stylegan2-plain-G", 2)).save(tmp_path / "G.pt")
    code = f"import torch; print(list(torch.jit.load({str(tmp_path / 'G.pt')!r})(torch.zeros(3, 6)).shape))"
    alone = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    beside = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"import fastgan.ops; {code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert beside.stdout == "[3, 3, 16, 8]\n", beside.stderr
    assert alone.stdout == ("" if chosen else "[3, 3, 16, 8]\n"), alone.stderr
    assert ("Unknown builtin op: fastgan::" in alone.stderr) == (chosen is not None)
