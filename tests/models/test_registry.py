from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from fastgan.config.options import AdversarialOptions
from fastgan.models import MODELS, FromImage, build, configure, family

OF_NOISE = [name for name in MODELS if family(name).data == "images"]


@pytest.mark.parametrize("name", [name for name in MODELS if name not in OF_NOISE])
def test_every_family_of_translations_builds_what_the_trainer_needs(name):
    chosen = family(name)
    assert chosen.name == name and chosen.data in ("pairs", "two-sets")
    cfg, *networks = build(name, resolution=(32, 32), channel_base=4, d_channel_base=4)
    assert isinstance(cfg, chosen.config) and len(networks) == len(chosen.networks) > 1
    assert isinstance(networks[0], FromImage) and isinstance(chosen.options(), AdversarialOptions)
    with pytest.raises(dataclasses.FrozenInstanceError):
        cfg.channel_base = 3


@pytest.mark.parametrize("name", OF_NOISE)
def test_every_family_builds_what_the_trainer_needs(name):
    chosen = family(name)
    assert chosen.name == name
    cfg, G, D = build(name, resolution=(8, 8), channel_base=32, z_dim=4)
    assert isinstance(cfg, chosen.config) and dataclasses.is_dataclass(cfg)
    assert (G.z_dim, G.num_classes, G.img_channels, G.resolution) == (4, 0, 3, (8, 8))
    assert list(chosen.networks) == ["G", "D"] and isinstance(chosen.options(), AdversarialOptions)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(cfg, "z_dim", 3)  # noqa: B010


def test_importing_the_registry_imports_no_family():
    names = [f"fastgan.models.{name}" for name in MODELS]
    code = f"import sys, fastgan.models; sys.exit(any(name in sys.modules for name in {names}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: family("stylegan"),
            r"model must be one of cyclegan, dcgan, pix2pix, r3gan, stylegan2, stylegan3-r, stylegan3-t; got "
            r"'stylegan' \(did you mean 'stylegan2'\?\)",
        ),
        (
            lambda: build("unheard-of"),
            r"model must be one of cyclegan, dcgan, pix2pix, r3gan, stylegan2, stylegan3-r, stylegan3-t; got "
            r"'unheard-of'$",
        ),
        (
            lambda: configure("dcgan", zdim=3),
            r"field of dcgan must be one of .*; got 'zdim' \(did you mean 'z_dim'\?\)",
        ),
        (lambda: configure("stylegan2", resolution=4), r"resolution must be \(H, W\) = start .*got \(4, 4\)"),
        (lambda: configure("stylegan2", resolution=(63, 64)), r"resolution must be .*got \(63, 64\)"),
        (lambda: configure("stylegan2", resolution="64"), r"resolution must be an integer or \(H, W\), got '64'"),
        (
            lambda: configure("stylegan2", resolution=(64, 64.0)),
            "resolution must be an integer of at least 1, got 64.0",
        ),
        (lambda: configure("stylegan2", z_dim=0), "z_dim must be an integer of at least 1, got 0"),
        (lambda: configure("stylegan2", num_classes=-1), "num_classes must be an integer of at least 0, got -1"),
        (lambda: configure("stylegan2", mbstd_group=True), "mbstd_group must be an integer of at least 1, got True"),
        (lambda: configure("stylegan2", style_mixing=1.5), r"style_mixing must be a number in \[0, 1\], got 1.5"),
        (lambda: configure("stylegan2", cmap_dim=0), "cmap_dim must be an integer of at least 1, got 0"),
        (lambda: configure("dcgan", kernel_size=3), "kernel_size must be one of 4, 5, got 3"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_resolution_forms():
    assert configure("dcgan", resolution=32).resolution == (32, 32)
    assert configure("dcgan", resolution=[32, 48]).resolution == (32, 48)


@pytest.mark.parametrize("name", OF_NOISE)
def test_a_configuration_of_numpys_and_torchs_numbers_is_the_plain_one(name):
    kinds = itertools.cycle([np.int64, np.int32, torch.tensor, np.array])
    sizes = {"img_channels": 1, "z_dim": 4, "channel_base": 64, "channel_max": 8, "num_classes": 3}
    given = {field: kind(value) for (field, value), kind in zip(sizes.items(), kinds, strict=False)}
    plain = configure(name, resolution=(16, 8), **sizes)
    assert configure(name, resolution=np.array([16, 8]), **given) == plain
    assert configure(name, resolution=[np.int64(16), torch.tensor(8)], **given) == plain
    assert configure(name, resolution=np.int64(16), **sizes) == configure(name, resolution=16, **sizes)
    assert json.dumps(dataclasses.asdict(configure(name, resolution=np.array([16, 8]), **given)))
    cfg, G, _ = build(name, resolution=np.int32(8), **given)
    assert G(torch.zeros(1, 4), torch.eye(3)[:1]).shape == (1, 1, 8, 8)
    for bad in (np.float64(4), torch.tensor(4.0), np.bool_(True), np.array([4])):
        with pytest.raises(ValueError, match="z_dim must be an integer of at least 1, got"):
            configure(name, z_dim=bad)


def test_fractions_switches_and_choices_of_numpy_are_plain_too():
    cfg = configure("stylegan2", style_mixing=np.float32(0.5), noise=np.False_, conv_clamp=torch.tensor(256.0))
    assert cfg == configure("stylegan2", style_mixing=0.5, noise=False, conv_clamp=256.0)
    assert configure("dcgan", kernel_size=np.int64(4)) == configure("dcgan", kernel_size=4)
