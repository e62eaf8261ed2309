"""Sets of pairs for image-to-image translation: two folders, a and b, in which partners have equal names."""

from __future__ import annotations

import os.path
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from fastgan.data.dataset import Dataset
from fastgan.data.formats import IMAGE_SUFFIXES, suffix_of
from fastgan.data.image import WHITE
from fastgan.data.index import BY_FOLDER, DatasetIndex
from fastgan.data.labels import INDEX_NAME, show_paths
from fastgan.data.listing import is_hidden
from fastgan.data.loading import Loading, load_aligned
from fastgan.data.opening import open_store
from fastgan.data.pairing import SIDES, without_ending
from fastgan.data.stores import ImageStore, walk


def load_pairs(source: str | Path, **options: Any) -> dict[str, Dataset]:
    """Read aligned pairs: image i of `a` is the partner of image i of `b`.

    The source is a folder or zip with folders `a` and `b` (in any case), in which partners have the same path, but for
    the ending where it need not tell images apart. Labels are those of `a`, of `b` where `a` has none, and count for
    both. With skip_broken, a pair of which an image cannot be read is left out of both sides.

    Args:
        source: a folder, with a `dataset.json` of its own or in each side, or a zip.
        options: keyword arguments of `load_dataset`; `stream` counts both sides.
    Returns:
        `{"a": ..., "b": ...}`, as `Batches` takes it.
    Raises:
        ValueError: as `load_dataset`; other folders than a and b, images without a partner, sides of different sizes.
    """
    how = Loading(**options)
    sides = _open_sides(source)
    names = _partners(Path(source), *(sides[side].names for side in SIDES))
    index = _common_index(sides, names)
    aligned = [
        StoreView(sides["a"], {name: name for name in names}, index),
        StoreView(sides["b"], names, index),
    ]  # fmt: skip
    return dict(zip(SIDES, load_aligned(aligned, how), strict=True))


def load_two_sets(source_a: str | Path, source_b: str | Path | None = None, **options: Any) -> dict[str, Dataset]:
    """Read two sets that are independent of each other, of any numbers of images.

    Args:
        source_a: as of `load_dataset`; with source_b None, a folder or zip with folders `a` and `b`.
        source_b: as of `load_dataset`.
        options: keyword arguments of `load_dataset`, for both.
    Returns:
        `{"a": ..., "b": ...}`, as `UnalignedBatches` takes it.
    Raises:
        ValueError: as `load_dataset`; other folders than a and b, sets of different sizes of images or channels.
    """
    how = Loading(**options)
    stores = _open_sides(source_a) if source_b is None else {"a": open_store(source_a), "b": open_store(source_b)}
    a, b = (load_aligned([store], how)[0] for store in stores.values())
    if (a.resolution, a.channels) != (b.resolution, b.channels):
        shown = [f"{each.resolution[1]}x{each.resolution[0]} (WxH), {each.channels} channels" for each in (a, b)]
        raise ValueError(
            f"{stores['a'].path} has images of {shown[0]}; {stores['b'].path} of {shown[1]}; give a resolution and "
            "channels to bring both to"
        )
    return {"a": a, "b": b}


class StoreView(ImageStore):
    """Some images of a store under other names.

    Args:
        store: where they lie; closed with the view.
        names: name here -> name in the store.
        index: of the names here.
        folder: names the view in sentences beside the store; "" for the store's own name.
        passed: sentences on what is passed over.
    """

    def __init__(
        self,
        store: ImageStore,
        names: Mapping[str, str],
        index: DatasetIndex,
        folder: str = "",
        passed: Sequence[str] = (),
    ) -> None:
        super().__init__(store.path / folder, names, index, store.channels, passed)
        self._store, self._inner, self._folder = store, dict(names), folder

    def read(self, name: str) -> bytes:
        return self._store.read(self._inner[name])

    def decode(self, name: str, *, channels: int = 3, background: tuple[int, int, int] = WHITE) -> Image.Image:
        return self._store.decode(self._inner[name], channels=channels, background=background)

    def checksum(self, name: str) -> int:
        return self._store.checksum(self._inner[name])

    def modified(self, name: str) -> int:
        return self._store.modified(self._inner[name])

    def where(self, name: str) -> str:
        return self._store.where(self._inner[name])

    @property
    def title(self) -> str:
        return f"{self._store.title}/{self._folder}".removesuffix("/")

    def close(self) -> None:
        self._store.close()


