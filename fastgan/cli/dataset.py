"""`fastgan dataset`: convert a set of images to another form, or tell what it holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from fastgan.cli.options.dataset import DatasetOptions
from fastgan.cli.resolution import parse_resolution
from fastgan.data.conversion import Converted, convert, held_out_name
from fastgan.data.emoji import NOTICE, emoji_index, read_emoji, render_emoji
from fastgan.data.image import parse_color
from fastgan.data.opening import open_store
from fastgan.data.pairing import sides_of
from fastgan.data.plan import Conversion
from fastgan.data.stores import ImageStore
from fastgan.data.survey import Survey, preview, survey
from fastgan.data.writing import check_destination, write_dataset
from fastgan.literal import literal
from fastgan.report.grid import save_grid

# Lines of each kind that a report shows.
_SHOWN = 10


def run(options: DatasetOptions) -> int:
    """Write the data set that `options` describe, or tell what is in it.

    Returns:
        0, the exit status.
    Raises:
        ValueError: options that do not go together, files that cannot be read, a destination that is taken.
    """
    if options.workers is not None and options.workers < 1:
        raise ValueError(f"--workers must be at least 1, got {options.workers}")
    if options.groups is not None and options.preset is None:
        raise ValueError("--groups goes with --preset emoji64 only")
    if options.preview is not None and options.preview.suffix.lower() != ".png":
        raise ValueError(f"--preview must be a file ending in .png, got {options.preview}")
    _check_written(options)
    console = Console(highlight=False, markup=False)
    if options.dest is not None:
        made = _build_emoji(options) if options.preset == "emoji64" else _convert(options)
        if options.preset is None:
            with open_store(options.source) as store:
                _tell_notes(store, console)
        _tell_written(options.dest, options, made, console)
    elif options.preset:
        raise ValueError("--preset needs --dest: what to write")
    else:
        with open_store(options.source) as store:
            _tell_notes(store, console)
            _report(survey(store, workers=options.workers, track=_track("Reading")), store.title, console)
    if options.preview is not None:
        with open_store(options.dest or options.source) as store:
            images = torch.from_numpy(preview(store))
            even = 2 * round(len(images) ** 0.5 / 2)  # partners stay side by side
            save_grid(images, options.preview, columns=even if sides_of(store.names) else None)
        console.print(literal(f"Wrote {options.preview}"), soft_wrap=True)
    return 0


# What a source of a set, its report and its preview have no use for.
_WRITING = (
    "resolution", "transform", "channels", "background", "max_images", "format", "class_folders", "shard_size",
    "skip_broken", "force", "classes", "pair", "pair_with", "by", "hold_out",
)  # fmt: skip


def _check_written(options: DatasetOptions) -> None:
    """Raises ValueError where options say how to write a set and nothing is to be written."""
    plain = DatasetOptions(options.source)
    idle = [name for name in _WRITING if getattr(options, name) != getattr(plain, name)]
    if idle and options.dest is None:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in idle)
        raise ValueError(f"{named}: nothing is written without --dest, which names what to write")


def _build_emoji(options: DatasetOptions) -> Converted:
    assert options.dest is not None
    if options.groups is None:
        raise ValueError("--preset emoji64 needs --groups: the .tgz of `npm pack emoji-datasource-google@16.0.0`")
    if any(
        (options.resolution, options.max_images, options.classes, options.pair, options.pair_with, options.hold_out)
    ):
        raise ValueError("--preset emoji64 is one fixed set; convert it afterwards with --source emoji64")
    check_destination(options.dest, force=options.force)
    source = Path(options.source)
    emoji = read_emoji(source, options.groups)
    images = _track("Drawing")(render_emoji(source, emoji), len(emoji))
    notices = [("NOTICE.txt", NOTICE.read_bytes())]
    return Converted(write_dataset(options.dest, images, emoji_index(emoji), notices=notices, force=options.force))


def _convert(options: DatasetOptions) -> Converted:
    assert options.dest is not None
    if options.by is not None and options.pair_with is None:
        raise ValueError("--by goes with --pair-with SOURCE only: how to find the partner of an image there")
    if options.hold_out is not None and not 0 < options.hold_out < 1:
        raise ValueError(f"--hold-out must be a share of the images between 0 and 1, got {options.hold_out:g}")
    conversion = Conversion(
        resolution=None if options.resolution is None else parse_resolution(options.resolution),
        transform=options.transform,
        format=options.format,
        channels=options.channels,
        background=parse_color(options.background),
        classes=options.classes or (),
        max_images=options.max_images,
        class_folders=options.class_folders,
        shard_size=options.shard_size,
        skip_broken=options.skip_broken,
        pair=options.pair,
        pair_with=options.pair_with,
        by=options.by or "name",
        hold_out=options.hold_out or 0.0,
    )
    progress = _track("Converting")
    return convert(
        options.source, options.dest, conversion, force=options.force, workers=options.workers, track=progress
    )


def _tell_written(dest: Path, options: DatasetOptions, made: Converted, console: Console) -> None:
    if made.broken:
        console.print(f"warning: images that cannot be used and are left out: {len(made.broken)}", soft_wrap=True)
        for message in made.broken:
            console.print(f"  {literal(message)}", soft_wrap=True)
    for source, count in zip((options.source, options.pair_with), made.lonely, strict=False):
        if count:
            console.print(literal(f"note: {source}: images without a partner, left out: {count:,}"), soft_wrap=True)
    what = "pairs" if made.pairs else "images"
    console.print(literal(f"Wrote {made.images} {what} to {dest}"), soft_wrap=True)
    if made.held_out:
        console.print(literal(f"Wrote {made.held_out} {what} to {held_out_name(dest)}, held out"), soft_wrap=True)
    elif options.force and held_out_name(dest).exists():
        old = f"warning: {held_out_name(dest)} is of an earlier call; {dest} may hold the same images"
        console.print(literal(old), soft_wrap=True)


def _tell_notes(store: ImageStore, console: Console) -> None:
    for note in (*store.index.describe(store.names, store.path), *store.notes):
        console.print(f"note: {literal(note)}", soft_wrap=True)


def _report(found: Survey, title: str, console: Console) -> None:
    sizes = Counter({f"{width}x{height}": count for (width, height), count in found.sizes.items()})
    console.print(f"{literal(title)}: {found.images:,} images, {found.bytes / 2**20:,.1f} MiB", soft_wrap=True)
    table = Table()
    table.add_column()
    table.add_column("images", justify="right")
    table.add_column("share", justify="right")
    for head, counts in (("size", sizes), ("format", found.formats)):
        for name, count in counts.most_common(_SHOWN):
            table.add_row(Text(literal(f"{head} {name}")), f"{count:,}", f"{count / max(found.images, 1):.1%}")
        if len(counts) > _SHOWN:
            table.add_row(f"{len(counts) - _SHOWN} other {head}s", "", "")
    for name, count in found.classes.items():
        table.add_row(Text(literal(f"class {name}")), f"{count:,}", f"{count / max(found.images, 1):.1%}")
    if found.unlabelled:
        table.add_row("no label", f"{found.unlabelled:,}", f"{found.unlabelled / found.images:.1%}")
    console.print(table)
    if found.label_range is not None:
        low, high = (", ".join(f"{value:g}" for value in ends) for ends in found.label_range)
        console.print(f"label vectors: from [{low}] to [{high}]", soft_wrap=True)
    if found.images:
        figures = [" ".join(f"{value:.1f}" for value in each) for each in (found.mean, found.deviation)]
        console.print(f"mean of R G B: {figures[0]}; standard deviation: {figures[1]} (0 to 255)")
    same = [f"{name} is the same as {earlier}" for name, earlier in found.duplicates.items()]
    for head, lines in (("copies of other images", same), ("images that cannot be read", found.broken)):
        if lines:
            console.print(f"{head}: {len(lines)}")
            for line in [*lines[:_SHOWN], *["..."] * (len(lines) > _SHOWN)]:
                console.print(f"  {literal(line)}", soft_wrap=True)


def _track(what: str) -> Any:
    def tracked(things: Iterable[Any], total: int) -> Iterable[Any]:
        return track(things, what, total, console=Console(stderr=True))

    return tracked
