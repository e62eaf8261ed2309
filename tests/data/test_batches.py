"""Endless batches: every image once an epoch, exact resume, labels with the set's frequencies."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import torch

from fastgan.data import Batches, ImageDataset, UnalignedBatches


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


def drawn(source: Batches, batches: int) -> list[int]:
    return [number for _ in range(batches) for number in numbers(source.next()["image"])]


@pytest.mark.parametrize("batch_size", [1, 3, 4, 10, 25])
def test_every_image_once_an_epoch_whatever_the_batch(batch_size):
    source = Batches(numbered(10), batch_size, seed=3)
    sequence = drawn(source, -(-30 // batch_size))[:30]
    epochs = [sequence[i : i + 10] for i in (0, 10, 20)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert sequence == drawn(Batches(numbered(10), 1, seed=3), 30)


def test_order_follows_the_seed():
    sequences = {seed: tuple(drawn(Batches(numbered(10), 10, seed=seed), 2)) for seed in (0, 1, 2**32)}
    assert len(set(sequences.values())) == 3
    # The next epoch of one seed is no epoch of its neighbour.
    assert sequences[0][10:] != sequences[1][:10]
    torch.manual_seed(99)
    assert tuple(drawn(Batches(numbered(10), 10, seed=1), 2)) == sequences[1]


@pytest.mark.parametrize("taken", [0, 1, 2, 3, 5], ids=lambda n: f"after{n}")
def test_resume_is_exact(taken):
    # 12 images by 4: the third batch ends on the last image of an epoch.
    source = Batches(numbered(12), 4, seed=7, mirror=True)
    for _ in range(taken):
        source.next()
    state = source.state_dict()
    assert all(type(value) is int for value in state.values())
    resumed = Batches(numbered(12), 4, seed=0, mirror=True)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    for _ in range(7):
        expected, got = source.next(), resumed.next()
        assert torch.equal(expected["image"], got["image"]) and torch.equal(expected["label"], got["label"])
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
    source = Batches(numbered(12), 4, seed=5)
    with pytest.raises(ValueError, match="state must hold seed, epoch and position|state belongs to another data set"):
        source.load_state_dict(state)
    assert source.state_dict() == {"seed": 5, "epoch": 0, "position": 0}


def test_labels_belong_to_their_images():
    batch = Batches(numbered(9), 9, seed=0).next()
    assert batch["label"].dtype == torch.float32 and batch["label"].shape == (9, 3)
    assert (batch["label"].sum(dim=1) == 1).all()
    for number, label in zip(numbers(batch["image"]), batch["label"].argmax(dim=1).tolist(), strict=True):
        assert label == (0 if number == 0 else 1 + number % 2)


def test_unlabelled_set_gives_labels_of_no_width():
    source = Batches(numbered(4, labelled=False), 3, seed=0)
    assert source.next()["label"].shape == (3, 0)
    state = torch.get_rng_state()
    assert source.random_labels(5).shape == (5, 0)
    assert torch.equal(torch.get_rng_state(), state)


def test_half_of_the_images_are_mirrored():
    source = Batches(numbered(200), 200, seed=0, mirror=True)
    batches = [source.next()["image"] for _ in range(5)]
    mirrored = [(images[:, 0, 0, 0] == 1) for images in batches]
    assert 0.44 < torch.cat(mirrored).float().mean() < 0.56
    plain = Batches(numbered(200), 200, seed=0)
    assert not (plain.next()["image"][:, 0, 0, 0] == 1).any()
    assert numbers(batches[1]) == numbers(plain.next()["image"])  # mirroring changes no order


def test_random_labels_follow_the_frequencies_of_the_set():
    dataset = numbered(10)  # classes: 1, 4, 5 images
    source = Batches(dataset, 2, seed=0)
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
    batch = Batches(ImageDataset(images), 2, seed=0, channels_last=channels_last).next()
    assert batch["image"].shape == (2, 3, 8, 6)
    assert batch["image"].is_contiguous(memory_format=torch.channels_last) == channels_last


def test_unusable_options_are_named():
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        Batches(numbered(3), 0, seed=0)
    with pytest.raises(ValueError, match="seed.*at least 0"):
        Batches(numbered(3), 1, seed=-1)


def patterned() -> ImageDataset:
    """23 images of 6x5 (HxW) in four classes, all pixels different from their neighbours."""
    pixels = (torch.arange(23 * 6 * 5 * 3) * 7919 % 256).to(torch.uint8).reshape(23, 6, 5, 3)
    return ImageDataset(pixels, torch.arange(23) * 5 % 4, ("a", "b", "c", "d"))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"seed": 3}, "5d7b954bd73fce35"),
        ({"seed": 2**33 + 1, "mirror": True}, "03b420fc1cf0415b"),
        ({"seed": 5, "mirror": True, "channels_last": True}, "e379ebe193950751"),
    ],
    ids=["plain", "mirror", "channels_last"],
)
def test_the_stream_of_one_set_is_that_of_runs_begun_earlier(options, expected):
    # Digests of images, their labels and drawn labels as the source gave them before batches had named fields.
    source, digest = Batches(patterned(), 4, **options), hashlib.sha256()
    torch.manual_seed(11)
    for _ in range(13):
        batch = source.next()
        for tensor in (batch["image"], batch["label"], source.random_labels(5)):
            digest.update(tensor.contiguous().numpy().tobytes())
    digest.update(source.random_labels(9, torch.Generator().manual_seed(3)).numpy().tobytes())
    assert digest.hexdigest()[:16] == expected
    assert source.state_dict() == {"seed": options["seed"], "epoch": 2, "position": 6}


def pair(count: int = 9) -> dict[str, ImageDataset]:
    """a: 9x7 (HxW) images, all values of all images different; b: 255 less their values."""
    a = torch.arange(count * 9 * 7).remainder(251).to(torch.uint8).reshape(count, 9, 7, 1)
    return {"a": ImageDataset(a), "b": ImageDataset(255 - a)}


@pytest.mark.parametrize("crop", [None, (4, 5), (9, 7)], ids=["whole", "crop", "crop_of_all"])
@pytest.mark.parametrize("mirror", [False, True], ids=["plain", "mirror"])
def test_fields_of_a_pair_share_order_mirroring_and_crop(mirror, crop):
    source = Batches(pair(), 4, seed=1, mirror=mirror, crop=crop)
    for _ in range(5):
        batch = source.next()
        assert list(batch) == ["a", "b"] and batch["a"].shape[2:] == (crop or (9, 7))
        torch.testing.assert_close(batch["a"], -batch["b"], rtol=0, atol=1e-6)


def test_a_pair_without_a_crop_comes_in_the_order_of_each_set_alone():
    sets = pair()
    source = Batches(sets, 4, seed=6, mirror=True)
    alone = {name: Batches(each, 4, seed=6, mirror=True) for name, each in sets.items()}
    for _ in range(5):
        batch = source.next()
        assert all(torch.equal(batch[name], alone[name].next()["image"]) for name in sets)
    assert source.state_dict() == alone["b"].state_dict()


def test_a_crop_changes_neither_order_nor_mirroring_and_reaches_every_place():
    # Every pixel tells where it is: 16 y + x; the first pixel of a window is its corner, or its mirrored corner.
    grid = (16 * torch.arange(5)[:, None] + torch.arange(6)).to(torch.uint8)
    dataset = ImageDataset(grid.expand(40, 5, 6)[..., None].contiguous())
    cropped = Batches(dataset, 40, seed=2, mirror=True, crop=(3, 2))
    whole = Batches(dataset, 40, seed=2, mirror=True)
    corners = set()
    for _ in range(6):
        window, image = (((each.next()["image"][:, 0] + 1) * 127.5).round().long() for each in (cropped, whole))
        mirrored = window[:, 0, 1] < window[:, 0, 0]
        assert torch.equal(mirrored, image[:, 0, 1] < image[:, 0, 0])
        corners |= set(window.amin(dim=(1, 2)).tolist())
    assert corners == {16 * y + x for y in range(3) for x in range(5)}


def test_resume_of_a_pair_with_a_crop_is_exact():
    source = Batches(pair(), 4, seed=7, mirror=True, crop=(5, 5))
    for _ in range(3):
        source.next()
    resumed = Batches(pair(), 4, seed=0, mirror=True, crop=(5, 5))
    resumed.load_state_dict(source.state_dict())
    for _ in range(5):
        expected, got = source.next(), resumed.next()
        assert all(torch.equal(expected[name], got[name]) for name in ("a", "b"))


def test_labels_of_a_pair_are_drawn_from_its_first_set():
    sets = {"a": numbered(10), "b": numbered(10, labelled=False)}
    drawn_labels = Batches(sets, 2, seed=0).random_labels(6, torch.Generator().manual_seed(1))
    expected = Batches(sets["a"], 2, seed=0).random_labels(6, torch.Generator().manual_seed(1))
    assert torch.equal(drawn_labels, expected)


def test_sets_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match="same number of images, but a has 3, b has 4"):
        Batches({"a": numbered(3), "b": numbered(4)}, 1, seed=0)
    with pytest.raises(ValueError, match="none called label; got"):
        Batches({"label": numbered(3)}, 1, seed=0)
    with pytest.raises(ValueError, match=r"got \[\]"):
        Batches({}, 1, seed=0)
    with pytest.raises(ValueError, match=r"one resolution, got \[\(1, 2\), \(9, 7\)\]"):
        Batches({"a": numbered(9), "b": pair()["b"]}, 1, seed=0, crop=(1, 1))
    wrong: Any = ((10, 7), (9, 8), (0, 3), (4,))
    for crop in wrong:
        with pytest.raises(ValueError, match=r"crop must lie in \(1, 1\)\.\.\(9, 7\)"):
            Batches(pair(), 1, seed=0, crop=crop)


def test_unaligned_sets_are_drawn_each_in_its_own_order():
    sets = {"a": numbered(10), "b": numbered(10)}  # the sides of a pair: one order would align them
    source = UnalignedBatches(sets, 10, seed=3)
    orders = [{name: tuple(numbers(images)) for name, images in source.next().items()} for _ in range(3)]
    assert all(sorted(order[name]) == list(range(10)) for order in orders for name in ("a", "b"))
    assert all(order["a"] != order["b"] for order in orders)
    assert [*orders[0]["a"]] == drawn(Batches(sets["a"], 10, seed=3), 1)


def test_unaligned_sets_of_different_sizes_go_on_exactly():
    sets = {"a": numbered(5), "b": numbered(8)}
    source = UnalignedBatches(sets, 3, seed=1, mirror=True)
    for _ in range(4):
        source.next()
    state = source.state_dict()
    assert state["a"]["epoch"] == 2 and state["b"]["epoch"] == 1  # each has epochs of its own
    resumed = UnalignedBatches(sets, 3, seed=9, mirror=True)
    resumed.load_state_dict(state)
    for _ in range(6):
        expected, got = source.next(), resumed.next()
        assert list(got) == ["a", "b"] and all(torch.equal(expected[name], got[name]) for name in sets)
    with pytest.raises(ValueError, match="state must hold a, b, got seed, epoch, position"):
        one: Any = Batches(sets["a"], 3, seed=1).state_dict()
        resumed.load_state_dict(one)
    with pytest.raises(ValueError, match="at least 0"):
        UnalignedBatches(sets, 3, seed=-1)
    with pytest.raises(ValueError, match="at least one set"):
        UnalignedBatches({}, 3, seed=0)


@pytest.mark.gpu
def test_batches_and_labels_land_on_the_gpu(gpu):
    held = patterned()
    for dataset in (held, held.to(torch.device("cuda"))):
        options = {"seed": 3, "mirror": True, "crop": (4, 3)}
        source, here = Batches(dataset, 4, **options, device="cuda"), Batches(held, 4, **options)
        for _ in range(8):
            batch, expected = source.next(), here.next()
            assert all(batch[name].is_cuda and torch.equal(batch[name].cpu(), expected[name]) for name in expected)
        labels = (each.random_labels(5, torch.Generator().manual_seed(0)) for each in (source, here))
        assert torch.equal(*(each.cpu() for each in labels))
        assert Batches(dataset.unlabelled(), 4, seed=0, device="cuda").next()["label"].shape == (4, 0)
