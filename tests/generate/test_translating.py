"""Translations of images of any size: padded, cut back, each independent of the others, and nothing else touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import fastgan
from fastgan.checkpoint import CheckpointError, save_checkpoint
from fastgan.generate import Sampler, Translator
from fastgan.models import FromImage, build


class Same(FromImage):
    """Gives back what it is given, and keeps the last of it."""

    def __init__(self, channels: int = 3, multiple: int = 8, smallest: int = 16):
        super().__init__()
        self.in_channels = self.out_channels = channels
        self.multiple, self.smallest = multiple, smallest
        self.given: list[Tensor] = []

    def forward(self, image: Tensor) -> Tensor:
        self.given.append(image)
        return image


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


SMALL: dict[str, Any] = {"resolution": [32, 32], "channel_base": 4, "d_channel_base": 4, "receptive_field": 16}


def checkpoint(folder: Path, model: str = "pix2pix", **changes: Any) -> Path:
    torch.manual_seed(3)
    config = SMALL | changes
    _, *networks = build(model, **config)
    names = {"pix2pix": ["G"], "cyclegan": ["G_ab", "G_ba"]}[model]
    weights = {f"{name}_ema": G.state_dict() for name, G in zip(names, networks, strict=False)}
    path = folder / "checkpoint-000001.safetensors"
    save_checkpoint(path, {"model": {"name": model, "config": config}} | weights, metadata={})
    return path


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (2, 3), (7, 16), (16, 16), (17, 31), (33, 8), (70, 69)])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_size_comes_back_to_the_pixel(size: tuple[int, int], channels: int) -> None:
    G = Same(channels)
    image = pictures(channels, *size)
    assert torch.equal(Translator(G).translate(image), image)
    height, width = G.given[0].shape[2:]
    assert height % 8 == 0 and width % 8 == 0 and min(height, width) >= 16
    assert height < size[0] + 16 and width < size[1] + 16


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([10, 20, 30, 40], [30, 20, 10, 20, 30, 40, 30, 20, 10]),  # two of nine to the left
        ([10, 20], [20, 10, 20, 10, 20, 10, 20, 10, 20]),  # beyond its own width
        ([10], [10] * 9),
    ],
)
def test_images_are_continued_by_their_mirror_image_on_all_sides(row: list[int], expected: list[int]) -> None:
    for turned in (False, True):
        G = Same(1, multiple=9, smallest=9)
        image = torch.tensor([[row]], dtype=torch.uint8)
        Translator(G).translate(image.mT if turned else image)
        given = ((G.given[0] + 1) * 127.5).round().int()[0, 0]
        assert (given[:, 0] if turned else given[0]).tolist() == expected


def test_batches_and_single_images_and_pillow_agree() -> None:
    G = Same()
    batch = pictures(4, 3, 20, 30)
    made = Translator(G).translate(batch)
    assert torch.equal(made, batch)
    image = Image.fromarray(batch[0].permute(1, 2, 0).numpy())
    assert np.array_equal(np.asarray(Translator(G).translate(image)), np.asarray(image))
    grey = Translator(Same(1)).translate(image)
    assert grey.mode == "L" and np.array_equal(np.asarray(grey), np.asarray(image.convert("L")))


@pytest.mark.parametrize("model", ["pix2pix", "cyclegan"])
def test_a_translation_does_not_depend_on_others_modes_or_random_numbers(tmp_path: Path, model: str) -> None:
    translator = fastgan.Translator.from_checkpoint(checkpoint(tmp_path, model))
    images = pictures(3, 3, 33, 40)
    before, global_state = translator.translate(images[1]), torch.get_rng_state()
    translator.G.train()
    assert torch.equal(translator.translate(images[1]), before)
    assert translator.G.training and torch.equal(torch.get_rng_state(), global_state)
    together = translator.translate(images)[1]
    assert (together.int() - before.int()).abs().max() <= 1
    assert before.shape == (3, 33, 40)


def test_images_of_pillow_are_seen_as_files_are_read() -> None:
    def pixel(image: Image.Image) -> Any:
        return Translator(Same()).translate(image).getpixel((0, 0))

    assert pixel(Image.new("RGBA", (3, 3), (255, 0, 0, 0))) == (255, 255, 255)  # its hidden red is not seen
    assert pixel(Image.fromarray(np.full((3, 3), 32768, np.uint16))) == (127, 127, 127)
    assert pixel(Image.fromarray(np.full((3, 3), 0.5, np.float32))) == (127, 127, 127)
    image = Image.fromarray(pictures(4, 6, 3).numpy())
    image.getexif()[0x0112] = 6
    upright = image.transpose(Image.Transpose.ROTATE_270)
    assert np.array_equal(np.asarray(Translator(Same()).translate(image)), np.asarray(upright))
    with pytest.raises(ValueError, match="image must have at least one pixel, got 0x5"):
        Translator(Same()).translate(Image.new("RGB", (0, 5)))


@pytest.mark.parametrize("default", ["meta", "float64"])
def test_defaults_of_torch_change_no_translation(tmp_path: Path, default: str) -> None:
    translator = Translator.from_checkpoint(checkpoint(tmp_path))
    image = pictures(3, 33, 1)
    drawing = Image.fromarray(image.permute(1, 2, 0).numpy())
    expected = translator.translate(image)
    try:
        torch.set_default_dtype(torch.float64 if default == "float64" else torch.float32)
        with torch.device("meta" if default == "meta" else "cpu"):
            assert torch.equal(Translator.from_checkpoint(tmp_path).translate(image), expected)
            made = np.asarray(translator.translate(drawing))
    finally:
        torch.set_default_dtype(torch.float32)
    assert np.array_equal(made, expected.permute(1, 2, 0).numpy())


def test_directions(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, "cyclegan", in_channels=1, out_channels=3)
    assert Translator.from_checkpoint(tmp_path).G.in_channels == 1
    assert Translator.from_checkpoint(path, "ab").translate(pictures(1, 8, 8)).shape == (3, 8, 8)
    assert Translator.from_checkpoint(path, "ba").translate(pictures(3, 8, 8)).shape == (1, 8, 8)
    with pytest.raises(ValueError, match="direction must be ab or ba for a cyclegan, got 'b'"):
        Translator.from_checkpoint(path, "b")
    with pytest.raises(ValueError, match="direction must be ab for a pix2pix, got 'ba'"):
        Translator.from_checkpoint(checkpoint(tmp_path), "ba")


def test_models_of_the_other_kind_are_named_with_what_to_do(tmp_path: Path) -> None:
    path = checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="is of a pix2pix, which translates images: fastgan translate --network"):
        Sampler.from_checkpoint(path)
    config = {"resolution": [8, 8], "channel_base": 16, "z_dim": 4}
    _, G, _ = build("dcgan", **config)
    save_checkpoint(path, {"model": {"name": "dcgan", "config": config}, "G_ema": G.state_dict()}, metadata={})
    with pytest.raises(CheckpointError, match="is of a dcgan, which makes images of noise: fastgan generate --network"):
        Translator.from_checkpoint(path)


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (torch.zeros(3, 8, 8), TypeError, "image must be a uint8 tensor or an image of Pillow, got torch.float32"),
        (np.zeros((8, 8, 3), np.uint8), TypeError, "got ndarray"),
        (pictures(1, 8, 8), ValueError, r"with C=3 and at least one pixel, got \[1, 8, 8\]"),
        (pictures(3, 0, 8), ValueError, r"with C=3 and at least one pixel, got \[3, 0, 8\]"),
        (pictures(8, 8), ValueError, r"got \[8, 8\]"),
    ],
)
def test_what_is_no_image_is_named(image: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Translator(Same()).translate(image)


def test_no_device_is_named() -> None:
    with pytest.raises(ValueError, match="device must be cpu or cuda, got 'tpux'"):
        Translator.from_checkpoint("nowhere", device="tpux")
