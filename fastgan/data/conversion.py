"""Converting a set of images to another form: in parallel, and going on where an earlier try ended."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fastgan.choices import DRAWINGS, TRANSFORMS, chosen
from fastgan.data.image import BrokenImageError, decode_image, encode_image
from fastgan.data.loading import ENOUGH_BROKEN, broken_report, in_threads
from fastgan.data.opening import open_store
from fastgan.data.pairing import held_out
from fastgan.data.plan import Conversion, Picture, Plan, plan_of
from fastgan.data.stores import ImageStore
from fastgan.data.writing import check_destination, shard_names, write_dataset

Track = Callable[[Iterable[Any], int], Iterable[Any]]


@dataclass(frozen=True)
class Converted:
    """What was written.

    Attributes:
        images: number of images, or of pairs.
        pairs: whether they are pairs.
        held_out: number of images or pairs in the second set.
        broken: a message for each image that was left out as it cannot be used.
        lonely: number of images of each source that were left out as they have no partner.
    """

    images: int
    pairs: bool = False
    held_out: int = 0
    broken: tuple[str, ...] = ()
    lonely: tuple[int, ...] = ()


def convert(
    source: str | Path,
    dest: Path,
    conversion: Conversion,
    *,
    force: bool = False,
    workers: int | None = None,
    track: Track = lambda things, total: things,
) -> Converted:
    """Write the images of `source` to `dest`, a folder, a folder of shards, or a zip (its name ends in .zip).

    Equal arguments give equal bytes, whatever the number of workers. `dest` appears when it is complete; until then the
    work lies beside it in `.NAME.unfinished`, from which the next call with equal arguments goes on. What is held out
    goes to `held_out_name(dest)`, which appears just before.

    Args:
        source: as for `load_dataset`.
        dest: where to.
        conversion: how.
        force: replace a data set that is at `dest`, and what was held out of it.
        workers: threads; None: one a core.
        track: wraps the images as they are converted, to show progress.
    Raises:
        ValueError: a destination that may not be written, options that do not go together, broken images.
    """
    dest = dest.resolve()
    dests = [held_out_name(dest), dest] if conversion.hold_out else [dest]
    for each in dests:
        check_destination(each, force=force, shards=conversion.shard_size is not None)
    with contextlib.ExitStack() as stack:
        sources = [source] if conversion.pair_with is None else [source, conversion.pair_with]
        stores = [stack.enter_context(open_store(each)) for each in sources]
        for store in stores:
            for each in dests:
                _check_apart(store.path, each)
        plan = plan_of(stores[0], stores[1] if len(stores) > 1 else None, conversion)
        work = dest.with_name(f".{dest.name}.unfinished")
        _prepare(work, stores, conversion, plan)
        broken = _stage(stores[0], conversion, plan, work, workers, track)
        whole = [key for key, files in plan.images.items() if not broken.keys() & files.keys()]
        held = set(held_out(whole, conversion.hold_out)) if conversion.hold_out else set()
        parts = [[key for key in whole if (key in held) == (each != dest)] for each in dests]
        for each, keys in zip(dests, parts, strict=True):
            paths = {path: path for key in keys for path in plan.images[key]}
            final = shard_names(paths, conversion.shard_size)
            write_dataset(
                each,
                ((final[path], work / path) for path in paths),
                plan.index.renamed(final),
                notices=_notices(stores).items(),
                shards=conversion.shard_size is not None,
                force=force,
            )
    shutil.rmtree(work)
    return Converted(len(parts[-1]), plan.pairs, len(held), tuple(dict.fromkeys(broken.values())), plan.lonely)


def held_out_name(dest: Path) -> Path:
    """`set.zip` -> `set-held-out.zip`, and `set` -> `set-held-out`."""
    suffix = dest.suffix if dest.suffix.lower() == ".zip" else ""
    return dest.with_name(f"{dest.name.removesuffix(suffix)}-held-out{suffix}")


def _notices(stores: Iterable[ImageStore]) -> dict[str, bytes]:
    """Licence files of all stores; those of one name are joined."""
    found: dict[str, bytes] = {}
    for store in stores:
        for name in store.notices:
            data = store.read(name)
            if found.get(name, data) != data:
                data = found[name].rstrip() + b"\n\n" + data
            found[name] = data
    return found


def _prepare(work: Path, stores: Iterable[ImageStore], conversion: Conversion, plan: Plan) -> None:
    """Keep the unfinished work if it is of the same conversion, else start anew."""
    how = asdict(replace(conversion, skip_broken=False, hold_out=0.0))
    made = [[path, picture.name, picture.drawing] for path, picture in plan.files.items()]
    identity = [[str(store.path.resolve()) for store in stores], how, made]
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    file = work / ".plan"
    if not (file.is_file() and file.read_text(encoding="utf-8") == digest):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        file.write_text(digest, encoding="utf-8")


def _stage(
    store: ImageStore, conversion: Conversion, plan: Plan, work: Path, workers: int | None, track: Track
) -> dict[str, str]:
    """Every image as a file of `work`; messages of those that are broken, by their path in the new set."""
    files = plan.files
    size = None if conversion.resolution is not None else _common_size(store, files, conversion.skip_broken)

    def place(new: str) -> str | None:
        path, picture = work / new, files[new]
        try:
            if not _is_done(path, picture.store.modified(picture.name)):
                _write_file(path, _converted(picture, conversion, size))
        except BrokenImageError as error:
            return str(error)
        return None

    broken: dict[str, str] = {}
    for new, message in zip(files, track(in_threads(place, list(files), workers), len(files)), strict=False):
        if message is not None:
            broken[new] = message
            if not conversion.skip_broken and len(set(broken.values())) == ENOUGH_BROKEN:
                break
    left = any(not broken.keys() & each.keys() for each in plan.images.values())
    if broken and not (conversion.skip_broken and left):
        raise BrokenImageError(broken_report(store.path, list(dict.fromkeys(broken.values())), len(plan.images)))
    return broken


def _common_size(store: ImageStore, files: Mapping[str, Picture], skip_broken: bool) -> tuple[int, int]:
    """(W, H) of the first image that can be read."""
    for picture in files.values():
        try:
            return picture.store.decode(picture.name).size
        except BrokenImageError:
            if not skip_broken:
                raise
    raise BrokenImageError(f"{store.path}: none of its images can be read")


def _converted(picture: Picture, conversion: Conversion, size: tuple[int, int] | None) -> bytes:
    """The bytes of the image's new file; `size` (W, H) is what images that keep theirs must have."""
    store, name = picture.store, picture.name
    image = store.decode(name, channels=conversion.channels or store.channels, background=conversion.background)
    if conversion.resolution is not None:
        image = chosen(TRANSFORMS, conversion.transform)(image, conversion.resolution)
    elif size is not None and image.size != size:
        raise BrokenImageError(
            f"{store.where(name)}: is {image.width}x{image.height} (WxH), but the first image is {size[0]}x{size[1]}; "
            "pass --resolution WxH to crop and resize all images to it"
        )
    if picture.drawing is not None:  # of the picture as it will be, so that lines keep their width
        image = chosen(DRAWINGS, picture.drawing)(image)
    elif conversion.copies:
        return store.read(name)
    return encode_image(image, f".{conversion.format}")


def _is_done(path: Path, modified: int) -> bool:
    """Whether an earlier try wrote this file, whole and after the source was `modified` (nanoseconds)."""
    if not path.is_file() or path.stat().st_mtime_ns < modified:
        return False
    try:
        decode_image(path.read_bytes(), str(path))
    except BrokenImageError:
        return False
    return True


def _write_file(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(data)
    os.replace(partial, path)


def _check_apart(source: Path, dest: Path) -> None:
    source, dest = source.resolve(), dest.resolve()
    if source == dest or source in dest.parents or dest in source.parents:
        raise ValueError(f"{dest}: the destination must lie outside the source {source}, and not hold it")
