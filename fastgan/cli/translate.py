"""`fastgan translate`: images of images, with a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track

from fastgan.bench.measure import out_of_memory
from fastgan.cli.families import bring
from fastgan.cli.options.translate import TranslateOptions
from fastgan.data.formats import IMAGE_SUFFIXES, suffix_of
from fastgan.data.image import BrokenImageError, decode_alpha, decode_image, parse_color
from fastgan.data.opening import open_store
from fastgan.generate import Translator
from fastgan.literal import literal
from fastgan.ops.allocation import tune_cpu_allocator
from fastgan.report.grid import save_grid, save_image

_SHOWN = 32  # images of a grid, beside their translations
_CELL = 256  # pixels of their longer side, at most


def run(options: TranslateOptions) -> int:
    """Translates the images, writes them and prints what was written.

    Args:
        options: the command line.

    Returns:
        0, the exit status.

    Raises:
        ValueError: no images, two of which would be written to one file, files that would replace what is read, a
            direction that the model does not know, an image that cannot be read.
        OSError: a file could not be read or written.
    """
    background = parse_color(options.background)
    if options.cfg is not None:
        bring(options.cfg, options.network)
    names, read = _opened(options.source)
    files = _files(options, names)
    tune_cpu_allocator()
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    translator = Translator.from_checkpoint(options.network, options.direction, device)
    progress, console = Console(stderr=True), Console(highlight=False, markup=False)
    shown: list[Image.Image] = []
    broken: list[str] = []
    channels = translator.G.in_channels
    bar = track(files, "Translating", console=progress, transient=True, disable=not progress.is_terminal)
    for name in bar:
        where = literal(_where(options.source, name))
        try:
            data = read(name)
            image = decode_image(data, where, channels=channels, background=background)
            alpha = decode_alpha(data, where)
        except BrokenImageError as error:
            if not options.skip_broken:
                raise BrokenImageError(f"{error}; --skip-broken leaves such images out") from error
            broken.append(str(error))
            continue
        made = _translated(translator, image, where)
        files[name].parent.mkdir(parents=True, exist_ok=True)
        save_image(_tensor(made, alpha), files[name])
        if options.grid and len(shown) < 2 * _SHOWN:
            shown += [image, made]
    for message in broken:
        console.print(f"left out: {message}", soft_wrap=True)
    written = len(files) - len(broken)
    console.print(literal(f"wrote {written} image{'s' * (written != 1)} to {options.outdir}"), soft_wrap=True)
    if shown:
        save_grid(_cells(shown), options.outdir / "grid.png", columns=min(len(shown), 8))
        console.print(literal(f"wrote {options.outdir / 'grid.png'}: inputs beside outputs"), soft_wrap=True)
    return 0


def _translated(translator: Translator, image: Image.Image, where: str) -> Image.Image:
    try:
        return translator.translate(image)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise ValueError(
            f"{where}: to translate its {image.width}x{image.height} pixels takes more memory than there is; "
            "make it smaller, or choose another --device"
        ) from error


def _opened(source: Path) -> tuple[tuple[str, ...], Callable[[str], bytes]]:
    """Names of the images, and how one is read."""
    if source.is_file() and suffix_of(source.name) in IMAGE_SUFFIXES:
        return (source.name,), lambda name: source.read_bytes()
    store = open_store(source)
    return store.names, store.read


def _where(source: Path, name: str) -> str:
    """How errors name an image of the source."""
    if source.is_dir():
        return f"{source}/{name}"
    return str(source) if source.name == name else f"{source}: {name}"


def _files(options: TranslateOptions, names: tuple[str, ...]) -> dict[str, Path]:
    """Name -> the file that its translation is written to.

    Raises:
        ValueError: it would replace what is read, or another translation.
    """
    outdir, source = options.outdir, options.source
    if outdir.exists() and not outdir.is_dir():
        raise ValueError(f"--outdir must be a folder, {outdir} is a file")
    place, inside = outdir.resolve(), source.resolve()
    if source.is_dir() and (place == inside or inside in place.parents):
        raise ValueError(f"--outdir must lie outside of the source, {source}, of which its images would become a part")
    reads = {inside, *((source / name).resolve() for name in names if source.is_dir())}
    files: dict[str, Path] = {}
    taken: dict[Path, str] = {Path("grid.png"): "grid.png of --grid"} if options.grid else {}
    for name in names:
        path = Path(PurePosixPath(name).with_suffix(".png"))
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{source}: the name {name!r} leads out of --outdir; rename the image")
        if (other := taken.setdefault(path, name)) != name:
            raise ValueError(f"{source}: {other} and {name} would both be written to {outdir / path}; rename one")
        files[name] = outdir / path
        target = files[name].resolve()
        if target in reads or inside in target.parents:
            raise ValueError(f"{files[name]} would replace or join the images of the source; choose another --outdir")
    for path, name in taken.items():
        if (folder := next((each for each in path.parents if each in taken), None)) is not None:
            raise ValueError(
                f"{source}: {taken[folder]} would be written to {outdir / folder}, the folder of {name}; rename one"
            )
    return files


def _tensor(image: Image.Image, alpha: Image.Image | None) -> torch.Tensor:
    """uint8 [C, H, W], with alpha RGBA."""
    if alpha is not None:
        image = image.convert("RGB")
        image.putalpha(alpha)
    pixels = np.asarray(image)
    return torch.tensor(pixels).reshape(*pixels.shape[:2], -1).permute(2, 0, 1)


def _cells(images: list[Image.Image]) -> torch.Tensor:
    """uint8 [N, 3, S, S]: the images, made small where they are large, each in the middle of white."""
    small = [image.convert("RGB") for image in images]
    for image in small:
        image.thumbnail((_CELL, _CELL), Image.Resampling.LANCZOS)
    side = max(max(image.size) for image in small)
    cells = []
    for image in small:
        cell = Image.new("RGB", (side, side), (255, 255, 255))
        cell.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        cells.append(torch.tensor(np.asarray(cell)).permute(2, 0, 1))
    return torch.stack(cells)
