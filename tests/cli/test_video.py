from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fastgan.checkpoint import save_checkpoint
from fastgan.cli.main import main
from fastgan.models.registry import build
from fastgan.report import animation
from tests.cli.test_generate import network, pixels
from tests.models import movable


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_keyframes_are_what_generate_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shared = ["--network", str(network(tmp_path, "a", "b")), "--trunc", "0.7", "--batch", "1"]
    walk, out = tmp_path / "walk", tmp_path / "out"
    given = ["--seeds", "5,3,12,8", "--seconds", "0.3", "--fps", "10", "--output", str(walk)]
    assert main(["video", *shared, *given]) == 0
    assert capsys.readouterr().out == f"wrote 12 frames, 1.2 s: {walk}\n"
    assert names(walk) == [f"frame{i:05}.png" for i in range(12)]
    assert main(["generate", *shared, "--seeds", "5,3,12,8", "--outdir", str(out)]) == 0
    for k, seed in enumerate((5, 3, 12, 8)):
        assert np.array_equal(pixels(walk / f"frame{3 * k:05}.png"), pixels(out / f"seed{seed:04}.png"))


def test_a_grid_takes_its_seeds_row_by_row(tmp_path: Path) -> None:
    shared = ["--network", str(network(tmp_path)), "--batch", "1"]
    given = ["--seeds", "0-7", "--grid", "2x2", "--seconds", "1", "--fps", "2"]
    assert main(["video", *shared, *given, "--output", str(tmp_path / "walk")]) == 0
    for k in range(2):
        seeds = ["--seeds", f"{4 * k}-{4 * k + 3}", "--outdir", str(tmp_path / f"out{k}")]
        assert main(["generate", *shared, *seeds, "--grid", "--no-images"]) == 0
        frame = pixels(tmp_path / "walk" / f"frame{2 * k:05}.png")
        assert frame.shape == (38, 38, 3) and np.array_equal(frame, pixels(tmp_path / f"out{k}" / "grid.png"))
    assert (
        main(["video", *shared, *given[2:4], "--seconds", ".5", "--fps", "2", "--output", str(tmp_path / "eight")]) == 0
    )
    assert len(names(tmp_path / "eight")) == 8  # by default eight keyframes


def test_one_seed_walks_through_all_classes(tmp_path: Path) -> None:
    path = network(tmp_path, "smileys", "food", "flags")
    shared = ["--network", str(path), "--class", "all", "--batch", "1"]
    assert main(["video", *shared, "--seconds", "1", "--fps", "2", "--output", str(tmp_path / "walk")]) == 0
    assert main(["generate", *shared, "--seeds", "0", "--outdir", str(tmp_path / "out")]) == 0
    assert len(names(tmp_path / "walk")) == 6
    for k in range(3):
        frame = pixels(tmp_path / "walk" / f"frame{2 * k:05}.png")
        assert np.array_equal(frame, pixels(tmp_path / "out" / f"class{k}-seed0000.png"))


def test_a_label_is_held(tmp_path: Path) -> None:
    shared = ["--network", str(network(tmp_path, "a", "b")), "--label", "-0.5,1", "--batch", "1"]
    assert main(["video", *shared, "--seeds", "4,9", "--seconds", ".1", "--output", str(tmp_path / "walk")]) == 0
    assert main(["generate", *shared, "--seeds", "9", "--outdir", str(tmp_path / "out")]) == 0
    assert np.array_equal(pixels(tmp_path / "walk/frame00003.png"), pixels(tmp_path / "out/seed0009.png"))


def test_a_command_gives_the_same_bytes_each_time(tmp_path: Path) -> None:
    command = ["video", "--network", str(network(tmp_path)), "--seeds", "0-3", "--seconds", "0.5", "--fps", "8"]
    for name in ("a.webp", "b.webp"):
        assert main([*command, "--output", str(tmp_path / "deep" / name)]) == 0
    one, other = ((tmp_path / "deep" / name).read_bytes() for name in ("a.webp", "b.webp"))
    assert one == other
    with Image.open(tmp_path / "deep" / "a.webp") as image:
        assert (image.size, getattr(image, "n_frames", 1)) == ((16, 16), 16)


