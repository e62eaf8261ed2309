"""Videos and animated pictures: what is in them, how long they last, and that no half of one is left."""

from __future__ import annotations

import gc
import importlib.util
import resource
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from fastgan.report import animation
from fastgan.report.animation import save_video

PILLOW = (".webp", ".gif", ".png")
PYAV = (".mp4", ".webm")


@pytest.fixture(params=[*PILLOW, *PYAV, ""])
def ending(request: pytest.FixtureRequest) -> str:
    if request.param in PYAV:
        request.getfixturevalue("pyav")
    return request.param


def colours(count: int, height: int = 20, width: int = 34, channels: int = 3) -> Iterator[torch.Tensor]:
    """Frames of two flat colours, the seam between which moves."""
    for i in range(count):
        frame = torch.empty(channels, height, width, dtype=torch.uint8)
        frame[:] = torch.tensor([200, 40, 90], dtype=torch.uint8)[:channels, None, None]
        frame[:, :, 4 + 2 * i :] = torch.tensor([20, 180, 60], dtype=torch.uint8)[:channels, None, None]
        yield frame


def noise(count: int) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        yield torch.randint(0, 256, (3, 64, 64), generator=generator).to(torch.uint8)


def read(path: Path) -> tuple[list[np.ndarray], float]:
    """RGB frames of a file, and how many seconds it lasts."""
    if path.is_dir():
        return [np.asarray(Image.open(file).convert("RGB")) for file in sorted(path.iterdir())], 0.0
    if path.suffix in PYAV:
        import av

        with av.open(str(path)) as file:
            frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
            return frames, (file.duration or 0) / av.time_base
    frames, lasted = [], 0.0
    with Image.open(path) as image:
        assert image.format == path.suffix[1:].upper() and image.info["loop"] == 0
        for frame in ImageSequence.Iterator(image):
            frames.append(np.asarray(frame.convert("RGB")))
            lasted += frame.info["duration"] / 1000
    return frames, lasted


def test_frames_are_in_the_file_in_their_order(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "deep" / f"video{ending}"
    save_video(colours(7), path, 30, 7)
    frames, lasted = read(path)
    assert lasted == pytest.approx(7 / 30, abs=0.006) or not ending
    expected = [frame.permute(1, 2, 0).numpy() for frame in colours(7)]
    distances = np.array([[np.abs(frame.astype(int) - one).mean() for one in expected] for frame in frames])
    assert distances.argmin(axis=1).tolist() == list(range(7))
    # Lossy files mix the colours at the seam, and nowhere else.
    assert distances.diagonal().max() <= (0 if ending in (".gif", ".png", "") else 5)
    assert all(np.abs(frame[:, -4:].astype(int) - [20, 180, 60]).max() <= 5 for frame in frames)


@pytest.mark.parametrize("fps", [7, 24, 30, 50])
@pytest.mark.parametrize("kind", PILLOW)
def test_a_second_lasts_a_second(tmp_path: Path, kind: str, fps: int) -> None:
    save_video(noise(2 * fps), tmp_path / f"a{kind}", fps, 2 * fps)
    frames, lasted = read(tmp_path / f"a{kind}")
    assert len(frames) == 2 * fps and lasted == pytest.approx(2, abs=1e-9)


def test_the_same_frames_give_the_same_bytes(tmp_path: Path, ending: str) -> None:
    for name in ("a", "b"):
        save_video(noise(12), tmp_path / f"{name}{ending}", 30, 12)
    if ending:
        assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()
        return
    names = [f"frame{i:05}.png" for i in range(12)]
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == names
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)


def test_no_metadata_tell_of_the_machine(tmp_path: Path, pyav: None) -> None:
    import av

    for kind in PYAV:
        save_video(colours(3), tmp_path / f"a{kind}", 30, 3)
        with av.open(str(tmp_path / f"a{kind}")) as file:
            assert file.metadata.get("encoder") in (None, "Lavf") and "creation_time" not in file.metadata


