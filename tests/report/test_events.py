"""Events are read back as TensorBoard reads them."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastgan.report import EventsWriter


def read(folder: Path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    return accumulator.EventAccumulator(str(folder)).Reload()


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read(folder).Scalars(name)]


def write(folder: Path, points: list[int], value: float, resume: int | None = None) -> None:
    pytest.importorskip("tensorboard")
    events = EventsWriter(folder, resume)
    for images in points:
        events.write(images, {"loss": {"G": value}, "images_per_second": 80.0, "bad": float("nan"), "empty": None})
    events.close()


def test_figures_come_back(tmp_path: Path) -> None:
    write(tmp_path / "events", [1000, 2000], 0.5)
    assert scalars(tmp_path / "events", "loss/G") == [(1000, 0.5), (2000, 0.5)]
    assert set(read(tmp_path / "events").Tags()["scalars"]) == {"loss/G", "images_per_second"}


def test_a_resumed_run_tells_nothing_twice(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    write(folder, [1000, 2000, 3000, 4000], 0.5)
    write(folder, [3000, 4000, 5000], 0.25, resume=2000)
    assert scalars(folder, "loss/G") == [(1000, 0.5), (2000, 0.5), (3000, 0.25), (4000, 0.25), (5000, 0.25)]


def test_a_run_begun_anew_voids_what_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    write(folder, [0, 1000, 2000], 0.5)
    write(folder, [0, 1000], 0.25)
    assert scalars(folder, "loss/G") == [(0, 0.25), (1000, 0.25)]


def test_grids_come_back_in_their_colours(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    pixels = np.zeros((6, 10, 3), np.uint8)
    pixels[:, 5:] = (10, 200, 30)
    Image.fromarray(pixels).save(tmp_path / "grid.png")
    events = EventsWriter(tmp_path / "events")
    events.write_image(3000, "grid", tmp_path / "grid.png")
    events.close()
    (event,) = read(tmp_path / "events").Images("grid")
    assert event.step == 3000
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(event.encoded_image_string))), pixels)


def test_without_the_package_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"--tensorboard needs the package tensorboard: pip install 'fastgan\[tensor"):
        EventsWriter(tmp_path / "events")
    assert list(tmp_path.iterdir()) == []