def test_a_generator_without_styles_walks_in_z(tmp_path: Path) -> None:
    config = {"resolution": (16, 16), "channel_base": 128, "channel_max": 8, "z_dim": 8}
    torch.manual_seed(0)
    path = tmp_path / "dcgan.safetensors"
    tree = {"model": {"name": "dcgan", "config": config}, "G_ema": build("dcgan", **config)[1].state_dict()}
    save_checkpoint(path, tree, metadata={"kimg": 1.0})
    shared = ["--network", str(path), "--batch", "1"]
    assert main(["video", *shared, "--seeds", "4,9", "--seconds", ".1", "--output", str(tmp_path / "walk")]) == 0
    assert main(["generate", *shared, "--seeds", "4,9", "--outdir", str(tmp_path / "out")]) == 0
    for frame, seed in ((0, 4), (3, 9)):
        assert np.array_equal(
            pixels(tmp_path / f"walk/frame0000{frame}.png"), pixels(tmp_path / f"out/seed000{seed}.png")
        )


@pytest.mark.parametrize("shot", ["pan", "rotate"])
def test_pictures_move_while_their_latents_stay(tmp_path: Path, shot: str) -> None:
    shared = ["--network", str(movable.checkpoint(tmp_path)), "--batch", "1"]
    place = tmp_path / "moving"
    assert main(["video", *shared, "--shot", shot, "--seconds", "1", "--fps", "4", "--output", str(place)]) == 0
    # A quarter of the circle to the right and down, then its far end; or quarters of a turn.
    moved = {"pan": ["--translate", "0.125", "0.125"], "rotate": ["--rotate", "90"]}[shot]
    far = {"pan": ["--translate", "0", "0.25"], "rotate": ["--rotate", "180"]}[shot]
    for frame, given in enumerate(([], moved, far)):
        assert main(["generate", *shared, "--seeds", "0", *given, "--outdir", str(tmp_path / "out")]) == 0
        difference = pixels(place / f"frame0000{frame}.png").astype(int) - pixels(tmp_path / "out/seed0000.png")
        assert np.abs(difference).max() <= 1
    assert len(names(place)) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--network", "gone.safetensors"], "checkpoint gone.safetensors does not exist"),
        (
            ["--output", "out/a.avi"],
            "a video must end in .mp4, .webm, .webp, .gif, .png, or in nothing for a folder of frames; got out/a.avi",
        ),
        (
            ["--output", "out/a.mp4"],
            ".mp4 is written with PyAV: pip install 'fastgan[video]'; .webp, .gif, .png need nothing more",
        ),
        (["--output", "network.safetensors/a.gif"], "network.safetensors: File exists"),
        (
            ["--shot", "rotate"],
            "shot must be walk: a stylegan2 generator cannot move its picture, as those of stylegan3-t and "
            "stylegan3-r can; got rotate",
        ),
        (["--grid", "4"], "--grid must be COLUMNSxROWS like 4x2, got '4'"),
        (["--grid", "0x2"], "--grid must be COLUMNSxROWS like 4x2, got '0x2'"),
        (["--grid", "4x2", "--seeds", "0-11"], "seeds must be 2 or more times the 8 cells for a walk, got 12"),
        (["--seeds", "3"], "seeds must be 2 or more for a walk, got 1"),
        (["--seeds", "1-x"], "seeds must be numbers and ranges like 0-31,40, got '1-x' in '1-x'"),
        (["--seconds", "0"], "--seconds must be a number above 0, got 0.0"),
        (["--seconds", "nan"], "--seconds must be a number above 0, got nan"),
        (["--fps", "0"], "fps must be an integer of at least 1, got 0"),
        (["--class", "food"], "class must not be given: the model is unconditional, got 'food'"),
        (["--label", "1;0"], "--label must be numbers with commas between them, like 0.1,-0.5; got '1;0'"),
        (["--trunc", "nan"], "truncation_psi must be a number within ±100, got nan"),
    ],
)
def test_errors_are_worded_and_write_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(animation.importlib.util, "find_spec", lambda name: None)
    network(Path("."))
    given = ["--network", "network.safetensors", "--output", "out/a.webp", "--seconds", "0.1", *arguments]
    for option in {word for word in arguments if word.startswith("--")} & set(given[:6]):
        at = given.index(option)
        del given[at : at + 2]
    assert main(["video", *given]) == 2
    assert capsys.readouterr().err == f"fastgan: error: {message}\n"
    assert names(tmp_path) == ["network.safetensors"]


def test_an_interrupted_video_leaves_the_old_file(tmp_path: Path) -> None:
    path, place = network(tmp_path), tmp_path / "out"
    place.mkdir()
    (place / "a.webp").write_text("old", encoding="utf-8")
    command = [sys.executable, "-m", "fastgan", "video", "--network", str(path), "--output", str(place / "a.webp")]
    process = subprocess.Popen([*command, "--seconds", "1000"], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while len(names(place)) < 2:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "fastgan: interrupted\n")
    assert names(place) == ["a.webp"] and (place / "a.webp").read_text(encoding="utf-8") == "old"
