"""Networks in half precision on a CPU: as near to float32 as the digits allow, and in the dtypes that are told."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastgan.losses.penalties import PathLength, r1
from fastgan.models.registry import build
from fastgan.nn import Precision, SynthesisLayer, ToRGB, set_precision
from fastgan.nn.alias_free import AliasFreeLayer
from fastgan.nn.precision import CLAMP

STYLED = {"channel_base": 128, "channel_max": 16, "z_dim": 8, "w_dim": 8, "conv_clamp": CLAMP}
NOISE: dict[str, dict[str, Any]] = {
    "stylegan2": {"resolution": 32, "mapping_layers": 2, "style_mixing": 0.0, **STYLED},
    "stylegan3-t": {"resolution": 16, "layers": 5, **STYLED},
    "stylegan3-r": {"resolution": 16, "layers": 5, **STYLED},
    "dcgan": {"resolution": 32, "channel_base": 256, "channel_max": 32, "z_dim": 8},
    "r3gan": {"resolution": 32, "channel_base": 512, "channel_max": 32, "z_dim": 8},
}
NARROW = {"channel_base": 8, "d_channel_base": 8}
TRANSLATING: dict[str, dict[str, Any]] = {
    "pix2pix": {"resolution": 32, **NARROW, "receptive_field": 34, "dropout": 0.0},
    "pix2pix-batch": {"resolution": 32, **NARROW, "receptive_field": 16, "norm": "batch", "dropout": 0.0},
    "cyclegan": {"resolution": 32, **NARROW, "receptive_field": 16, "num_blocks": 1},
}
HALVES = ("bf16", "fp16")
# Largest relative error in L2 of what was seen, doubled: (images and logits, gradients and penalties).
BOUNDS = {"bf16": (0.04, 0.15), "fp16": (0.006, 0.09)}


def distance(values: list[Tensor], exact: list[Tensor]) -> float:
    """Relative error in L2 of all values together."""
    assert [value.dtype for value in values] == [torch.float32] * len(exact)
    mine, theirs = (torch.cat([each.detach().flatten().double() for each in side]) for side in (values, exact))
    assert mine.isfinite().all() and theirs.norm() > 0
    return float((mine - theirs).norm() / theirs.norm())


def parameters(*networks: nn.Module) -> list[nn.Parameter]:
    return [parameter for network in networks for parameter in network.parameters()]


def gradients(*networks: nn.Module) -> list[Tensor]:
    """Those of all parameters, which must each have one, in its dtype; gone afterwards."""
    found = [parameter.grad for parameter in parameters(*networks) if parameter.grad is not None]
    assert len(found) == len(parameters(*networks))
    for network in networks:
        network.zero_grad(set_to_none=True)
    return found


def networks_of(family: str, settings: dict[str, Any]) -> list[Any]:
    torch.manual_seed(0)
    _, *networks = build(family.removesuffix("-batch"), **settings)
    for module in (module for network in networks for module in network.modules()):
        if isinstance(module, SynthesisLayer):
            nn.init.constant_(module.noise_strength, 0.3)
    return networks


def in_precision(policy: Precision, networks: list[Any], call: Any) -> Any:
    for network in networks:
        set_precision(network, policy)
    torch.manual_seed(1)
    return call()


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("family", NOISE)
def test_images_logits_and_gradients_are_near_those_of_float32(family, half):
    G, D = networks_of(family, NOISE[family])
    z = torch.randn(4, 8)

    def call():
        images = G(z)
        logits = D(images)
        nn.functional.softplus(-logits).mean().backward()
        return [images], [logits], gradients(G, D)

    exact = in_precision(Precision(), [G, D], call)
    values, bounds = in_precision(Precision(half), [G, D], call), BOUNDS[half]
    assert 1e-6 < distance(values[0], exact[0]) < bounds[0]  # and not 0: something was computed in half precision
    assert distance(values[1], exact[1]) < bounds[0]
    assert distance(values[2], exact[2]) < bounds[1] * (2 if family == "dcgan" else 1)  # batches of 4 are normalised
    again = in_precision(Precision(), [G, D], call)
    assert all(
        torch.equal(a, b) for one, other in zip(again, exact, strict=True) for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("family", TRANSLATING)
def test_translations_are_near_those_of_float32(family, half):
    networks = networks_of(family, TRANSLATING[family])
    G, D = networks[0], networks[-1]
    image = torch.rand(2, 3, 32, 32) * 2 - 1

    def call():
        made = G(image)
        logits = D(image, made) if family.startswith("pix2pix") else D(made)
        (logits - 1).square().mean().backward()
        return [made], [logits], gradients(G, D)

    exact, values = (in_precision(Precision(name), networks, call) for name in ("fp32", half))
    bounds = BOUNDS[half]
    assert 1e-6 < distance(values[0], exact[0]) < bounds[0]
    assert distance(values[1], exact[1]) < 2 * bounds[0]
    assert distance(values[2], exact[2]) < 2 * bounds[1]


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("family", ["stylegan2", "stylegan3-t", "stylegan3-r"])
def test_penalties_and_their_gradients_are_near_those_of_float32(family, half):
    G, D = networks_of(family, NOISE[family])
    z, images = torch.randn(4, 8), torch.rand(4, 3, *G.resolution) * 2 - 1

    def gradients_of(penalty, network):
        penalty.mean().backward()
        found = [p.grad for p in network.parameters() if p.grad is not None]
        network.zero_grad(set_to_none=True)
        return [penalty], found

    def call():
        found = gradients_of(r1(D, images), D)
        path_length = PathLength()
        found += gradients_of(path_length(G.synthesis, G.mapping(z)), G)
        return *found, [path_length.mean]

    exact, values = (in_precision(Precision(name), [G, D], call) for name in ("fp32", half))
    assert [distance(mine, theirs) < BOUNDS[half][1] for mine, theirs in zip(values, exact, strict=True)] == [True] * 5


def dtypes_into(network: Any, kinds: tuple[type, ...], call: Any) -> list[torch.dtype]:
    """Of the first argument of each of these modules, in the order of their calls."""
    seen: list[torch.dtype] = []
    hooks = [
        module.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0].dtype))
        for module in network.modules()
        if isinstance(module, kinds)
    ]
    call()
    for hook in hooks:
        hook.remove()
    return seen


def test_stylegan2_computes_the_highest_resolutions_in_half_precision():
    G, D = networks_of("stylegan2", NOISE["stylegan2"])
    set_precision(G, Precision("bf16", 2))
    set_precision(D, Precision("bf16", 2))
    wide, half = torch.float32, torch.bfloat16
    # 4: layer, to-RGB; 8, 16, 32: two layers and to-RGB each
    expected = [wide] * 2 + [wide] * 3 + [half] * 6
    assert dtypes_into(G.synthesis, (SynthesisLayer, ToRGB), lambda: G(torch.randn(2, 8))) == expected
    parts = (type(D.from_rgb), type(D.dense), type(D.blocks[0]))
    # from-RGB; blocks at 32, 16, 8, each with its three convolutions; then the convolution and dense layers at 4
    expected = [half] + [half] * 4 + [half] * 4 + [wide] * 4 + [wide] * 3
    assert dtypes_into(D, parts, lambda: D(torch.randn(2, 3, 32, 32))) == expected
    # Never the lowest resolution, the mapping, or what follows.
    set_precision(G, Precision("bf16", 9))
    set_precision(D, Precision("bf16", 9))
    assert dtypes_into(G.synthesis, (SynthesisLayer, ToRGB), lambda: G(torch.randn(2, 8)))[:3] == [wide, wide, half]
    assert dtypes_into(D, parts, lambda: D(torch.randn(2, 3, 32, 32)))[-4:] == [half, wide, wide, wide]
    assert set(dtypes_into(G.mapping, (nn.Module,), lambda: G.mapping(torch.randn(2, 8)))) == {wide}


def test_stylegan3_goes_by_the_sampling_rates():
    _, G, _ = build("stylegan3-t", **{**NOISE["stylegan3-t"], "resolution": 64, "layers": 14})
    set_precision(G, Precision("fp16", 1))
    rates = G.synthesis.rates
    assert rates[:-1] == [16] * 4 + [32] * 4 + [64] * 6
    expected = [torch.float16 if rate == 64 else torch.float32 for rate in rates[:-1]]
    with torch.no_grad():
        assert dtypes_into(G.synthesis, (AliasFreeLayer,), lambda: G(torch.randn(1, 8))) == expected


def test_images_are_summed_in_float32():
    layer = ToRGB(4, 3, 8, clamp=CLAMP)
    x, w, before = torch.randn(2, 4, 8, 8, dtype=torch.float16), torch.randn(2, 8), torch.full((2, 3, 8, 8), 1000.0)
    with torch.no_grad():
        apart = layer(x, w)
        together = layer(x, w, residual=before)
    assert apart.dtype == torch.float16 and together.dtype == torch.float32
    assert torch.equal(together, before + apart.float())
    assert not torch.equal(together, (before.half() + apart).float())


def test_large_weights_and_styles_do_not_overflow_where_demodulation_cancels_them():
    G = networks_of("stylegan2", NOISE["stylegan2"])[0]
    with torch.no_grad():
        for layer in G.synthesis.layers:
            layer.weight *= 1e4
            layer.affine.weight *= 1e4
            layer.affine.bias *= 1e4
        z = torch.randn(2, 8)
        exact, values = (in_precision(Precision(name), [G], lambda: G(z)) for name in ("fp32", "fp16"))
    assert distance([values], [exact]) < BOUNDS["fp16"][0]


@pytest.mark.parametrize(("part", "layers"), [("G", 7), ("D", 8)])
def test_activations_are_bounded_in_every_layer_of_both_precisions(part, layers):
    G, D = networks_of("stylegan2", {**NOISE["stylegan2"], "conv_clamp": 2.0})
    network, kind = (G, SynthesisLayer) if part == "G" else (D, type(D.from_rgb))
    set_precision(network, Precision("fp16", 2))
    largest: list[float] = []
    for module in (each for each in network.modules() if isinstance(each, kind)):
        if module.bias is not None:
            with torch.no_grad():
                module.bias += 100.0
            gain = 0.5**0.5 if part == "D" and module.down == 2 else 1.0
            module.register_forward_hook(lambda m, _, y, gain=gain: largest.append(float(y.abs().max()) / gain))
    with torch.no_grad():
        network(torch.randn(2, 8) if part == "G" else torch.randn(2, 3, 32, 32))
    assert largest == pytest.approx([2.0] * layers, rel=1e-3)
