"""Generators whose labels are vectors: poses, attributes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fastgan.checkpoint import CheckpointError, save_checkpoint
from fastgan.generate import Sampler
from fastgan.models.registry import build

CONFIG = {
    "resolution": (16, 16),
    "channel_base": 128,
    "channel_max": 8,
    "num_classes": 2,
    "z_dim": 8,
    "w_dim": 8,
    "mapping_layers": 2,
}
LABELS = torch.tensor([[0.1, -2.0], [0.5, 0.25], [3.0, 1.5]])


def network(**overrides):
    torch.manual_seed(0)
    return build("stylegan2", **{**CONFIG, **overrides})[1]


def test_a_seed_draws_a_label_of_the_sample() -> None:
    sampler = Sampler(network(), labels=LABELS)
    z, c = sampler.latents(range(300))
    assert c is not None and c.dtype == torch.float32
    rows = (c[:, None] == LABELS).all(dim=2)
    assert (rows.sum(dim=1) == 1).all() and (rows.sum(dim=0) > 60).all()
    assert torch.equal(z, Sampler(network()).latents(range(300))[0])
    again = sampler.latents([250])[1]
    assert again is not None and torch.equal(again[0], c[250])
    for labels in (LABELS.numpy(), LABELS.double(), LABELS.tolist()):
        other = Sampler(network(), labels=labels).latents(range(300))[1]
        assert other is not None and torch.equal(other, c)


def test_a_label_is_given_for_all_or_one_for_each_seed() -> None:
    sampler = Sampler(network(), labels=LABELS)
    with torch.no_grad():
        z = sampler.latents([4, 7])[0]
        same, each = (
            sampler.G.eval()(z, torch.tensor(c), noise_mode="const").mul(127.5).add(128).clamp(0, 255).to(torch.uint8)
            for c in ([[0.3, 0.7]] * 2, [[0.3, 0.7], [2.0, -1.0]])
        )
    assert torch.equal(sampler.images([4, 7], labels=[0.3, 0.7]), same)
    assert torch.equal(sampler.images([4, 7], labels=np.array([[0.3, 0.7], [2, -1]])), each)
    assert torch.equal(next(sampler.batches(range(4, 10, 3), labels=torch.tensor([[0.3, 0.7], [2, -1]]))), each)
    c = sampler.latents([4], labels=[0.3, 0.7])[1]
    assert c is not None and torch.equal(c, torch.tensor([[0.3, 0.7]]))


def test_truncation_leads_to_the_mean_at_the_label() -> None:
    sampler = Sampler(network(), labels=LABELS)
    averages = [sampler.images([3, 8], 0.0, labels=row, batch_size=1) for row in LABELS]
    assert all(torch.equal(average[0], average[1]) for average in averages)
    assert not torch.equal(averages[0], averages[1])
    mixed = sampler.images([3, 8, 9], 0.0, labels=LABELS, batch_size=1)
    assert torch.equal(mixed, torch.cat([average[:1] for average in averages]))
    with torch.no_grad():
        G = sampler.G.eval()
        w = G.mapping(torch.randn(20_000, 8), LABELS[1:2].expand(20_000, -1))[:, 0].mean(dim=0)
        expected = G.synthesis(w.expand(1, G.num_ws, -1), noise_mode="const") * 127.5 + 128
    assert (expected.clamp(0, 255)[0] - averages[1][0]).abs().mean() < 2


def test_classes_may_be_mixed() -> None:
    sampler = Sampler(network(), ("a", "b"))
    assert torch.equal(sampler.images([5], 0.6, labels=[0, 1]), sampler.images([5], 0.6, class_index=1))
    assert not torch.equal(sampler.images([5], labels=[0.5, 0.5]), sampler.images([5], class_index=1))


def test_a_checkpoint_brings_its_labels(tmp_path: Path) -> None:
    path, G = tmp_path / "network.safetensors", network()
    tree = {"model": {"name": "stylegan2", "config": CONFIG}, "G_ema": G.state_dict()}
    save_checkpoint(path, {**tree, "labels": LABELS}, metadata={})
    sampler = Sampler.from_checkpoint(path)
    assert sampler.labels is not None and torch.equal(sampler.labels, LABELS)
    assert torch.equal(sampler.images(range(3)), Sampler(G, labels=LABELS).images(range(3)))
    save_checkpoint(path, tree, metadata={})
    assert Sampler.from_checkpoint(path).labels is None
    for labels, message in (
        (LABELS[:, :1], r"network.safetensors does not fit this fastgan: labels must have shape \[2\] or \[N, 2\]"),
        (LABELS[:0], r"labels must have shape \[K, 2\], K > 0, got \[0, 2\]"),
        ([1, 2], "its 'labels' must be a tensor"),
    ):
        save_checkpoint(path, {**tree, "labels": labels}, metadata={})
        with pytest.raises(CheckpointError, match=message):
            Sampler.from_checkpoint(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"class_index": 1},
            "class_index must be None, as the model is conditioned on label vectors, .*; give labels; got 1",
        ),
        ({"labels": [1.0]}, r"labels must have shape \[2\] or \[N, 2\], got \[1\]"),
        ({"labels": [[[1.0, 2.0]]]}, r"labels must have shape \[2\] or \[N, 2\], got \[1, 1, 2\]"),
        ({"labels": [[1.0, 2.0]]}, "labels must have a row for each of the 2 seeds, got 1 rows"),
        ({"labels": [1.0, float("nan")]}, "labels must be finite"),
        ({"labels": "0.1,0.5"}, "labels must hold numbers, label vectors, got str"),
        ({"labels": [1.0, 2.0], "class_index": 0}, "class_index must be None where labels are given, got 0"),
    ],
    ids=str,
)
def test_what_is_no_label_is_named(options: dict, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        Sampler(network(), labels=LABELS).images([1, 2], **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"empty_classes": [7]}, r"empty_classes must be from 0 to 1, got \[7\]"),
        ({"empty_classes": [0, 1]}, "empty_classes must leave one of 2 classes, got all"),
        ({"class_names": ["a"]}, "class_names must name 2 classes, got 1 names"),
    ],
)
def test_classes_that_do_not_fit_are_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampler(network(), **options)


def test_classes_without_images_may_be_given_as_any_numbers() -> None:
    assert Sampler(network(), empty_classes=np.array([0])).classes == [1]
    assert Sampler(network(), empty_classes=(k for k in (1,))).classes == [0]


def test_names_of_classes_are_refused_where_there_are_none() -> None:
    with pytest.raises(ValueError, match="class must not be given: the model is conditioned on label vectors"):
        Sampler(network(), labels=LABELS).class_index("a")
    with pytest.raises(ValueError, match="labels must be None, as the model is unconditional"):
        Sampler(network(num_classes=0), labels=LABELS)
    with pytest.raises(ValueError, match="labels must be None, as the model is unconditional"):
        Sampler(network(num_classes=0)).images([1], labels=[0.5])
