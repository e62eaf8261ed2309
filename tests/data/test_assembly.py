"""Batch assembly: hand-made answers, and the host library against torch to the bit."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch

from fastgan.data import assembly
from fastgan.data.assembly import assemble_batch


def host_or_skip():
    return pytest.importorskip("fastgan._host", reason="the host library is not built", exc_type=ImportError)


@pytest.fixture(params=["host", "torch"])
def path(request, monkeypatch) -> str:
    monkeypatch.setattr(assembly, "_host", host_or_skip() if request.param == "host" else None)
    return request.param


def random_images(shape: tuple[int, int, int, int], seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_one_row_by_hand(path):
    images = torch.tensor([0, 51, 102, 153, 204, 255], dtype=torch.uint8).reshape(1, 1, 2, 3)  # two RGB pixels
    out = assemble_batch(images, torch.tensor([0, 0]), mirror=torch.tensor([False, True]))
    expected = torch.tensor([[[-1.0, 0.2], [-0.6, 0.6], [-0.2, 1.0]], [[0.2, -1.0], [0.6, -0.6], [1.0, -0.2]]])
    torch.testing.assert_close(out, expected[:, :, None], rtol=0, atol=1e-6)


def test_every_value_matches_the_formula(path):
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1)
    out = assemble_batch(images, torch.tensor([0]))
    expected = torch.arange(256).reshape(1, 1, 16, 16).float() / 127.5 - 1
    assert torch.equal(out, expected) and out.min() == -1 and out.max() == 1


def test_crop_is_taken_before_the_mirror(path):
    images = torch.arange(12, dtype=torch.uint8).reshape(1, 3, 4, 1)
    out = assemble_batch(
        images,
        torch.tensor([0, 0]),
        mirror=torch.tensor([False, True]),
        crop_xy=torch.tensor([[1, 2], [0, 1]]),
        size=(1, 3),
    )
    values = ((out + 1) * 127.5).round().int().flatten(1)
    assert values.tolist() == [[9, 10, 11], [6, 5, 4]]


@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize(
    ("shape", "size", "count"),
    [
        ((5, 64, 64, 3), (64, 64), 9),
        ((3, 7, 13, 3), (5, 11), 8),
        ((2, 1, 9, 1), (1, 8), 5),
        ((4, 6, 1, 3), (6, 1), 3),
        ((2, 8, 8, 3), (1, 1), 4),
        ((3, 5, 5, 3), (5, 5), 0),
        ((2, 301, 203, 3), (300, 200), 7),
    ],
    ids=lambda value: "x".join(map(str, value)) if isinstance(value, tuple) else f"n{value}",
)
def test_host_equals_torch_to_the_bit(monkeypatch, shape, size, count, channels_last):
    host = host_or_skip()
    random = torch.Generator().manual_seed(1)
    images = random_images(shape)
    room = torch.tensor([shape[2] - size[1] + 1, shape[1] - size[0] + 1])
    options = {
        "indices": torch.randint(0, shape[0], (count,), generator=random),
        "mirror": torch.randint(0, 2, (count,), generator=random).bool(),
        "crop_xy": (torch.rand(count, 2, generator=random) * room).long(),
        "size": size,
        "channels_last": channels_last,
    }
    outs = []
    for module in (host, None):
        monkeypatch.setattr(assembly, "_host", module)
        outs.append(assemble_batch(images, **options))
    for out in outs:
        assert out.shape == (count, shape[3], *size) and out.dtype == torch.float32
        layout = torch.channels_last if channels_last else torch.contiguous_format
        assert out.is_contiguous(memory_format=layout)
    assert torch.equal(*outs)


@pytest.mark.parametrize("threads", [1, 2, 3, 64])
def test_every_number_of_threads_fills_all_of_it(threads):
    host = host_or_skip()
    images = random_images((7, 128, 96, 3))
    indices = torch.arange(7).repeat(3)
    mirror, crop_xy = np.zeros(21, np.uint8), np.zeros((21, 2), np.int64)
    out = torch.full((21, 3, 128, 96), float("nan"))
    host.assemble_batch(images.numpy(), indices.numpy(), mirror, crop_xy, out.numpy(), threads)
    assert torch.equal(out, images[indices].permute(0, 3, 1, 2) / 127.5 - 1)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"images": torch.zeros(2, 4, 4, 3)}, r"images must be torch.uint8 \[M, H, W, C\].*got torch.float32"),
        ({"indices": torch.tensor([0, 2])}, r"indices must lie in 0\.\.1, got 0\.\.2"),
        ({"indices": torch.tensor([-1, 0])}, r"indices must lie in 0\.\.1, got -1\.\.0"),
        ({"indices": torch.tensor([0.0, 1.0])}, "indices must be torch.int64"),
        ({"mirror": torch.tensor([True])}, r"mirror must be torch.bool \[N\]=\[2\]"),
        ({"crop_xy": torch.tensor([[0, 0], [2, 0]])}, r"crop_xy must lie in \(0, 0\)\.\.\(1, 2\)"),
        ({"crop_xy": torch.tensor([[0, 0], [0, -1]])}, "crop_xy must lie"),
        ({"crop_xy": torch.zeros(2, 3, dtype=torch.int64)}, r"crop_xy must be torch.int64 \[N, 2\]=\[2, 2\]"),
        ({"size": (5, 3)}, r"size must lie in \(1, 1\)\.\.\(4, 4\)"),
    ],
)
def test_unusable_arguments_are_named(path, change, complaint):
    arguments = {"images": random_images((2, 4, 4, 3)), "indices": torch.tensor([0, 1]), "size": (2, 3)}
    with pytest.raises(ValueError, match=complaint):
        assemble_batch(**arguments | change)


@pytest.mark.parametrize(
    ("change", "error", "complaint"),
    [
        ({"images": np.zeros((2, 4, 4, 3))}, TypeError, r"images must be uint8 .* got float64 \[2, 4, 4, 3\]"),
        ({"images": np.zeros((2, 4, 8, 3), np.uint8)[:, :, ::2]}, ValueError, "images .* with gaps"),
        ({"images": np.zeros((4, 4, 3), np.uint8)}, ValueError, r"images must be .* got uint8 \[4, 4, 3\]"),
        ({"indices": np.array([0, 1], np.int32)}, TypeError, "indices must be int64"),
        ({"indices": np.array([0, 2])}, IndexError, r"indices must lie in 0\.\.1, got 2 at 1"),
        ({"indices": np.array([-1, 0])}, IndexError, r"indices must lie in 0\.\.1, got -1 at 0"),
        ({"mirror": np.zeros(3, bool)}, ValueError, r"mirror must be \[N\] with N=2"),
        ({"mirror": np.zeros(2, np.float32)}, TypeError, "mirror must be bool or uint8"),
        ({"crop_xy": np.array([[0, 0], [2, 0]])}, ValueError, r"crop_xy must lie in .* got \(2, 0\) at 1"),
        ({"crop_xy": np.array([[0, -1], [0, 0]])}, ValueError, r"crop_xy must lie in .* got \(0, -1\) at 0"),
        ({"crop_xy": np.array([[0, 2**62], [0, 0]])}, ValueError, "crop_xy must lie"),
        ({"out": np.zeros((2, 1, 2, 3), np.float32)}, ValueError, "out must be .* C=3"),
        ({"out": np.zeros((2, 3, 5, 3), np.float32)}, ValueError, "out must be .* h<=4"),
        ({"out": np.zeros((2, 3, 2, 6), np.float32)[..., ::2]}, ValueError, "out must be dense in NCHW or NHWC"),
        ({"out": np.zeros((2, 3, 2, 3))}, TypeError, "out must be float32"),
        ({"threads": 0}, ValueError, "threads must be at least 1, got 0"),
    ],
)
def test_host_refuses_what_would_overrun(change, error, complaint):
    arguments = {
        "images": np.zeros((2, 4, 4, 3), np.uint8),
        "indices": np.array([0, 1]),
        "mirror": np.zeros(2, bool),
        "crop_xy": np.zeros((2, 2), np.int64),
        "out": np.zeros((2, 3, 2, 3), np.float32),
        "threads": 1,
    }
    host = host_or_skip()
    with pytest.raises(error, match=complaint):
        host.assemble_batch(**arguments | change)


def test_read_only_output_is_refused():
    host = host_or_skip()
    out = np.zeros((1, 3, 4, 4), np.float32)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out must be writeable"):
        host.assemble_batch(
            np.zeros((1, 4, 4, 3), np.uint8), np.array([0]), np.zeros(1, bool), np.zeros((1, 2), np.int64), out
        )


def test_allocator_takes_thresholds_and_refuses_nonsense():
    host = host_or_skip()
    assert isinstance(host.set_allocator(1 << 25, 1 << 27), bool)
    with pytest.raises(ValueError, match=r"thresholds must lie in 0\.\.2147483647 bytes, got -1 and 0"):
        host.set_allocator(-1, 0)


def test_missing_host_library_leaves_torch(monkeypatch):
    def absent(name: str):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    assert assembly._load_host() is None
