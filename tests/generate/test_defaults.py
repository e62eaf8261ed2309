"""A seed's picture under torch's settings and in networks of other dtypes."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastgan.checkpoint import save_checkpoint
from fastgan.generate import Sampler
from fastgan.models.registry import build

SMALL = {"resolution": (16, 16), "channel_base": 128, "channel_max": 8, "num_classes": 3}
OWN = {"stylegan2": {"z_dim": 32, "w_dim": 32, "mapping_layers": 2}, "dcgan": {"z_dim": 32}}
FAMILIES = pytest.mark.parametrize("name", ["stylegan2", "dcgan"])
MODES = pytest.mark.parametrize("noise_mode", ["const", "random"])


def network(name: str):
    torch.manual_seed(0)
    _, G, _ = build(name, **SMALL, **OWN[name])
    for key, parameter in G.named_parameters():
        if key.endswith("noise_strength"):
            parameter.data.fill_(0.1)
    return G


def checkpoint(tmp_path: Path, name: str) -> Path:
    path, G = tmp_path / "network.safetensors", network(name)
    save_checkpoint(path, {"model": {"name": name, "config": SMALL | OWN[name]}, "G_ema": G.state_dict()}, metadata={})
    return path


def psi(name: str) -> float:
    return 0.7 if name == "stylegan2" else 1.0


@FAMILIES
@MODES
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_the_default_dtype_changes_no_picture(tmp_path: Path, name: str, noise_mode: str, dtype: torch.dtype) -> None:
    path = checkpoint(tmp_path, name)
    here = Sampler(network(name))
    options = {"truncation_psi": psi(name), "noise_mode": noise_mode}
    expected = here.images(range(6), **options)
    torch.set_default_dtype(dtype)
    loaded = Sampler.from_checkpoint(path)
    assert {weight.dtype for weight in loaded.G.parameters()} == {torch.float32}
    assert torch.equal(loaded.images(range(6), **options), expected)
    # Centers of classes are drawn anew, too.
    assert torch.equal(Sampler(here.G).images(range(6), **options), expected)


@FAMILIES
@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_a_default_device_changes_no_picture(tmp_path: Path, name: str, device: str) -> None:
    path = checkpoint(tmp_path, name)
    expected = Sampler.from_checkpoint(path).images(range(3), psi(name), noise_mode="random")
    with torch.device(device):
        sampler = Sampler.from_checkpoint(path)
        images = sampler.images(range(3), psi(name), noise_mode="random")
        assert sampler.images([]).device.type == "cpu"
    assert images.device.type == "cpu" and torch.equal(images, expected)


@FAMILIES
@MODES
@pytest.mark.parametrize(
    ("dtype", "levels", "mean"),
    # Measured with these networks: 1, 2 and 11 levels at most, on average 0.0005, 0.1 and 0.8.
    [(torch.float64, 1, 0.002), (torch.float16, 4, 0.3), (torch.bfloat16, 24, 2.0)],
    ids=["float64", "float16", "bfloat16"],
)
def test_networks_of_other_dtypes_give_nearly_the_picture(
    name: str, noise_mode: str, dtype: torch.dtype, levels: int, mean: float
) -> None:
    expected = Sampler(network(name)).images(range(8), psi(name), noise_mode=noise_mode)
    sampler = Sampler(network(name).to(dtype))
    difference = (sampler.images(range(8), psi(name), noise_mode=noise_mode).int() - expected.int()).abs().float()
    assert difference.max() <= levels and difference.mean() <= mean
    z, c = sampler.latents(range(3))
    assert c is not None and z.dtype == c.dtype == dtype
    assert torch.equal(z, Sampler(network(name)).latents(range(3))[0].to(dtype))


@FAMILIES
def test_the_number_of_threads_changes_no_latent_and_no_picture_by_more_than_a_level(name: str) -> None:
    G = network(name)
    made = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        sampler = Sampler(G)
        made.append((*sampler.latents(range(6)), sampler.images(range(6), psi(name), noise_mode="random")))
    (z, c, images), (other_z, other_c, other_images) = made
    assert torch.equal(z, other_z) and torch.equal(c, other_c)
    assert (images.int() - other_images.int()).abs().max() <= 1


def test_loading_leaves_the_random_numbers_of_other_threads_alone(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, "dcgan")
    torch.manual_seed(3)
    expected = torch.stack([torch.randn(2) for _ in range(200)])
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            Sampler.from_checkpoint(path)

    thread = threading.Thread(target=load)
    torch.manual_seed(3)
    thread.start()
    try:
        drawn = []
        for _ in range(200):
            drawn.append(torch.randn(2))
            threading.Event().wait(0.001)
    finally:
        stop.set()
        thread.join()
    assert torch.equal(torch.stack(drawn), expected)


def test_a_checkpoint_in_half_precision_is_sampled_in_float32(tmp_path: Path) -> None:
    G, path = network("stylegan2"), tmp_path / "half.safetensors"
    tree = {"model": {"name": "stylegan2", "config": SMALL | OWN["stylegan2"]}, "G_ema": G.half().state_dict()}
    save_checkpoint(path, tree, metadata={})
    assert torch.equal(Sampler.from_checkpoint(path).images([1, 2]), Sampler(G.float()).images([1, 2]))


@pytest.mark.parametrize(
    "seeds",
    [
        np.array([3, 9]),
        np.array([3, 9], np.uint8),
        torch.tensor([3, 9]),
        (np.int64(3), torch.tensor(9)),
        range(3, 10, 6),
    ],
    ids=["array", "bytes", "tensor", "scalars", "range"],
)
def test_seeds_classes_and_psi_of_numpy_and_torch_are_taken(seeds) -> None:
    sampler: Any = Sampler(network("stylegan2"))
    expected = sampler.images([3, 9], 0.5, 1)
    assert torch.equal(sampler.images(seeds, np.float32(0.5), np.int64(1), batch_size=np.int64(2)), expected)
    assert torch.equal(sampler.images(iter(seeds), torch.tensor(0.5), torch.tensor(1)), expected)
    both = sampler.images([3, 9], 0.5, [1, 2])
    for classes in (np.array([1, 2]), torch.tensor([1, 2]), range(1, 3)):
        assert torch.equal(sampler.images(seeds, 0.5, classes), both)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": np.array([0.5])}, "seeds must be integers, got np.float64"),
        ({"seeds": torch.tensor([1.0])}, "seeds must be integers, got tensor"),
        ({"seeds": np.array([True, False])}, "seeds must be integers, got np.True_"),
        ({"seeds": torch.tensor([True])}, "seeds must be integers, got tensor"),
        ({"seeds": np.array([[1]])}, "seeds must be integers, got array"),
        ({"seeds": np.array(3)}, "seeds must be a list or range of integers"),
        ({"seeds": torch.tensor(3)}, "seeds must be a list or range of integers"),
        ({"seeds": None}, "seeds must be a list or range of integers"),
        ({"class_index": "food"}, "class_index must be from 0 to 2; got 'food'"),
        ({"class_index": True}, "class_index must be from 0 to 2; got True"),
        ({"class_index": np.array([0, 3])}, "class_index must be from 0 to 2; got np.int64"),
        ({"class_index": -1}, "class_index must be from 0 to 2; got -1"),
        ({"class_index": torch.tensor(0.0)}, "class_index must be from 0 to 2; got tensor"),
        ({"truncation_psi": True}, "truncation_psi must be a number within ±100, got True"),
        ({"truncation_psi": np.array([0.5, 1])}, "truncation_psi must be a number within ±100, got array"),
        ({"batch_size": True}, "batch_size must be at least 1, got True"),
    ],
    ids=str,
)
def test_what_is_no_seed_class_or_psi_is_named(options: dict, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        Sampler(network("stylegan2")).batches(**{"seeds": [0], **options})  # at once, before the first batch
