"""Videos and animated pictures, written frame by frame."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from fastgan.checkpoint import replacing
from fastgan.config.fields import check_int
from fastgan.generate.quantise import to_uint8
from fastgan.report.grid import save_image

# Ending -> container, codec and its options: constant quality, at which one sees no difference.
_ENCODED: dict[str, tuple[str, str, dict[str, str]]] = {
    ".mp4": ("mp4", "libx264", {"crf": "18"}),
    ".webm": ("webm", "libvpx-vp9", {"crf": "24", "cpu-used": "4"}),
}
# Ending -> Pillow's format and its options.
_ANIMATED: dict[str, tuple[str, dict[str, Any]]] = {
    ".webp": ("WEBP", {"quality": 90, "method": 4}),
    ".gif": ("GIF", {}),
    ".png": ("PNG", {}),
}
_FASTEST_GIF = 50  # frames a second: viewers slow down what lasts less than two hundredths


def save_video(frames: Iterable[torch.Tensor], path: str | Path, fps: int, count: int) -> None:
    """path <- frames, whole or not at all.

    A file holds neither the time nor random numbers: the same frames give the same bytes, of .mp4 and .webm on one
    machine. Frames are taken one by one, and memory holds a few; of a .gif and .png all, until the file is written. A
    .png and a folder keep every value, the others come close. Animations begin again for ever.

    Args:
        frames: [C, H, W] each, C = 1 (grey) or 3 (RGB), all of one size; uint8, or floating point in [-1, 1].
        path: .mp4 or .webm, for which PyAV must be installed; .webp, .gif or .png, animated; or what has no ending, a
            folder, for frame00000.png and so on, each written whole. Folders are made if absent.
        fps: frames a second, from 1 to 1000; of a .gif at most 50.
        count: how many frames there are.

    Raises:
        ValueError: another ending or fps, PyAV is missing, the folder holds frames that would stay among these, frames
            have another shape or are not so many. But for the last two, no frame has been asked for.
        OSError: a file could not be written.
    """
    path = Path(path)
    check_int("fps", fps, 1, 1000)
    _check_place(path, fps, count)
    ending, counted = _ending(path), _counted(frames, count)
    if not ending:
        path.mkdir(parents=True, exist_ok=True)
        for file, frame in zip(_files(path, count), counted, strict=True):
            save_image(frame, file)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = map(_picture, counted)
    with replacing(path) as partial:
        if ending in _ENCODED:
            _encode(pictures, partial, fps, *_ENCODED[ending])
        else:
            _animate(pictures, partial, fps, count, *_ANIMATED[ending])
        next(pictures, None)  # there must be none


def _check_place(path: Path, fps: int, count: int) -> None:
    """Raises ValueError where path cannot hold the video."""
    ending = _ending(path)
    if not ending:
        if path.exists() and not path.is_dir():
            raise ValueError(f"{path} is a file, and frames are written to a folder; name another, or give an ending")
        known = {frame.name for frame in _files(path, count)}
        if others := sorted({each.name for each in path.glob("frame*.png")} - known):
            raise ValueError(f"{path} holds {others[0]}, which is none of these {count} frames; name another folder")
    elif ending not in _ENCODED | _ANIMATED:
        endings = ", ".join([*_ENCODED, *_ANIMATED])
        raise ValueError(f"a video must end in {endings}, or in nothing for a folder of frames; got {path}")
    elif ending in _ENCODED and importlib.util.find_spec("av") is None:
        others = ", ".join(_ANIMATED)
        raise ValueError(f"{ending} is written with PyAV: pip install 'fastgan[video]'; {others} need nothing more")
    elif ending == ".gif" and fps > _FASTEST_GIF:
        raise ValueError(f"a GIF must have at most {_FASTEST_GIF} frames a second, got {fps}")


def _ending(path: Path) -> str:
    return "" if path.is_dir() else path.suffix.lower()


def _files(folder: Path, count: int) -> Iterator[Path]:
    digits = max(5, len(str(count - 1)))
    return (folder / f"frame{i:0{digits}}.png" for i in range(count))


def _counted(frames: Iterable[torch.Tensor], count: int) -> Iterator[torch.Tensor]:
    shape, number = None, 0
    for number, frame in enumerate(frames, start=1):
        if frame.ndim != 3 or frame.shape[0] not in (1, 3) or frame.shape != (shape or frame.shape) or number > count:
            raise ValueError(f"frames must be {count} of one [C, H, W] with C 1 or 3, got {list(frame.shape)}")
        shape = frame.shape
        yield frame
    if number != count:
        raise ValueError(f"frames must be {count}, got {number}")


def _picture(frame: torch.Tensor) -> Image.Image:
    pixels = np.ascontiguousarray(to_uint8(frame).cpu().permute(1, 2, 0).numpy())
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


class _Reel:
    """Frames as Pillow goes through those of a file; a list of images it would hold at once."""

    def __init__(self, frames: Iterator[Image.Image], count: int) -> None:
        self.n_frames = count
        self._frames = enumerate(frames)
        self._at, self._image = next(self._frames)

    def seek(self, frame: int) -> None:
        if frame >= self.n_frames:
            raise EOFError
        if frame != self._at:
            self._at, self._image = next(self._frames)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._image, name)


def _animate(
    frames: Iterator[Image.Image], path: Path, fps: int, count: int, kind: str, options: dict[str, Any]
) -> None:
    # A file of whole milliseconds, or hundredths, that does not run slow or fast: each frame ends where it should.
    unit = 10 if kind == "GIF" else 1
    ends = [round(i * 1000 / fps / unit) * unit for i in range(count + 1)]
    durations = [end - begin for begin, end in itertools.pairwise(ends)]
    first = next(frames)
    rest: list[Any] = []
    if count > 1:
        rest = list(frames) if kind == "PNG" else [_Reel(frames, count - 1)]  # through those of a PNG it goes twice
    with path.open("wb") as file:  # which Pillow, when it is interrupted, leaves open
        first.save(file, format=kind, save_all=True, append_images=rest, duration=durations, loop=0, **options)


def _encode(
    frames: Iterator[Image.Image], path: Path, fps: int, container: str, codec: str, options: dict[str, str]
) -> None:
    import av

    whole = {"fflags": "+bitexact"}  # without the program's version and random numbers
    if container == "mp4":
        whole["movflags"] = "+faststart"  # a browser shows it before it is loaded whole
    with av.open(str(path), "w", format=container, container_options=whole) as file:
        stream: Any = file.add_stream(codec, rate=fps, options=options)
        stream.pix_fmt, stream.bit_rate = "yuv420p", 0  # what every player shows; quality alone decides the rate
        bt709 = 1
        for of in ("colorspace", "color_primaries", "color_trc"):
            setattr(stream.codec_context, of, bt709)
        stream.codec_context.color_range = 1  # 16 to 235
        for i, frame in enumerate(frames):
            pixels = np.asarray(frame.convert("RGB"))
            height, width = pixels.shape[:2]
            if i == 0:  # halved colours need even sides
                stream.width, stream.height = width + width % 2, height + height % 2
            pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            coded = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format="yuv420p", dst_colorspace="itu709")
            coded.pts = i
            file.mux(stream.encode(coded))
        file.mux(stream.encode())
