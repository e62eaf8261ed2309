from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fastgan.report import arrange_grid, save_grid, save_image


def test_cells_lie_row_by_row_with_white_between() -> None:
    images = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 1, 2, 3)
    sheet = arrange_grid(images, columns=2, padding=1)[0]
    w = 255
    expected = [
        [w, w, w, w, w, w, w, w, w],
        [w, 0, 0, 0, w, 1, 1, 1, w],
        [w, 0, 0, 0, w, 1, 1, 1, w],
        [w, w, w, w, w, w, w, w, w],
        [w, 2, 2, 2, w, 3, 3, 3, w],
        [w, 2, 2, 2, w, 3, 3, 3, w],
        [w, w, w, w, w, w, w, w, w],
        [w, 4, 4, 4, w, w, w, w, w],
        [w, 4, 4, 4, w, w, w, w, w],
        [w, w, w, w, w, w, w, w, w],
    ]
    assert sheet.tolist() == expected


@pytest.mark.parametrize(
    ("count", "size", "columns"),
    [(1, (8, 8), 1), (16, (8, 8), 4), (32, (8, 8), 6), (8, (32, 8), 6), (8, (8, 32), 1), (3, (64, 4), 3)],
)
def test_the_grid_is_about_square(count: int, size: tuple[int, int], columns: int) -> None:
    sheet = arrange_grid(torch.zeros(count, 3, *size), padding=0)
    assert sheet.shape[2] == columns * size[1]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_file_holds_the_pixels(tmp_path: Path, channels: int) -> None:
    image = torch.randint(0, 256, (channels, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    save_image(image, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as file:
        pixels = np.asarray(file)
    assert np.array_equal(pixels.reshape(5, 7, channels), image.permute(1, 2, 0).numpy())


def test_floats_are_quantised(tmp_path: Path) -> None:
    values = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0, 0.5]).view(1, 1, 1, 6)
    save_grid(values, tmp_path / "a.png", padding=0)
    with Image.open(tmp_path / "a.png") as file:
        assert np.asarray(file).tolist() == [[0, 0, 128, 255, 255, 191]]


def test_channels_last_and_gradients_do_not_matter() -> None:
    images = torch.randn(4, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    other = images.contiguous(memory_format=torch.channels_last).requires_grad_()
    assert torch.equal(arrange_grid(images), arrange_grid(other))


def test_a_failed_write_leaves_the_old_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    save_grid(torch.zeros(1, 3, 4, 4), path)
    before = path.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="No space left"):
        save_grid(torch.ones(1, 3, 4, 4), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((3, 8, 8), {}, r"images must be \[N, C, H, W\] with at least one image, got \[3, 8, 8\]"),
        ((0, 3, 8, 8), {}, "at least one image"),
        ((2, 3, 8, 8), {"columns": 0}, "columns must be at least 1, got 0"),
        ((2, 3, 8, 8), {"padding": -1}, "padding must be at least 0, got -1"),
        ((2, 2, 8, 8), {}, r"C 1, 3 or 4, got \[2, "),
    ],
)
def test_bad_arguments_are_named(tmp_path: Path, shape: tuple[int, ...], options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        save_grid(torch.zeros(shape), tmp_path / "a.png", **options)
    assert list(tmp_path.iterdir()) == []


def test_integer_images_other_than_bytes_are_refused() -> None:
    with pytest.raises(TypeError, match=r"floating point in \[-1, 1\] or uint8, got torch\.int64"):
        arrange_grid(torch.zeros(1, 3, 4, 4, dtype=torch.int64))
