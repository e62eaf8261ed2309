"""Endless batches: every image once an epoch, exact resume, labels with the set's frequencies."""

from __future__ import annotations

import pytest
import torch

from fastgan.data import BatchSource, ImageDataset


def numbered(count: int, *, labelled: bool = True) -> ImageDataset:
    """Image i has i in its left pixel and 255 in its right; class 0 for the first, else 1 + parity."""
    images = torch.full((count, 1, 2, 1), 255, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(count)
    if not labelled:
        return ImageDataset(images)
    labels = torch.tensor([0] + [1 + i % 2 for i in range(1, count)])
    return ImageDataset(images, labels, ("first", "even", "odd"))


def numbers(images: torch.Tensor) -> list[int]:
    return ((images.amin(dim=(1, 2, 3)) + 1) * 127.5).round().int().tolist()


def drawn(source: BatchSource, batches: int) -> list[int]:
    return [number for _ in range(batches) for number in numbers(source.next().images)]


@pytest.mark.parametrize("batch_size", [1, 3, 4, 10, 25])
def test_every_image_once_an_epoch_whatever_the_batch(batch_size):
    source = BatchSource(numbered(10), batch_size, seed=3)
    sequence = drawn(source, -(-30 // batch_size))[:30]
    epochs = [sequence[i : i + 10] for i in (0, 10, 20)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert sequence == drawn(BatchSource(numbered(10), 1, seed=3), 30)


def test_order_follows_the_seed():
    sequences = {seed: tuple(drawn(BatchSource(numbered(10), 10, seed=seed), 2)) for seed in (0, 1, 2**32)}
    assert len(set(sequences.values())) == 3
    # The next epoch of one seed is no epoch of its neighbour.
    assert sequences[0][10:] != sequences[1][:10]
    torch.manual_seed(99)
    assert tuple(drawn(BatchSource(numbered(10), 10, seed=1), 2)) == sequences[1]


@pytest.mark.parametrize("taken", [0, 1, 2, 3, 5], ids=lambda n: f"after{n}")
def test_resume_is_exact(taken):
    # 12 images by 4: the third batch ends on the last image of an epoch.
    source = BatchSource(numbered(12), 4, seed=7, mirror=True)
    for _ in range(taken):
        source.next()
    state = source.state_dict()
    assert all(type(value) is int for value in state.values())
    resumed = BatchSource(numbered(12), 4, seed=0, mirror=True)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    for _ in range(7):
        expected, got = source.next(), resumed.next()
        assert torch.equal(expected.images, got.images) and torch.equal(expected.labels, got.labels)
    assert source.state_dict() == resumed.state_dict()


@pytest.mark.parametrize(
    "state",
    [
        {"seed": 0, "epoch": 0},
        {"seed": 0, "epoch": 0, "position": -1},
        {"seed": 0, "epoch": 0, "position": 13},
        {"seed": 0, "epoch": 0, "position": 0, "kimg": 1},
    ],
)
def test_impossible_state_is_refused(state):
    source = BatchSource(numbered(12), 4, seed=5)
    with pytest.raises(ValueError, match="state must hold seed, epoch and position|state belongs to another data set"):
        source.load_state_dict(state)
    assert source.state_dict() == {"seed": 5, "epoch": 0, "position": 0}


def test_labels_belong_to_their_images():
    batch = BatchSource(numbered(9), 9, seed=0).next()
    assert batch.labels.dtype == torch.float32 and batch.labels.shape == (9, 3)
    assert (batch.labels.sum(dim=1) == 1).all()
    for number, label in zip(numbers(batch.images), batch.labels.argmax(dim=1).tolist(), strict=True):
        assert label == (0 if number == 0 else 1 + number % 2)


def test_unlabelled_set_gives_labels_of_no_width():
    source = BatchSource(numbered(4, labelled=False), 3, seed=0)
    assert source.next().labels.shape == (3, 0)
    state = torch.get_rng_state()
    assert source.random_labels(5).shape == (5, 0)
    assert torch.equal(torch.get_rng_state(), state)


def test_half_of_the_images_are_mirrored():
    source = BatchSource(numbered(200), 200, seed=0, mirror=True)
    batches = [source.next().images for _ in range(5)]
    mirrored = [(images[:, 0, 0, 0] == 1) for images in batches]
    assert 0.44 < torch.cat(mirrored).float().mean() < 0.56
    plain = BatchSource(numbered(200), 200, seed=0)
    assert not (plain.next().images[:, 0, 0, 0] == 1).any()
    assert numbers(batches[1]) == numbers(plain.next().images)  # mirroring changes no order


def test_random_labels_follow_the_frequencies_of_the_set():
    dataset = numbered(10)  # classes: 1, 4, 5 images
    source = BatchSource(dataset, 2, seed=0)
    shares = source.random_labels(20000, torch.Generator().manual_seed(0)).mean(dim=0)
    torch.testing.assert_close(shares, torch.tensor([0.1, 0.4, 0.5]), rtol=0, atol=0.02)
    torch.manual_seed(4)
    first = source.random_labels(8)
    torch.manual_seed(4)
    assert torch.equal(source.random_labels(8), first)
    assert source.state_dict()["position"] == 0


@pytest.mark.parametrize("channels_last", [False, True])
def test_memory_format(channels_last):
    images = torch.zeros(4, 8, 6, 3, dtype=torch.uint8)
    batch = BatchSource(ImageDataset(images), 2, seed=0, channels_last=channels_last).next()
    assert batch.images.shape == (2, 3, 8, 6)
    assert batch.images.is_contiguous(memory_format=torch.channels_last) == channels_last


def test_unusable_options_are_named():
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        BatchSource(numbered(3), 0, seed=0)
    with pytest.raises(ValueError, match="seed.*at least 0"):
        BatchSource(numbered(3), 1, seed=-1)
