"""`fastgan generate`: images from a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from rich.console import Console
from rich.progress import track

from fastgan.cli.families import bring
from fastgan.cli.options.generate import GenerateOptions
from fastgan.generate import Sampler, parse_seeds
from fastgan.literal import literal
from fastgan.ops.allocation import tune_cpu_allocator
from fastgan.report.grid import save_grid, save_image


def run(options: GenerateOptions) -> int:
    """Makes the images, writes them and prints what was written.

    Args:
        options: the command line.

    Returns:
        0, the exit status.

    Raises:
        ValueError: bad seeds, an unknown class, a class or label that the model does not take, nothing to write.
        OSError: a file could not be read or written.
    """
    seeds = parse_seeds(options.seeds)
    if options.no_images and not options.grid:
        raise ValueError("--no-images without --grid leaves nothing to write")
    tune_cpu_allocator()
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if options.cfg is not None:
        bring(options.cfg, options.network)
    sampler = Sampler.from_checkpoint(options.network, device)
    classes = None if options.class_ is None else classes_of(sampler, options.class_)
    made = sampler.batches(
        seeds,
        truncation_psi=options.trunc,
        truncation_center=options.trunc_center,
        class_index=classes,
        noise_mode=options.noise_mode,
        batch_size=options.batch,
        labels=None if options.label is None else label_of(options.label),
        translate=options.translate,
        rotate=options.rotate,
    )
    if options.outdir.exists() and not options.outdir.is_dir():
        raise ValueError(f"--outdir must be a folder, {options.outdir} is a file")
    options.outdir.mkdir(parents=True, exist_ok=True)
    several = classes is not None and len(classes) > 1
    names = [f"class{k}-" if several else "" for k in classes or [0]]
    files = [f"{name}seed{seed:04d}.png" for name in names for seed in seeds]
    progress = Console(stderr=True)
    kept: list[torch.Tensor] = []
    for file, image in zip(
        track(files, "Generating", console=progress, transient=True, disable=not progress.is_terminal),
        (image for batch in made for image in batch),
        strict=True,
    ):
        if not options.no_images:
            save_image(image, options.outdir / file)
        if options.grid:
            kept.append(image)
    if options.grid:
        save_grid(torch.stack(kept), options.outdir / "grid.png", columns=len(seeds) if several else None)
    console = Console(highlight=False, markup=False)  # speaks when all is written: nobody may be listening
    if not options.no_images:
        span = files[0] + (f" ... {files[-1]}" if len(files) > 1 else "")
        console.print(literal(f"wrote {len(files)} images: {options.outdir / span}"), soft_wrap=True)
    if options.grid:
        console.print(literal(f"wrote a grid of {len(files)}: {options.outdir / 'grid.png'}"), soft_wrap=True)
    return 0


def classes_of(sampler: Sampler, names: Sequence[str]) -> list[int]:
    """The numbers of the classes that are asked for, each once.

    Raises:
        ValueError: the model has no classes, or no such class.
    """
    if "all" in names and sampler.G.num_classes and sampler.labels is None:
        return sampler.classes
    return list(dict.fromkeys(sampler.class_index(name) for name in names))


def label_of(text: str) -> list[float]:
    """The numbers of --label.

    Raises:
        ValueError: the text has another form.
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--label must be numbers with commas between them, like 0.1,-0.5; got {text!r}") from None
