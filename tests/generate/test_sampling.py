from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import fastgan
from fastgan.checkpoint import CheckpointError, save_checkpoint
from fastgan.generate import Sampler
from fastgan.generate.quantise import to_uint8
from fastgan.models.registry import build
from fastgan.models.transforms import placement
from tests.models import movable

SMALL = {"resolution": (16, 16), "channel_base": 128, "channel_max": 8, "z_dim": 8, "w_dim": 8, "mapping_layers": 2}


def network(tmp_path: Path, name: str = "stylegan2", classes: tuple[str, ...] = (), **overrides: object) -> Path:
    """A checkpoint with random weights and a visible noise strength."""
    torch.manual_seed(0)
    config = {**(SMALL if name == "stylegan2" else {}), "num_classes": len(classes), **overrides}
    _, G, _ = build(name, **config)
    for key, parameter in G.named_parameters():
        if key.endswith("noise_strength"):
            parameter.data.fill_(0.5)
    path = tmp_path / "network.safetensors"
    metadata = {"kimg": 1.0, "model": name, "dataset": {"name": "emoji", "classes": list(classes)}}
    save_checkpoint(path, {"model": {"name": name, "config": config}, "G_ema": G.state_dict()}, metadata=metadata)
    return path


def test_the_images_are_those_of_the_generator(tmp_path: Path) -> None:
    path = network(tmp_path)
    sampler = Sampler.from_checkpoint(path)
    images = sampler.images([3, 9], truncation_psi=0.7)
    assert images.dtype == torch.uint8 and images.shape == (2, 3, 16, 16)
    z = torch.stack([torch.randn(8, generator=torch.Generator().manual_seed(seed)) for seed in (3, 9)])
    with torch.no_grad():
        expected = sampler.G(z, None, truncation_psi=0.7, noise_mode="const")
    assert torch.equal(images, (expected * 127.5 + 128).clamp(0, 255).to(torch.uint8))
    assert not torch.equal(images, sampler.images([3, 9]))
    assert not sampler.G.training


def test_styles_are_those_that_the_images_are_made_of(tmp_path: Path) -> None:
    sampler = Sampler.from_checkpoint(network(tmp_path, classes=("a", "b", "c")))
    for center in ("class", "all"):
        chosen = {"truncation_psi": 0.6, "class_index": [2, 0], "batch_size": 2, "truncation_center": center}
        ws = sampler.styles([4, 7, 9], **chosen)
        assert ws.shape == (6, sampler.G.num_ws, 8) and not ws.requires_grad
        made = [to_uint8(sampler.G.synthesis(part, noise_mode="const")) for part in ws.split(2)]
        assert torch.equal(torch.cat(made), sampler.images([4, 7, 9], **chosen))
    assert sampler.styles([]).shape == (0, sampler.G.num_ws, 8)


def test_a_generator_without_styles_says_so(tmp_path: Path) -> None:
    sampler = Sampler.from_checkpoint(network(tmp_path, "dcgan", resolution=(16, 16)))
    with pytest.raises(ValueError, match="^a dcgan generator maps no latents to styles$"):
        sampler.styles([0])


@pytest.mark.parametrize("noise_mode", ["const", "random", "none"])
def test_a_seed_gives_one_image_whatever_stands_beside_it(tmp_path: Path, noise_mode: str) -> None:
    sampler = Sampler.from_checkpoint(network(tmp_path))
    torch.manual_seed(1)
    all_at_once = sampler.images(range(7), noise_mode=noise_mode, batch_size=7)
    torch.manual_seed(2)
    for images, seeds in (
        (sampler.images(range(7), noise_mode=noise_mode, batch_size=3), range(7)),
        (sampler.images([5, 2], noise_mode=noise_mode), [5, 2]),
    ):
        # A convolution over another batch size may round another way: one step of 255 at most.
        assert (images.int() - all_at_once[list(seeds)].int()).abs().max() <= 1


