"""Networks keep the memory format that they were converted to, from the first layer to the last and on the way back."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fastgan.choices import MODELS
from fastgan.losses.penalties import PathLength, r1
from fastgan.models.registry import build
from fastgan.nn import minibatch_stddev
from fastgan.ops.arguments import dense_format, has_format

BATCH = 6  # no tensor but images has it as the first of four sizes
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
STYLED = {"channel_base": 192, "channel_max": 24, "z_dim": 8, "w_dim": 8, "mapping_layers": 2, "num_classes": 3}
NARROW = {"channel_base": 12, "d_channel_base": 12}
FAMILIES: dict[str, dict[str, Any]] = {
    "stylegan2": {"resolution": 16, **STYLED},
    "stylegan2-gray": {"resolution": 16, **STYLED, "img_channels": 1},
    "stylegan3-t": {"resolution": 16, **STYLED, "layers": 5},
    "stylegan3-r": {"resolution": 16, **STYLED, "layers": 5},
    "dcgan": {"resolution": 16, "channel_base": 192, "channel_max": 24, "z_dim": 8, "num_classes": 3},
    "dcgan-gray": {"resolution": 16, "channel_base": 192, "z_dim": 8, "img_channels": 1},
    "r3gan": {"resolution": 16, "channel_base": 192, "channel_max": 24, "z_dim": 8, "num_classes": 3, "group_size": 8},
    "pix2pix": {"resolution": 64, **NARROW, "receptive_field": 34},
    "pix2pix-batch": {"resolution": 64, **NARROW, "receptive_field": 16, "norm": "batch"},
    "pix2pix-gray": {"resolution": 32, **NARROW, "receptive_field": 16, "in_channels": 1, "out_channels": 1},
    "cyclegan": {"resolution": 32, **NARROW, "receptive_field": 16, "num_blocks": 1},
    "cyclegan-unet": {"resolution": 32, **NARROW, "receptive_field": 16, "generator": "unet"},
    "cyclegan-gray": {"resolution": 32, **NARROW, "receptive_field": 16, "in_channels": 1, "num_blocks": 1},
}
# Copies bring images into another format; the last moves a gradient into the layout of its leaf.
COPIES = ("aten::clone", "aten::_to_copy", "aten::copy_", "aten::new_empty_strided")


class Formats(TorchDispatchMode):
    """Counts the square images that torch's operators compute, by memory format; views and copies compute nothing.

    An image [BATCH, C, H, W] of one channel or of one pixel has no format of its own. Those that only look like one are
    in the order [BATCH, H, W, C].
    """

    def __init__(self) -> None:
        super().__init__()
        self.images: dict[torch.memory_format, Counter[str]] = {form: Counter() for form in FORMATS.values()}
        self.copies: list[torch.Size] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        results, name = func(*args, **(kwargs or {})), func._schema.name
        for result in () if func.is_view else results if isinstance(results, (tuple, list)) else (results,):
            if not isinstance(result, torch.Tensor) or result.ndim != 4 or len(result) != BATCH:
                continue
            if name in COPIES:
                self.copies.append(result.shape)
            elif has_format(result) and result.shape[2] == result.shape[3]:
                self.images[dense_format(result)][f"{name} {list(result.shape[1:])}"] += 1
        return results


def step(name: str, networks: list[Any], cfg: Any, images: list[torch.Tensor]) -> None:
    """A training step's passes: images, logits, gradients, and the penalties that the family has."""
    if name.startswith(("stylegan", "dcgan", "r3gan")):
        (G, D), (real,) = networks, images
        c = torch.eye(BATCH, cfg.num_classes) if cfg.num_classes else None
        D(G(torch.randn(BATCH, cfg.z_dim), c), c).sum().backward()
        D(real, c).sum().backward()
        if name.startswith(("stylegan2", "r3gan")):
            r1(D, real, c).sum().backward()
        if name.startswith("stylegan2"):
            PathLength()(lambda ws: G.synthesis(ws), G.mapping(torch.randn(BATCH, cfg.z_dim), c)).sum().backward()
        return
    a, b = images
    if name.startswith("pix2pix"):
        G, D = networks
        D(a, G(a)).sum().backward()
        D(a, b).sum().backward()
        return
    G_ab, G_ba, D_a, D_b = networks
    D_b(G_ab(a)).sum().backward()
    D_a(G_ba(G_ab(a))).sum().backward()
    r1(lambda x, c: D_b(x), b).sum().backward()


def seen(name: str, memory_format: torch.memory_format, fed: torch.memory_format) -> Formats:
    cfg, *networks = build(name if name in MODELS else name.partition("-")[0], **FAMILIES[name])
    for network in networks:
        network.to(memory_format=memory_format)
    channels = [getattr(cfg, key) for key in ("img_channels", "in_channels", "out_channels") if hasattr(cfg, key)]
    images = [torch.randn(BATCH, c, *cfg.resolution).contiguous(memory_format=fed) for c in channels]
    with Formats() as formats:
        step(name, networks, cfg, images)
    return formats


@pytest.mark.parametrize(
    ("memory_format", "fed"),
    [("contiguous", "contiguous"), ("channels_last", "contiguous"), ("channels_last", "channels_last")],
)
@pytest.mark.parametrize("name", FAMILIES)
def test_all_of_a_network_runs_in_its_memory_format(native_provider, name, memory_format, fed):
    check(name, memory_format, fed)


def test_all_of_a_network_runs_in_its_memory_format_by_the_kernels_of_a_gpu(shim):
    with shim.selected():
        check("stylegan2", "channels_last", "channels_last")


def check(name: str, memory_format: str, fed: str) -> None:
    found = seen(name, FORMATS[memory_format], FORMATS[fed])
    (other,) = {*FORMATS} - {memory_format}
    lost = found.images[FORMATS[other]]
    for row in [*lost]:
        if row in ("aten::add [24, 4, 4]", "aten::add [48, 4, 4]", "aten::mul [48, 4, 4]"):
            del lost[row]  # of a gradient, before it comes to a layer: dense layers take features in the order of C
        if name.startswith("stylegan3") and row in ("aten::mul [24, 2, 2]", "aten::mul [48, 2, 2]"):
            del lost[row]  # no images: frequencies times 2x2 rotations
    if name == "stylegan2-gray" and memory_format == "channels_last":  # from-RGB alone, of images without a format
        assert {row.split(" ", 1)[1] for row in lost} == {"[12, 16, 16]"} and lost.total() <= 4
        lost.clear()
    assert not lost
    assert found.images[FORMATS[memory_format]].total() >= 25


@pytest.mark.parametrize("name", ["stylegan2", "dcgan"])
def test_a_network_fed_in_its_format_copies_nothing_but_its_smallest_features(native_provider, name):
    copies = seen(name, torch.channels_last, torch.channels_last).copies
    assert all(shape.numel() <= BATCH * 48 * 4 * 4 for shape in copies), copies


@pytest.mark.parametrize("memory_format", FORMATS)
def test_minibatch_stddev_keeps_the_format(memory_format):
    x = torch.randn(4, 3, 5, 5)
    y = minibatch_stddev(x.contiguous(memory_format=FORMATS[memory_format]))
    assert dense_format(y) == FORMATS[memory_format]
    torch.testing.assert_close(y, minibatch_stddev(x))


def test_other_weights_decide_nothing():
    """Of one input channel, or of one pixel: no format could be read from them."""
    _, G, _ = build("stylegan2", resolution=8, channel_max=1, z_dim=4, w_dim=4)
    assert G.to(memory_format=torch.channels_last)(torch.randn(2, 4)).shape == (2, 3, 8, 8)
