"""Sets of small images with labels, and what comes of them."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from fastgan.data import Dataset, load_dataset
from tests.data.making import flat, in_folder, in_zip

Files = dict[str, bytes]
FORMS = {"folder": in_folder, "zip": lambda path, files: in_zip(path.with_suffix(".zip"), files)}


def images(*names: str) -> Files:
    """Images whose values tell their place."""
    return {name: flat(100 + place) for place, name in enumerate(names)}


def index(labels: object, **fields: object) -> bytes:
    return json.dumps({"labels": labels, **fields}).encode()


def labels_of(data: Dataset) -> dict[int, object]:
    """Place of each image -> its label."""
    assert data.labels is not None
    places = (data.read(torch.arange(len(data)))[:, 0, 0, 0] - 100).tolist()
    return dict(zip(places, data.labels.tolist(), strict=True))


def notes(source: Path, **options: object) -> str:
    return "\n".join(load_dataset(source, **options).notes)  # type: ignore[arg-type]