@pytest.mark.parametrize("name", ["stylegan2", "dcgan"])
def test_batch_size_and_threads_move_values_by_one_level_and_few(tmp_path: Path, name: str) -> None:
    sampler = Sampler.from_checkpoint(network(tmp_path, name, resolution=(16, 16)))
    alone = sampler.images(range(64), batch_size=1)
    assert torch.equal(alone[[9, 5, 50]], sampler.images([9, 5, 50], batch_size=1))
    for threads, batch_size in ((1, 7), (1, 16), (2, 1), (2, 16)):
        torch.set_num_threads(threads)
        difference = (sampler.images(range(64), batch_size=batch_size).int() - alone.int()).abs()
        # Measured: at most 0.07 per mille of the values, docs/generation.md. Wrong rows would move nearly all.
        assert difference.max() <= 1 and difference.float().mean() <= 5e-4


def test_several_classes_give_the_seeds_of_each(tmp_path: Path) -> None:
    sampler = Sampler.from_checkpoint(network(tmp_path, classes=("a", "b", "c")))
    both = sampler.images([4, 7], class_index=[2, 0], batch_size=1, truncation_psi=0.5)
    each = [sampler.images([4, 7], class_index=k, batch_size=1, truncation_psi=0.5) for k in (2, 0)]
    assert torch.equal(both, torch.cat(each)) and not torch.equal(each[0], each[1])
    assert sampler.images([1], class_index=range(3)).shape[0] == 3


def test_truncation_leads_to_the_mean_of_the_class(tmp_path: Path) -> None:
    sampler = Sampler.from_checkpoint(network(tmp_path, classes=("a", "b")))
    averages = [sampler.images([3, 8], class_index=k, truncation_psi=0.0, batch_size=1) for k in (0, 1)]
    for average in averages:
        assert torch.equal(average[0], average[1])
    assert not torch.equal(averages[0], averages[1])
    # The generator's own mean, which these random weights have never moved from zero, knows no class.
    over_all = sampler.images([3, 8], class_index=[0, 1], truncation_psi=0.0, truncation_center="all", batch_size=1)
    assert torch.equal(over_all, over_all[:1].expand_as(over_all)) and not torch.equal(over_all[:1], averages[0][:1])
    with torch.no_grad():
        w = sampler.G.mapping(torch.randn(20_000, 8), torch.tensor([[0.0, 1.0]]).expand(20_000, 2))[:, 0]
        expected = sampler.G.synthesis(w.mean(dim=0).expand(1, sampler.G.num_ws, -1), noise_mode="const")
    assert (to_uint8(expected).int() - averages[1][0].int()).abs().float().mean() < 2
    untouched = sampler.images([3], class_index=1)
    assert torch.equal(untouched, sampler.images([3], class_index=1, truncation_center="all"))


def test_a_folder_stands_for_its_newest_checkpoint(tmp_path: Path) -> None:
    path = network(tmp_path)
    assert torch.equal(Sampler.from_checkpoint(tmp_path).images([1]), fastgan.Sampler.from_checkpoint(path).images([1]))


def test_noise_modes_differ_and_leave_the_global_generator_alone(tmp_path: Path) -> None:
    path = network(tmp_path)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    sampler = Sampler.from_checkpoint(path)
    const, random, none = (sampler.images([1], noise_mode=mode) for mode in ("const", "random", "none"))
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(const, random) and not torch.equal(const, none) and not torch.equal(random, none)


def test_classes_are_chosen_by_name_or_number(tmp_path: Path) -> None:
    sampler = Sampler.from_checkpoint(network(tmp_path, classes=("smileys", "Food", "2")))
    assert [sampler.class_index(name) for name in ("smileys", "FOOD", "0", "1", "2")] == [0, 1, 0, 1, 2]
    with pytest.raises(ValueError, match="class must be one of smileys, Food, 2, or a number from 0 to 2; got 'cars'"):
        sampler.class_index("cars")
    food, smileys = sampler.images([4], class_index=1), sampler.images([4], class_index=0)
    assert not torch.equal(food, smileys)
    with pytest.raises(ValueError, match="class_index must be from 0 to 2; got 3"):
        sampler.images([0], class_index=3)