def _open_sides(source: str | Path) -> dict[str, ImageStore]:
    """The two folders of a source, each as a set of its own, whose names and labels leave the folder away."""
    path = Path(source)
    if path.is_dir() and not (path / INDEX_NAME).is_file() and all((path / side).is_dir() for side in SIDES):
        images = [name for name in walk(path) if suffix_of(name) in IMAGE_SUFFIXES and not is_hidden(name)]
        _check_folders(path, [*SIDES, *(name.split("/")[0] if "/" in name else "" for name in images)])
        return {side: open_store(path / side) for side in SIDES}
    return {side: _side(open_store(source), side) for side in SIDES}


def _side(store: ImageStore, side: str) -> StoreView:
    """The images of one folder of a store."""
    folders = {name: name.split("/")[:-1] for name in store.names}
    shared = len(os.path.commonprefix(list(folders.values())))
    tops = {name: "/".join(parts[: shared + 1]) for name, parts in folders.items()}
    _check_folders(store.path, tops.values())
    names = {
        name.removeprefix(f"{top}/"): name for name, top in tops.items() if top.split("/")[-1].lower() == side
    }  # fmt: skip
    if store.index.origin == BY_FOLDER:
        index = DatasetIndex.of_folders(names)
    else:
        index = store.index.renamed({old: new for new, old in names.items()})
        index = replace(index, origin=store.index.origin, notes=store.index.notes if index.labels else ())
    return StoreView(store, names, index, side, store.passed if side == SIDES[0] else ())


def _check_folders(path: Path, folders: Iterable[str]) -> None:
    """Raises ValueError where the images lie in others than two folders called a and b."""
    found = sorted(set(folders))
    if [each.split("/")[-1].lower() for each in found] == list(SIDES):
        return
    there = [each for each in found if each]
    what = f"folder{'s' * (len(there) > 1)} {show_paths(there)}" if there else "no folders"
    raise ValueError(
        f"{path}: pairs lie in two folders, a and b, in which partners have equal names; it has {what}"
        f"{' and images beside them' if there and '' in found else ''}. Rename or move them; fastgan dataset --pair or "
        "--pair-with makes pairs of sets"
    )


def _partners(path: Path, a: Sequence[str], b: Sequence[str]) -> dict[str, str]:
    """Name in a -> name in b."""
    if a == b:
        return {name: name for name in a}
    of_a, of_b = _by_stem(path, "a", a), _by_stem(path, "b", b)
    lonely = [
        f"{len(missing)} of the {len(keys)} images of {side} {'has' if len(missing) == 1 else 'have'} no partner: "
        f"{show_paths(missing)}"
        for side, keys, others in (("a", of_a, of_b), ("b", of_b, of_a))
        if (missing := [name for key, name in keys.items() if key not in others])
    ]
    if lonely:
        raise ValueError(f"{path}: {'; '.join(lonely)}. Partners have equal names; remove these or add their partners")
    return {name: of_b[key] for key, name in of_a.items()}


def _by_stem(path: Path, side: str, names: Collection[str]) -> dict[str, str]:
    """Path without the file's ending -> name."""
    found: dict[str, str] = {}
    for name in names:
        other = found.setdefault(without_ending(name), name)
        if other != name:
            raise ValueError(
                f"{path}/{side}: {other} and {name} differ in their ending alone, so that either could be the partner "
                "of an image of another ending; rename one, or give partners equal endings"
            )
    return found


def _common_index(sides: Mapping[str, ImageStore], names: Mapping[str, str]) -> DatasetIndex:
    """Labels of the pairs by their names in a: those of a, else of b."""
    index = sides["b"].index
    if sides["a"].index.labels or not index.labels:
        return sides["a"].index
    renamed = index.renamed({name_b: name_a for name_a, name_b in names.items()})
    return replace(renamed, origin=index.origin, notes=index.notes)
