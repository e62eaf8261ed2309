"""`fastgan generate`: images from a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from rich.console import Console
from rich.progress import track

from fastgan.checkpoint import CheckpointError
from fastgan.generate.sampling import Sampler
from fastgan.generate.seeds import parse_seeds
from fastgan.ops.allocation import tune_cpu_allocator
from fastgan.report.grid import save_grid, save_image


@dataclass
class GenerateOptions:
    """Make images from a checkpoint: one PNG a seed, with --grid also all in one."""

    network: Path
    """checkpoint (.safetensors) of a run, or the folder of a run: then its newest"""
    outdir: Path
    """folder to write to; made if absent"""
    seeds: str = "0-31"
    """numbers and ranges, e.g. 0-31,40; a seed always gives the same image"""
    trunc: float = 1.0
    """truncation psi: 1 leaves variety as it is, 0 gives the average image; below 1 trades variety for quality"""
    class_: Annotated[str | None, tyro.conf.arg(name="class", help_behavior_hint="")] = None
    """name or number of a class; default: one drawn for each seed. Only for conditional models"""
    noise_mode: Literal["const", "random", "none"] = "const"
    """the layers' own noise, fresh noise for each seed, or none"""
    grid: bool = False
    """also write grid.png with all images"""
    no_images: bool = False
    """write no seed0000.png ..., the grid alone"""
    batch: int = 16
    """images made at once"""
    device: Literal["cpu", "cuda"] | None = None
    """default: cuda where there is one"""


def run(options: GenerateOptions) -> int:
    """Makes the images, writes them and prints what was written.

    Args:
        options: the command line.

    Returns:
        0, the exit status.

    Raises:
        ValueError: bad seeds, an unknown class, a class for an unconditional model, nothing to write.
        OSError: a file could not be read or written.
    """
    seeds = parse_seeds(options.seeds)
    if options.no_images and not options.grid:
        raise ValueError("--no-images without --grid leaves nothing to write")
    tune_cpu_allocator()
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    sampler = Sampler.from_checkpoint(_newest(options.network), device)
    class_index = None if options.class_ is None else sampler.class_index(options.class_)
    options.outdir.mkdir(parents=True, exist_ok=True)
    made = sampler.batches(
        seeds,
        truncation_psi=options.trunc,
        class_index=class_index,
        noise_mode=options.noise_mode,
        batch_size=options.batch,
    )
    console = Console(highlight=False)
    progress = Console(stderr=True)
    remaining = iter(seeds)
    kept: list[torch.Tensor] = []
    for image in track(
        (image for batch in made for image in batch),
        "Generating",
        len(seeds),
        console=progress,
        transient=True,
        disable=not progress.is_terminal,
    ):
        seed = next(remaining)
        if not options.no_images:
            save_image(image, options.outdir / f"seed{seed:04d}.png")
        if options.grid:
            kept.append(image)
    if not options.no_images:
        span = f"seed{seeds[0]:04d}.png" + (f" ... seed{seeds[-1]:04d}.png" if len(seeds) > 1 else "")
        console.print(f"wrote {len(seeds)} images: {options.outdir / span}", soft_wrap=True)
    if options.grid:
        save_grid(torch.stack(kept), options.outdir / "grid.png")
        console.print(f"wrote a grid of {len(seeds)}: {options.outdir / 'grid.png'}", soft_wrap=True)
    return 0


def _newest(network: Path) -> Path:
    """network itself, or the newest checkpoint in it if it is a folder."""
    if not network.is_dir():
        return network
    found = sorted(network.glob("*.safetensors"), key=lambda path: (path.stat().st_mtime, path.name))
    if not found:
        raise CheckpointError(f"{network}: the folder holds no checkpoint (*.safetensors)")
    return found[-1]
