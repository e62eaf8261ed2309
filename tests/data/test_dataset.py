"""Sets of images in memory: what goes together, and where mirroring is wrong."""

from __future__ import annotations

import pytest
import torch

from fastgan.data import ImageDataset


@pytest.mark.parametrize(
    ("name", "classes", "hazards"),
    [
        ("emoji64", ("flags", "food"), ("flags",)),
        ("mnist", ("0", "1"), ("mnist",)),
        ("kmnist", (), ("kmnist",)),
        ("fashion-mnist", ("0", "1"), ()),
        ("EMNIST Letters", (), ("EMNIST Letters",)),
        ("photos", ("cats", "Road Signs"), ("Road Signs",)),
    ],
)
def test_classes_that_must_not_be_mirrored_are_named(name, classes, hazards):
    labels = torch.zeros(1, dtype=torch.int64) if classes else None
    data = ImageDataset(torch.zeros(1, 2, 2, 3, dtype=torch.uint8), labels, classes, name)
    assert data.mirror_hazards == hazards


def test_unlabelled_keeps_the_images():
    data = ImageDataset(torch.zeros(2, 2, 2, 3, dtype=torch.uint8), torch.tensor([0, 1]), ("a", "b"), "x")
    bare = data.unlabelled()
    assert bare.images is data.images and bare.labels is None and bare.num_classes == 0 and bare.name == "x"


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"images": torch.zeros(2, 3, 3, 3)}, r"images must be uint8 \[M, H, W, C\].*got torch.float32 \[2, 3, 3, 3\]"),
        ({"images": torch.zeros(2, 3, 4, 4, dtype=torch.uint8)}, "C 1 or 3"),
        ({"images": torch.zeros(0, 4, 4, 3, dtype=torch.uint8)}, "M >= 1"),
        ({"class_names": ("a",)}, r"class_names must be \(\) without labels"),
        ({"labels": torch.tensor([0])}, r"labels must be int64 \[M\]=\[2\], got torch.int64 \[1\]"),
        ({"labels": torch.tensor([0, 2]), "class_names": ("a", "b")}, r"labels must lie in 0\.\.1.*got 0\.\.2"),
    ],
)
def test_parts_that_do_not_fit_are_named(fields, complaint):
    with pytest.raises(ValueError, match=complaint):
        ImageDataset(**{"images": torch.zeros(2, 4, 4, 3, dtype=torch.uint8)} | fields)
