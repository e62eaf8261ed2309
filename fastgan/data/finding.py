"""Where the labels of a set of files lie: in a `dataset.json`, at the root or in a folder, or in the folders' names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from fastgan.data.index import DatasetIndex
from fastgan.data.labels import INDEX_NAME, show_paths
from fastgan.data.listing import is_hidden


def index_of_files(
    path: Path, names: Sequence[str], files: Iterable[str], read: Callable[[str], bytes]
) -> DatasetIndex | None:
    """What `dataset.json` says: the one at the root, else the only one; None where there is none.

    Args:
        path: names the set in errors.
        names: paths of all images.
        files: paths of all files.
        read: gives the bytes of a file.
    Raises:
        ValueError: several `dataset.json` and none at the root, or one of another shape; labels that match no image.
    """
    size = len(INDEX_NAME)
    places = sorted(
        each for each in files if each[-size:].lower() == INDEX_NAME and each[-size - 1 : -size] in ("", "/")
    )
    places = [place for place in places if not is_hidden(place)]
    if not places:
        return None
    place = next((each for each in places if each.lower() == INDEX_NAME), places[0])
    others = [each for each in places if each != place]
    if others and "/" in place:
        raise ValueError(
            f"{path}: holds {len(places)} files {INDEX_NAME} ({show_paths(places)}) and none at the root; name the "
            "folder of one of them as the source, or join them in one at the root"
        )
    index = DatasetIndex.from_json(read(place), f"{path}/{place}", names, place)
    if index.labels is None and DatasetIndex.of_folders(names).labels:
        note = f"{place} gives no labels, so folders are not taken for classes"
        index = dataclasses.replace(index, notes=(*index.notes, note))
    passed = (f"passed over {show_paths(others)}: the one at the root comes first",) if others else ()
    return dataclasses.replace(index, notes=index.notes + passed)