def test_odd_sides_and_grey_frames(tmp_path: Path, ending: str) -> None:
    grey = [torch.full((1, 13, 17), value, dtype=torch.uint8) for value in (30, 200)]
    save_video(grey, tmp_path / f"a{ending}", 10, 2)
    frames, _ = read(tmp_path / f"a{ending}")
    expected = (14, 18, 3) if ending in PYAV else (13, 17, 3)
    assert [frame.shape for frame in frames] == [expected] * 2
    assert np.abs(frames[0].astype(int) - 30).max() <= 2 and np.abs(frames[1].astype(int) - 200).max() <= 2


def test_frames_are_not_held(tmp_path: Path, ending: str) -> None:
    if ending in (".gif", ".png"):
        pytest.skip("Pillow holds these until they are written")
    alive: list[weakref.ref] = []
    most = 0

    def watched() -> Iterator[torch.Tensor]:
        nonlocal most
        for frame in noise(40):
            alive.append(weakref.ref(frame.untyped_storage()))
            most = max(most, sum(each() is not None for each in alive))
            yield frame

    gc.disable()
    try:
        save_video(watched(), tmp_path / f"a{ending}", 30, 40)
    finally:
        gc.enable()
    assert len(alive) == 40 and most <= 4


@pytest.mark.parametrize("failure", [KeyboardInterrupt, ZeroDivisionError])
def test_a_file_that_is_not_finished_leaves_the_old_one(
    tmp_path: Path, ending: str, failure: type[BaseException]
) -> None:
    def broken() -> Iterator[torch.Tensor]:
        yield from noise(9)
        raise failure

    if not ending:
        with pytest.raises(failure):
            save_video(broken(), tmp_path / "a", 30, 20)
        assert sorted(file.name for file in (tmp_path / "a").iterdir()) == [f"frame{i:05}.png" for i in range(9)]
        return
    path = tmp_path / f"a{ending}"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(failure):
        save_video(broken(), path, 30, 20)
    assert path.read_text(encoding="utf-8") == "old" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file_and_is_told_with_its_name(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        with pytest.raises(OSError, match="File too large") as told:
            save_video(noise(40), path, 30, 40)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert told.value.filename == str(path if ending else path / "frame00000.png")
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


@pytest.mark.parametrize(
    ("name", "fps", "count", "message"),
    [
        ("a.avi", 30, 2, "a video must end in .mp4, .webm, .webp, .gif, .png, or in nothing for a folder"),
        ("a.gif", 60, 2, "a GIF must have at most 50 frames a second, got 60"),
        ("a.webp", 0, 2, "fps must be an integer of at least 1, got 0"),
        ("a.webp", 2.5, 2, "fps must be an integer of at least 1, got 2.5"),
        ("a.webp", 30, 3, "frames must be 3, got 2"),
        ("a.webp", 30, 1, "frames must be 1 of one [C, H, W] with C 1 or 3, got [3, 64, 64]"),
        ("file", 30, 2, "{}/file is a file, and frames are written to a folder; name another, or give an ending"),
        ("full", 30, 2, "{}/full holds frame00002.png, which is none of these 2 frames; name another folder"),
    ],
)
def test_what_cannot_be_written_is_said(tmp_path: Path, name: str, fps: int, count: int, message: str) -> None:
    (tmp_path / "file").touch()
    save_video(noise(3), tmp_path / "full", 30, 3)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError) as told:
        save_video(noise(2), tmp_path / name, fps, count)
    assert str(told.value).startswith(message.format(tmp_path))
    assert sorted(tmp_path.rglob("*")) == before


def test_frames_of_two_sizes_are_refused(tmp_path: Path) -> None:
    frames = [torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(3, 8, 9, dtype=torch.uint8)]
    with pytest.raises(ValueError, match=r"^frames must be 2 of one \[C, H, W\] with C 1 or 3, got \[3, 8, 9\]$"):
        save_video(frames, tmp_path / "a.webp", 30, 2)


def test_without_pyav_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(animation.importlib.util, "find_spec", lambda name: None)
    for kind in PYAV:
        with pytest.raises(ValueError) as told:
            save_video(noise(1), tmp_path / f"a{kind}", 30, 1)
        sentence = f"{kind} is written with PyAV: pip install 'fastgan[video]'; .webp, .gif, .png need nothing more"
        assert str(told.value) == sentence
    save_video(noise(2), tmp_path / "a.webp", 30, 2)
    assert importlib.util.find_spec("av") is None
