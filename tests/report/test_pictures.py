from __future__ import annotations

import base64
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastgan.report.pictures import choose, data_uri, grid_files


def test_all_are_kept_while_they_are_few() -> None:
    assert choose([0, 20, 40], 60) == [0, 1, 2]
    assert choose([], 60) == []
    assert choose([7], 60) == [0]


@pytest.mark.parametrize("count", [61, 100, 500, 5000])
def test_the_choice_is_bounded_even_and_has_both_ends(count: int) -> None:
    times = [20 * i for i in range(count)]
    kept = choose(times, 60)
    assert kept[0] == 0 and kept[-1] == count - 1
    assert 30 <= len(kept) <= 60
    steps = np.diff(kept[:-1])
    assert steps.max() <= 1.5 * steps.min() + 1


def test_even_in_time_not_in_number() -> None:
    times = [*range(0, 1000), *range(1000, 10_000, 100)]  # snapshots became rarer
    kept = [times[i] for i in choose(times, 60)]
    assert sum(time >= 1000 for time in kept) > 4 * sum(time < 1000 for time in kept)


def test_a_growing_run_seldom_changes_the_choice() -> None:
    """Else every snapshot would encode all grids anew."""
    seen: set[int] = set()
    for count in range(1, 401):
        seen |= set(choose([4 * i for i in range(count)], 60)[:-1])
    assert len(seen) < 150  # each of the 400 is last once; few others ever come in


def test_grids_are_found_in_order_of_time(tmp_path: Path) -> None:
    for name in (
        "grid-000100.png",
        "grid-000020.png",
        "grid-000020.400.png",
        "grid-1000000.png",
        "grid-x.png",
        ".grid-000001.png.partial",
    ):
        (tmp_path / name).touch()
    assert [(images, path.name) for images, path in grid_files(tmp_path)] == [
        (20_000, "grid-000020.png"), (20_400, "grid-000020.400.png"), (100_000, "grid-000100.png"),
        (1_000_000_000, "grid-1000000.png"),
    ]  # fmt: skip


def decode(uri: str) -> Image.Image:
    kind, _, data = uri.partition(",")
    assert kind == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_a_picture_survives_and_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    ramp = np.zeros((64, 64, 3), np.uint8)
    ramp[..., 0] = np.arange(64) * 4
    Image.fromarray(ramp).save(path)
    first = data_uri(path)
    assert np.abs(np.asarray(decode(first)).astype(int) - ramp).mean() < 4
    Image.fromarray(255 - ramp).save(path)
    os.utime(path, ns=(1, 1))
    assert np.asarray(decode(data_uri(path)))[0, 0].min() > 240


@pytest.mark.parametrize(("mode", "shape"), [("L", (2000, 500)), ("RGBA", (500, 2000))])
def test_large_pictures_shrink_and_every_mode_is_taken(tmp_path: Path, mode: str, shape: tuple[int, int]) -> None:
    Image.new(mode, shape, 200).save(tmp_path / "a.png")
    picture = decode(data_uri(tmp_path / "a.png"))
    assert max(picture.size) == 1280 and min(picture.size) == 320
