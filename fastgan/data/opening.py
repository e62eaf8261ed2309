"""Opening a set of images by name or path, whatever its format."""

from __future__ import annotations

import re
from pathlib import Path

from fastgan.data.arrays import is_cifar, open_cifar, open_idx
from fastgan.data.shards import ShardStore
from fastgan.data.stores import FolderStore, ImageStore, ZipStore, has_images

ASSETS = Path(__file__).parent / "assets"
PACKAGED = {"emoji64": ASSETS / "emoji64.zip"}


def open_store(source: str | Path) -> ImageStore:
    """Open a set of images: a packaged set's name (`emoji64`), or the path of one in any format read here.

    Raises:
        ValueError: nothing there, of no known format, or no images in it.
    """
    path = Path(PACKAGED.get(str(source), source))
    if not path.exists():
        names = ", ".join(PACKAGED)
        raise ValueError(f"{path}: no such file or folder; give a path that exists, or a packaged set ({names})")
    if is_cifar(path):
        return open_cifar(path)
    if path.suffix == ".tar" and path.is_file():
        return ShardStore(path)
    if path.is_dir() and any(path.glob("*.tar")):
        if has_images(path):
            raise ValueError(f"{path}: holds both images and .tar files; name a .tar, or move them apart")
        return ShardStore(path)
    if path.is_dir():
        _refuse_pickles(path)
        return FolderStore(path)
    if re.search(r"idx\d", path.name):
        return open_idx(path)
    return ZipStore(path)


def _refuse_pickles(path: Path) -> None:
    names = ("data_batch_1", "batches.meta", "meta")
    found = next((name for name in names if (path / name).is_file()), None)
    if found is not None and not has_images(path):
        raise ValueError(
            f"{path / found}: CIFAR as Python pickles, which could run any code when read; "
            "download the binary version (cifar-10-binary.tar.gz or cifar-100-binary.tar.gz)"
        )