def test_without_a_class_each_seed_draws_its_own(tmp_path: Path) -> None:
    sampler = Sampler.from_checkpoint(network(tmp_path, classes=("a", "b", "c")))
    z, c = sampler.latents(range(300))
    assert c is not None and c.shape == (300, 3)
    assert (c.sum(dim=0) > 60).all() and torch.equal(c.sum(dim=1), torch.ones(300))
    again = sampler.latents([250])
    assert again[1] is not None and torch.equal(again[0][0], z[250]) and torch.equal(again[1][0], c[250])
    chosen_z, _ = sampler.latents([250], class_index=1)
    assert torch.equal(chosen_z[0], z[250])


def test_an_unconditional_model_takes_no_class(tmp_path: Path) -> None:
    sampler = Sampler.from_checkpoint(network(tmp_path))
    with pytest.raises(ValueError, match="class must not be given: the model is unconditional, got '1'"):
        sampler.class_index("1")
    with pytest.raises(ValueError, match="class_index must be None, as the model is unconditional; got 0"):
        sampler.images([0], class_index=0)


def test_dcgan_generates_and_refuses_truncation(tmp_path: Path) -> None:
    sampler = Sampler.from_checkpoint(network(tmp_path, "dcgan", resolution=(16, 16)))
    assert sampler.images([0, 1]).shape == (2, 3, 16, 16)
    with pytest.raises(
        ValueError, match="truncation_psi must be 1: a dcgan generator maps no latents to styles; got 0.5"
    ):
        sampler.images([0], truncation_psi=0.5)


def test_no_seeds_give_no_images(tmp_path: Path) -> None:
    assert Sampler.from_checkpoint(network(tmp_path)).images([]).shape == (0, 3, 16, 16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise_mode": "loud"}, "noise_mode must be one of random, const, none; got 'loud'"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"seeds": [2**32]}, "seeds must be from 0 to 4294967295, got 4294967296"),
        ({"seeds": [-1]}, "got -1"),
        ({"seeds": ["1"]}, "seeds must be integers, got '1'"),
        ({"seeds": "0-3"}, r"seeds must be a list or range of integers \(see parse_seeds\), got '0-3'"),
        ({"seeds": 3}, "seeds must be a list or range of integers"),
        ({"batch_size": 2.0}, "batch_size must be at least 1, got 2.0"),
        ({"truncation_psi": float("nan")}, "truncation_psi must be a number within ±100, got nan"),
        ({"truncation_psi": 1e300}, "truncation_psi must be a number within ±100, got 1e\\+300"),
        ({"truncation_psi": "half"}, "truncation_psi must be a number within ±100, got 'half'"),
        ({"truncation_center": "middle"}, "truncation_center must be one of class, all; got 'middle'"),
        ({"class_index": 1.5}, "class_index must be None, as the model is unconditional; got 1.5"),
    ],
)
def test_bad_arguments_are_named(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        Sampler.from_checkpoint(network(tmp_path)).images(**{"seeds": [0], **options})


def test_a_checkpoint_that_is_no_network_is_named(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_checkpoint(path, {"weights": torch.ones(1)}, metadata={})
    with pytest.raises(CheckpointError, match=r"other\.safetensors holds no 'model'"):
        Sampler.from_checkpoint(path)


@pytest.mark.parametrize("device", ["gpu", "cuda:0:0"])
def test_a_device_that_is_none_is_named(tmp_path: Path, device: str) -> None:
    with pytest.raises(ValueError, match=f"device must be cpu or cuda, got '{device}'"):
        Sampler.from_checkpoint(network(tmp_path), device)


HUGE = {**SMALL, "z_dim": 2**20, "w_dim": 2**20}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("stylegan2", "its 'model' must hold a name and a config"),
        (
            {"name": ["stylegan2"], "config": {}},
            r"model must be one of cyclegan, dcgan, pix2pix, r3gan, stylegan2, stylegan3-r, stylegan3-t; "
            r"got \['stylegan2'\]",
        ),
        ({"name": "stylegan2", "config": HUGE}, "the network would hold .* values, at most 1,073,741,824"),
        ({"name": "stylegan2", "config": {"mapping_layers": 10**9}}, "mapping_layers must be at most 64"),
        ({"name": "stylegan2", "config": {"w_avg_beta": float("nan")}}, "w_avg_beta must be a number"),
        ({"name": "biggan", "config": {}}, "model must be one of .*got 'biggan'"),
        ({"name": "stylegan2", "config": {"wings": 2}}, ".*wings"),
        ({"name": "stylegan2", "config": {**SMALL, "w_dim": 9}}, ".*size mismatch"),
    ],
)
def test_a_checkpoint_of_another_model_is_named(tmp_path: Path, model: dict, message: str) -> None:
    path = tmp_path / "odd.safetensors"
    G = build("stylegan2", **SMALL)[1]
    save_checkpoint(path, {"model": model, "G_ema": G.state_dict()}, metadata={})
    with pytest.raises(CheckpointError, match=rf"(?s)odd\.safetensors does not fit this fastgan: {message}"):
        Sampler.from_checkpoint(path)


