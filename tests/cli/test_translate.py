"""`fastgan translate`, right and wrong."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fastgan.cli.main import main
from fastgan.generate import Translator
from tests.generate.test_translating import checkpoint


def drawing(path: Path, size: tuple[int, int] = (20, 12), mode: str = "RGB", seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], len(Image.new(mode, (1, 1)).getbands())))
    Image.fromarray(values.astype(np.uint8).squeeze(2) if values.shape[2] == 1 else values.astype(np.uint8)).save(path)
    return path


def translate(*arguments: object) -> int:
    return main(["translate", *map(str, arguments), "--device", "cpu"])


@pytest.fixture
def network(tmp_path: Path) -> Path:
    (tmp_path / "net").mkdir()
    return checkpoint(tmp_path / "net")


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.copy()


def pixels(path: Path) -> np.ndarray:
    return np.asarray(opened(path))


def test_a_folder_keeps_its_names_sizes_and_sub_folders(
    tmp_path: Path, network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = drawing(tmp_path / "in/a.png").parent
    drawing(source / "deep/b.webp", (33, 40), seed=1)
    drawing(source / "c.jpg", (1, 1), mode="L", seed=2)
    out = tmp_path / "out"
    assert translate("--network", network.parent, "--source", source, "--outdir", out, "--grid") == 0
    assert "wrote 3 images to" in " ".join(capsys.readouterr().out.split())
    assert {str(path.relative_to(out)) for path in out.rglob("*.png")} == {"a.png", "c.png", "deep/b.png", "grid.png"}
    assert pixels(out / "deep/b.png").shape == (40, 33, 3) and pixels(out / "c.png").shape == (1, 1, 3)
    expected = Translator.from_checkpoint(network).translate(opened(source / "a.png"))
    assert np.array_equal(pixels(out / "a.png"), np.asarray(expected))


@pytest.mark.parametrize("packed", ["file", "zip"])
def test_one_image_and_a_zip(tmp_path: Path, network: Path, packed: str) -> None:
    source = drawing(tmp_path / "a.png")
    if packed == "zip":
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.write(source, "x/a.png")
        source = tmp_path / "a.zip"
    assert translate("--network", network, "--source", source, "--outdir", tmp_path / "out") == 0
    made = tmp_path / "out" / ("x/a.png" if packed == "zip" else "a.png")
    assert pixels(made).shape == (12, 20, 3)


def test_transparency_stays_and_is_seen_over_the_background(tmp_path: Path, network: Path) -> None:
    drawing(tmp_path / "in/a.png", mode="RGBA")
    for colour in ("white", "black"):
        out = tmp_path / colour
        given = ["--network", network, "--source", tmp_path / "in", "--background", colour]
        assert translate(*given, "--outdir", out) == 0
        source = opened(tmp_path / "in/a.png")
        assert np.array_equal(pixels(out / "a.png")[..., 3], np.asarray(source)[..., 3])
        over = Image.alpha_composite(Image.new("RGBA", source.size, colour), source).convert("RGB")
        expected = Translator.from_checkpoint(network).translate(over)
        assert np.array_equal(pixels(out / "a.png")[..., :3], np.asarray(expected))


def test_images_are_turned_as_their_exif_says(tmp_path: Path, network: Path) -> None:
    image = opened(drawing(tmp_path / "plain.png"))
    (tmp_path / "in").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "in/a.png", exif=exif)
    assert translate("--network", network, "--source", tmp_path / "in", "--outdir", tmp_path / "out") == 0
    expected = Translator.from_checkpoint(network).translate(image.transpose(Image.Transpose.ROTATE_270))
    assert np.array_equal(pixels(tmp_path / "out/a.png"), np.asarray(expected))


def test_the_other_direction(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    path = checkpoint(tmp_path / "net", "cyclegan", in_channels=1, out_channels=3)
    source = drawing(tmp_path / "a.png")
    for direction, channels in (("ab", 3), ("ba", 1)):
        given = ["--network", path, "--source", source, "--outdir", tmp_path / direction, "--direction", direction]
        assert translate(*given) == 0
        assert len(opened(tmp_path / direction / "a.png").getbands()) == channels


def test_broken_images_stop_it_or_are_left_out(
    tmp_path: Path, network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = drawing(tmp_path / "in/b.png").parent
    (source / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    given = ["--network", network, "--source", source, "--outdir", tmp_path / "out"]
    assert translate(*given) == 2
    assert "a.png: cannot be read as an image" in (said := " ".join(capsys.readouterr().err.split()))
    assert said.endswith("--skip-broken leaves such images out")
    assert translate(*given, "--skip-broken") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "left out:" in said and "wrote 1 image to" in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.png"]


def test_a_broken_image_is_named_once(tmp_path: Path, network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.png").write_bytes(b"nothing")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "a.png", "x/a.png")
    for source, where in (("a.png", "a.png"), ("a.zip", "a.zip: x/a.png")):
        given = ["--network", network, "--source", tmp_path / source, "--outdir", tmp_path / "out"]
        assert translate(*given) == 2
        assert f"error: {tmp_path / where}: cannot be read" in " ".join(capsys.readouterr().err.split())


def test_what_would_be_lost_is_refused_before_anything_is_written(
    tmp_path: Path, network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = drawing(tmp_path / "in/a.png").parent
    drawing(source / "a.jpg")
    only = drawing(tmp_path / "only/a.png")
    for given, message in (
        ((source, tmp_path / "out"), "a.jpg and a.png would both be written to"),
        ((source, source), "--outdir must lie outside of the source"),
        ((source, source / "out"), "--outdir must lie outside of the source"),
        ((only, only.parent), "would replace or join the images of the source"),
        ((only, only), "--outdir must be a folder"),
        ((tmp_path / "gone", tmp_path / "out"), "no such file or folder"),
    ):
        assert translate("--network", network, "--source", given[0], "--outdir", given[1]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists() and os.listdir(only.parent) == ["a.png"]
    drawing(tmp_path / "grid/grid.png")
    given = ["--network", network, "--source", tmp_path / "grid", "--outdir", tmp_path / "out", "--grid"]
    assert translate(*given) == 2
    assert "grid.png of --grid and grid.png would both be written" in " ".join(capsys.readouterr().err.split())


def test_no_image_that_is_read_is_replaced_from_above_or_through_links(
    tmp_path: Path, network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inner = drawing(tmp_path / "p/in/in/a.png", seed=1)
    read = drawing(tmp_path / "p/in/a.png")  # in/a.png of the source would be written here
    real = drawing(tmp_path / "real/b.png")
    (tmp_path / "links").mkdir()
    (tmp_path / "links/b.png").symlink_to(real)
    before = [path.read_bytes() for path in (inner, read, real)]
    for source, out in (("p/in", "p"), ("links", "real")):
        assert translate("--network", network, "--source", tmp_path / source, "--outdir", tmp_path / out) == 2
        assert "would replace or join the images of the source" in " ".join(capsys.readouterr().err.split())
    assert [path.read_bytes() for path in (inner, read, real)] == before
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == ["in"]


def test_a_file_where_another_needs_a_folder_is_refused_before_anything_is_written(
    tmp_path: Path, network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawing(tmp_path / "in/a.jpg")
    drawing(tmp_path / "in/a.png/b.png")
    given = ["--network", network, "--source", tmp_path / "in", "--outdir", tmp_path / "out"]
    assert translate(*given) == 2
    assert "a.jpg would be written to" in (said := " ".join(capsys.readouterr().err.split()))
    assert "the folder of a.png/b.png; rename one" in said and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "a.png: to translate its 20x12 pixels takes more"),
        (torch.OutOfMemoryError("CUDA out of memory"), "a.png: to translate its 20x12 pixels takes more memory"),
    ],
)
def test_an_image_too_large_for_the_memory_is_named(
    tmp_path: Path,
    network: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    message: str,
) -> None:
    def short(translator: Translator, image: Image.Image) -> Image.Image:
        raise error

    monkeypatch.setattr(Translator, "translate", short)
    source = drawing(tmp_path / "in/a.png").parent
    assert translate("--network", network, "--source", source, "--outdir", tmp_path / "out") == 2
    assert message in " ".join(capsys.readouterr().err.split())
    monkeypatch.setattr(Translator, "translate", lambda translator, image: torch.zeros(2).reshape(3))
    with pytest.raises(RuntimeError, match="shape"):
        translate("--network", network, "--source", source, "--outdir", tmp_path / "out")
