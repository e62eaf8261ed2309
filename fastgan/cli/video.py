"""`fastgan video`: walks and moving pictures from a checkpoint."""

from __future__ import annotations

import re

import torch
from rich.console import Console
from rich.progress import track

from fastgan.cli.families import bring
from fastgan.cli.generate import classes_of, label_of
from fastgan.cli.options.video import VideoOptions
from fastgan.config.fields import check_number
from fastgan.generate import Sampler, Video, parse_seeds
from fastgan.literal import literal
from fastgan.ops.allocation import tune_cpu_allocator
from fastgan.report.animation import save_video
from fastgan.report.grid import arrange_grid

_KEYFRAMES = 8
_SECONDS = {"walk": 2.0, "pan": 8.0, "rotate": 8.0}


def run(options: VideoOptions) -> int:
    """Makes the frames, writes them and prints what was written.

    Args:
        options: the command line.

    Returns:
        0, the exit status.

    Raises:
        ValueError: bad seeds or an unknown class, what the model cannot do, another ending, PyAV is missing.
        OSError: a file could not be read or written.
    """
    columns, rows = _grid(options.grid)
    cells = columns * rows
    seeds = None if options.seeds is None else parse_seeds(options.seeds)
    seconds = _SECONDS[options.shot] if options.seconds is None else options.seconds
    check_number("--seconds", seconds, 0, above=True)
    tune_cpu_allocator()
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if options.cfg is not None:
        bring(options.cfg, options.network)
    sampler = Sampler.from_checkpoint(options.network, device)
    classes = None if options.class_ is None else classes_of(sampler, options.class_)
    keyframes = _KEYFRAMES if options.shot == "walk" and len(classes or []) < 2 else 1
    video = Video(
        sampler,
        range(cells * keyframes) if seeds is None else seeds,
        shot=options.shot,
        cells=cells,
        steps=max(1, round(seconds * options.fps)),
        truncation_psi=options.trunc,
        truncation_center=options.trunc_center,
        class_index=classes,
        labels=None if options.label is None else label_of(options.label),
        noise_mode=options.noise_mode,
        batch_size=options.batch,
    )
    progress = Console(stderr=True)
    bar = track(video, "Generating", console=progress, transient=True, disable=not progress.is_terminal)
    frames = (arrange_grid(images, columns=columns, padding=2 if cells > 1 else 0) for images in bar)
    save_video(frames, options.output, options.fps, len(video))
    console = Console(highlight=False, markup=False)
    told = f"{len(video)} frames, {len(video) / options.fps:.3g} s"
    console.print(literal(f"wrote {told}: {options.output}"), soft_wrap=True)
    return 0


def _grid(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d{0,2})x([1-9]\d{0,2})", text)
    if match is None:
        raise ValueError(f"--grid must be COLUMNSxROWS like 4x2, got {text!r}")
    return int(match[1]), int(match[2])