@pytest.mark.parametrize(
    ("tree", "metadata", "message"),
    [
        ({"G_ema": [1, 2]}, {}, "its 'G_ema' must hold tensors of real numbers by name"),
        ({"G_ema": {3: torch.ones(1)}}, {}, "its 'G_ema' must hold tensors of real numbers by name"),
        ({}, {"dataset": {"classes": ["a"]}}, "its metadata must name 0 classes"),
        ({}, {"dataset": {"classes": "ab"}}, "its metadata must name 0 classes"),
    ],
)
def test_tampered_parts_are_named(tmp_path: Path, tree: dict, metadata: dict, message: str) -> None:
    path = tmp_path / "odd.safetensors"
    whole = {"model": {"name": "stylegan2", "config": SMALL}, "G_ema": build("stylegan2", **SMALL)[1].state_dict()}
    save_checkpoint(path, {**whole, **tree}, metadata=metadata)
    with pytest.raises(CheckpointError, match=rf"odd\.safetensors does not fit this fastgan: {message}"):
        Sampler.from_checkpoint(path)


def test_movable_generators_are_told_where_the_picture_goes(tmp_path: Path) -> None:
    sampler = Sampler.from_checkpoint(movable.checkpoint(tmp_path, num_classes=2))
    moved = sampler.images(range(5), 0.7, batch_size=2, translate=np.array([0.1, -0.2]), rotate=30)
    ws = sampler.styles(range(5), 0.7, batch_size=2)
    made = [sampler.G.synthesis(part, transform=placement((0.1, -0.2), 30)) for part in ws.split(2)]
    expected = to_uint8(torch.cat(made))
    assert torch.equal(moved, expected)
    assert torch.equal(sampler.images([3], translate=[0, 0]), sampler.images([3]))
    assert (moved.int() - sampler.images(range(5), 0.7).int()).abs().float().mean() > 10


def test_places_must_be_two_numbers_and_an_angle(tmp_path: Path) -> None:
    sampler = Sampler.from_checkpoint(movable.checkpoint(tmp_path))
    for translate in (0.5, (0.5,), "0.1 0", torch.ones(3)):
        with pytest.raises(ValueError, match="^translate must be two numbers, to the right and down, got "):
            sampler.batches([0], translate=translate)  # type: ignore[arg-type]  # the wrong type is meant
    with pytest.raises(ValueError, match="^translate must be finite"):
        sampler.batches([0], translate=(0, float("inf")))
    with pytest.raises(TypeError, match="^rotate must be a number"):
        sampler.batches([0], rotate="30")  # type: ignore[arg-type]  # the wrong type is meant
