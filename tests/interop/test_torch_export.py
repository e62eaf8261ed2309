"""torch.export: networks with a dynamic batch are exported, saved, loaded and run."""

from __future__ import annotations

import io
from contextlib import nullcontext

import pytest
import torch
from torch.export import Dim, ExportedProgram

import fastgan
from fastgan.nn import minibatch_stddev
from tests.interop.networks import NETWORKS, inputs, network

pytestmark = pytest.mark.thorough

BATCHES = (4, 1, 6, 8, 12)  # the first is exported


def exported(module: torch.nn.Module, given: tuple[torch.Tensor, ...], strict: bool = False) -> ExportedProgram:
    """With a dynamic batch, saved and loaded."""
    batch, file = Dim("batch"), io.BytesIO()
    program = torch.export.export(module, given, dynamic_shapes=tuple({0: batch} for _ in given), strict=strict)
    torch.export.save(program, file)
    file.seek(0)
    return torch.export.load(file)


STRICT = [(name, False) for name in NETWORKS] + [("stylegan2-cond-G", True), ("stylegan2-plain-D", True)]


@pytest.mark.parametrize(("name", "strict"), STRICT, ids=lambda each: {True: "strict", False: ""}.get(each, each))
def test_an_exported_network_is_saved_and_runs_on_any_batch(name: str, strict: bool) -> None:
    module = network(name)
    program = exported(module, inputs(name, BATCHES[0]), strict)
    assert "fastgan" not in str(program.graph)
    for n in BATCHES:
        given = inputs(name, n)
        torch.testing.assert_close(program.module()(*given), module(*given), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("grad", [True, False], ids=["grad", "no_grad"])
@pytest.mark.parametrize("name", ["stylegan2-cond-G", "stylegan2-plain-D"])
def test_a_named_provider_stays_in_the_program(native_provider: str, name: str, grad: bool) -> None:
    module = network(name)
    with torch.set_grad_enabled(grad):
        program = exported(module, inputs(name, BATCHES[0]))
    assert "fastgan.conv2d_layer_native" in str(program.graph)
    for n in BATCHES:
        given = inputs(name, n)
        given[0].requires_grad_()
        mine, expected = program.module()(*given), module(*given)
        torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-4)
        # Exported without a gradient, differentiated where it runs: kinks and clamps must be known there.
        gradients = (torch.autograd.grad(each.square().sum(), given[0])[0] for each in (mine, expected))
        torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)


class Statistics(torch.nn.Module):
    def __init__(self, group: int) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return minibatch_stddev(x, self.group)


@pytest.mark.parametrize("group", [1, 4, 7])
def test_an_exported_discriminator_forms_its_groups_from_the_batch_that_comes(group: int) -> None:
    program = exported(Statistics(group), (torch.randn(2, 3, 4, 4),))
    for n in (1, 2, 3, 4, 5, 6, 7, 8, 12, 14):
        x = torch.randn(n, 3, 4, 4)
        torch.testing.assert_close(program.module()(x), minibatch_stddev(x, group))


@pytest.mark.parametrize("chosen", [None, "reference"])
def test_an_operator_of_every_kind_is_exported_with_a_dynamic_batch(chosen: str | None) -> None:
    class Layers(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            f, w = fastgan.setup_filter([1, 3, 3, 1]), torch.ones(3, 3, 3, 3)
            x = fastgan.bias_act(fastgan.upsample2d(x, f), torch.ones(3), act="swish", clamp=1)
            x = fastgan.conv2d_resample(fastgan.filter2d(x, f), w, f, down=2, padding=1)
            return fastgan.modulated_conv2d(fastgan.downsample2d(x, f), w, x.mean(dim=[2, 3]), padding=1)

    with fastgan.provider(chosen) if chosen else nullcontext():
        program = exported(Layers(), (torch.randn(2, 3, 8, 8),))
    assert "fastgan" not in str(program.graph)
    for n in (1, 2, 5):
        x = torch.randn(n, 3, 8, 8)
        torch.testing.assert_close(program.module()(x), Layers()(x), rtol=1e-4, atol=1e-4)
