"""What users hand to networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fastgan.models import Styled, build
from fastgan.ops import provider

SMALL = {"resolution": 16, "channel_base": 128, "channel_max": 8, "z_dim": 8, "num_classes": 3}
OWN = {"stylegan2": {"w_dim": 8, "mapping_layers": 2}, "dcgan": {}, "r3gan": {}}
FAMILIES = pytest.mark.parametrize("name", ["stylegan2", "dcgan", "r3gan"])
C = torch.eye(3)[[0, 2]]


def networks(name: str, **overrides: Any) -> Any:
    torch.manual_seed(0)
    _, G, D = build(name, **{**SMALL, **OWN[name], **overrides})
    return G.eval(), D.eval()


def picture(G, z, c):
    return G(z, c, **fixed(G))


def fixed(G) -> dict:
    """What makes the pictures of a generator a function of z and c."""
    return {"noise_mode": "const"} if isinstance(G, Styled) else {}


@FAMILIES
def test_latents_from_numpy_are_taken(name: str) -> None:
    G, _ = networks(name)
    z = np.random.RandomState(0).randn(2, 8)  # float64
    expected = picture(G, torch.from_numpy(z).float(), C)
    for given in (torch.from_numpy(z), z, z.tolist(), z.astype(">f8"), np.flip(np.flip(z, 1).copy(), 1), list(z)):
        assert torch.equal(picture(G, given, C), expected)
    z.setflags(write=False)
    assert torch.equal(picture(G, z, C), expected)
    if name == "stylegan2":
        assert torch.equal(G.mapping(z, C.numpy()), G.mapping(torch.from_numpy(z.astype("f4")), C))
        ws = np.random.RandomState(1).randn(2, 6, 8)
        expected = G.synthesis(torch.from_numpy(ws).float(), noise_mode="const")
        for rows in (ws, torch.from_numpy(ws)):
            assert torch.equal(G.synthesis(rows, noise_mode="const"), expected)


@FAMILIES
def test_one_hot_labels_of_any_kind_are_taken(name: str) -> None:
    G, D = networks(name)
    z, img, k = torch.randn(2, 8), torch.randn(2, 3, 16, 16), torch.tensor([0, 2])
    one_hot = F.one_hot(k, 3)
    for c in (one_hot, one_hot.bool(), one_hot.double(), one_hot.numpy(), one_hot.tolist(), np.eye(3)[[0, 2]]):
        assert torch.equal(picture(G, z, c), picture(G, z, C))
        assert torch.equal(D(img, c), D(img, C))


@FAMILIES
def test_images_of_any_floating_point_dtype_are_taken(name: str) -> None:
    _, D = networks(name)
    img = torch.randn(2, 3, 16, 16).half().float()
    for given in (img.double(), img.half(), img.double().numpy(), img.tolist()):
        assert torch.equal(D(given, C), D(img, C))


@FAMILIES
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_networks_of_another_dtype_take_float32(name: str, dtype: torch.dtype) -> None:
    G, D = networks(name)
    z = torch.randn(2, 8)
    expected = picture(G, z, C)
    logits = D(expected, C)
    G, D = G.to(dtype), D.to(dtype)
    img = picture(G, z, C)
    assert img.dtype == D(img, C).dtype == dtype
    tolerance = 1e-4 if dtype == torch.float64 else 0.1
    torch.testing.assert_close(img.float(), expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(D(expected, C).float(), logits, rtol=tolerance, atol=tolerance)


def test_a_mapping_in_float32_before_a_synthesis_in_half_precision() -> None:
    G, _ = networks("stylegan2")
    z = torch.randn(2, 8)
    expected = picture(G, z, C)
    G.synthesis.bfloat16()
    torch.testing.assert_close(picture(G, z, C).float(), expected, rtol=0.1, atol=0.1)


@FAMILIES
def test_what_cannot_be_meant_is_named(name: str) -> None:
    G, D = networks(name)
    z, img, k = torch.randn(2, 8), torch.randn(2, 3, 16, 16), torch.tensor([0, 2])
    for call, error, message in (
        (
            lambda: G(z.long(), C),
            TypeError,
            r"z must hold floating-point numbers drawn from N\(0, 1\), got torch.int64",
        ),
        (lambda: G(z.to(torch.complex64), C), TypeError, "z must hold .*, got torch.complex64"),
        (lambda: G(z.to_sparse(), C), TypeError, "z must hold .*, got torch.float32, torch.sparse_coo"),
        (lambda: G("3", C), TypeError, "z must hold .*, got str"),
        (lambda: G(None, C), TypeError, "z must hold .*, got NoneType"),
        (lambda: G([[1.0], [1.0, 2.0]], C), TypeError, "z must hold .*, got list"),
        (lambda: G(z.to("meta"), C), ValueError, "z must be on the network's device cpu, got meta"),
        (lambda: G(z, C.to("meta")), ValueError, "c must be on the network's device cpu, got meta"),
        (lambda: G(z[0], C), ValueError, r"z must have shape \[N, z_dim\]=\[N, 8\], got \[8\]"),
        (
            lambda: G(z, k),
            ValueError,
            r"c must have shape \[N, num_classes\]=\[2, 3\], got \[2\]; class numbers k go in as "
            r"torch.nn.functional.one_hot\(k, 3\)",
        ),
        (lambda: D(img, k[:, None]), ValueError, r"got \[2, 1\]; class numbers k go in"),
        (lambda: D(img, C.to(torch.complex64)), TypeError, "c must hold numbers: .*, got torch.complex64"),
        (
            lambda: D((img * 50 + 128).to(torch.uint8), C),
            TypeError,
            r"img must hold floating-point images in \[-1, 1\] \(of bytes: x / 127.5 - 1\), got torch.uint8",
        ),
        (lambda: D((img * 50 + 128).long().numpy(), C), TypeError, "img must hold .*, got torch.int64"),
        (lambda: D(img.to("meta"), C), ValueError, "img must be on the network's device cpu, got meta"),
        (lambda: D(img[0], C), ValueError, r"img must have shape \[N, 3, 16, 16\], got \[3, 16, 16\]"),
    ):
        with pytest.raises(error, match=message):
            call()


def test_what_cannot_be_meant_by_parts_of_stylegan2_is_named() -> None:
    G, _ = networks("stylegan2")
    z, ws = torch.randn(2, 8), torch.randn(2, 6, 8)
    generators = [torch.Generator()]
    for call, error, message in (
        (lambda: G.mapping(z.int(), C), TypeError, "z must hold .*, got torch.int32"),
        (lambda: G.synthesis(ws.int()), TypeError, "ws must hold floating-point rows of w, got torch.int32"),
        (lambda: G.synthesis(ws.to("meta")), ValueError, "ws must be on the network's device cpu, got meta"),
        (lambda: G.mapping(z, C, "half"), TypeError, "truncation_psi must be a number, got str"),
        (
            lambda: G.mapping(z, C, 0.5, 7),
            ValueError,
            "truncation_cutoff must be an integer from 0 to 6 or None, got 7",
        ),
        (lambda: G.mapping(z, C, 0.5, 2.0), ValueError, "truncation_cutoff must be an integer from .*, got 2.0"),
        (lambda: G.mapping(z, C, torch.ones(2)), TypeError, "truncation_psi must be a number, got Tensor"),
        (
            lambda: G.mapping(z, C, float("nan")),
            ValueError,
            "truncation_psi must be finite and within float32, got nan",
        ),
        (lambda: G.mapping(z, C, 0.5, -1), ValueError, "truncation_cutoff must be an integer from .*, got -1"),
        (lambda: G.synthesis(ws, generator=3), TypeError, "generator must be a torch.Generator, .*, got int"),
        (lambda: G.synthesis(ws, generator=generators), ValueError, "one for each of the 2 samples; got 1"),
    ):
        with pytest.raises(error, match=message):
            call()


def test_truncation_takes_numbers_of_numpy_and_torch() -> None:
    G, _ = networks("stylegan2")
    z = torch.randn(2, 8)
    G.mapping.w_avg.normal_()
    expected = G.mapping(z, C, truncation_psi=0.5, truncation_cutoff=2)
    for psi, cutoff in ((np.float32(0.5), np.int64(2)), (np.float64(0.5), 2), (torch.tensor(0.5), torch.tensor(2))):
        assert torch.equal(G.mapping(z, C, truncation_psi=psi, truncation_cutoff=cutoff), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_truncation_under_autocast(dtype: torch.dtype) -> None:
    G, _ = networks("stylegan2")
    z = torch.randn(2, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ws = G.mapping(z.to(dtype), C, truncation_psi=0.5, update_emas=True)
    assert ws.dtype == G.mapping.w_avg.dtype == torch.float32 and G.mapping.w_avg.abs().max() > 0


@FAMILIES
def test_gradients_reach_latents_and_images_through_the_cast(name: str) -> None:
    G, D = networks(name)
    z, img = torch.randn(2, 8).double().requires_grad_(), torch.randn(2, 3, 16, 16).double().requires_grad_()
    (picture(G, z, C).sum() + D(img, C).sum()).backward()
    assert z.grad.dtype == img.grad.dtype == torch.float64 and z.grad.abs().max() > 0 and img.grad.abs().max() > 0


def test_a_generator_of_ones_own_draws_the_noise_alone() -> None:
    G, _ = networks("stylegan2")
    for layer in G.synthesis.layers:
        layer.noise_strength.data.fill_(0.5)
    z, before = torch.randn(3, 8), torch.get_rng_state()
    c = torch.eye(3)

    def make(*seeds: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        own = [torch.Generator().manual_seed(seed) for seed in seeds]
        return G.to(dtype)(z, c, noise_mode="random", generator=own if len(own) > 1 else own[0]).float()

    img, each = make(1), make(1, 2, 3)
    assert torch.equal(before, torch.get_rng_state()) and torch.equal(img, make(1))
    torch.testing.assert_close(make(7, 2, 9)[1], each[1])
    torch.testing.assert_close(make(1, dtype=torch.float64), img, rtol=1e-3, atol=1e-4)
    assert not torch.equal(img, make(2))


@FAMILIES
def test_attributes_that_users_of_the_field_reach_for(name: str) -> None:
    G, D = networks(name, resolution=(16, 24))
    for network in (G, D):
        assert (network.c_dim, network.img_channels, network.img_resolution) == (3, 3, 24)
        assert network.num_classes == 3 and network.resolution == (16, 24)
    assert G.z_dim == 8
    if name == "stylegan2":
        assert (G.w_dim, G.num_ws, G.mapping.num_ws, G.synthesis.num_ws) == (8, 6, 6, 6)
        assert (G.mapping.z_dim, G.mapping.c_dim, G.mapping.w_dim) == (8, 3, 8)
        assert (G.synthesis.w_dim, G.synthesis.img_resolution, G.synthesis.img_channels) == (8, 24, 3)
        z = torch.from_numpy(np.random.RandomState(3).randn(1, G.z_dim))
        label = torch.zeros([1, G.c_dim])
        label[:, 1] = 1
        ws = G.mapping(z, label, 0.7, 4)
        img = G.synthesis(ws, noise_mode="const")
        assert torch.equal(img, G(z, label, truncation_psi=0.7, truncation_cutoff=4, noise_mode="const"))


@FAMILIES
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_a_seed_builds_the_same_network_under_any_default_dtype(name: str, dtype: torch.dtype) -> None:
    states = []
    for default in (torch.float32, dtype):
        torch.set_default_dtype(default)
        states.append([network.state_dict() for network in networks(name)])
    for state, other in zip(*states, strict=True):
        for key, value in state.items():
            assert other[key].dtype == (dtype if value.is_floating_point() else value.dtype)
            assert torch.equal(other[key], value.to(other[key].dtype)), key


@FAMILIES
def test_networks_are_compiled_and_exported_and_mapped(name: str) -> None:
    G, D = networks(name)
    z = torch.randn(2, 8)
    with torch.no_grad():
        expected = picture(G, z, C)
    compiled = torch.compile(lambda z, c: picture(G, z, c), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(z.double(), C.long()), picture(G, z.double(), C.long()))
    if name == "stylegan2":
        truncated = torch.compile(lambda z, c: G.mapping(z, c, 0.5, 2), backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(truncated(z, C), G.mapping(z, C, 0.5, 2))
    exported = torch.export.export(G, (z, C), fixed(G))
    torch.testing.assert_close(exported.module()(z, C, **fixed(G)), expected)
    exported = torch.export.export(D, (expected, C))
    torch.testing.assert_close(exported.module()(expected, C), D(expected, C))
    with provider("reference"):
        rows = torch.vmap(lambda z, c: picture(G, z[None], c[None])[0])(z, C)
    torch.testing.assert_close(rows, expected, rtol=1e-4, atol=1e-5)
