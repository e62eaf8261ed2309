"""Sets of images read from their store as they are asked for, in bounded memory."""

from __future__ import annotations

import copy
import os
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from fastgan.data.dataset import Dataset
from fastgan.data.decoding import Decoder
from fastgan.data.image import BrokenImageError
from fastgan.data.stores import UNREAD

# Bytes of decoded images that wait to be asked for.
_LOOKAHEAD = 128 << 20


class StreamedDataset(Dataset):
    """Images decoded by threads as they are asked for; files stay compressed where they are.

    With `skip_broken`, the next image that can be read stands in for one that cannot, or that is not the one it was
    when it was first read: one of the same class, or where labels are vectors, any one with its own.

    Args:
        decoder: of the store, which stays open.
        names: the images, paths in the store.
        size: (H, W) of the first of them that can be read.
        labels: int64 [M] or float32 [M, L]; None for an unlabelled set.
        class_names: one name a class; () without classes.
        name: what reports and checkpoints call the set.
        skip_broken: pass over images that cannot be read, instead of raising.
        notes: sentences on what was found in the set.
    """

    def __init__(
        self,
        decoder: Decoder,
        names: tuple[str, ...],
        size: tuple[int, int],
        labels: torch.Tensor | None = None,
        class_names: tuple[str, ...] = (),
        name: str = "images",
        skip_broken: bool = False,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.notes = notes
        self.labels, self.class_names, self.name = labels, class_names, name
        self._decoder, self._names, self._size, self._skip_broken = decoder, names, size, skip_broken
        self._broken: dict[str, str] = {}
        self._standing_in: dict[int, int] = {}
        # Each future: the pixels, which image they are of, and the checksum of its file.
        self._coming: dict[int, Future[tuple[np.ndarray, int, int]]] = {}
        self.checksums: torch.Tensor = torch.tensor([decoder.store.checksum(name) for name in names])
        self._pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="decode")
        self.lookahead = max(1, _LOOKAHEAD // (size[0] * size[1] * decoder.channels))
        self.check_labels()

    def __len__(self) -> int:
        return len(self._names)

    @property
    def resolution(self) -> tuple[int, int]:
        return self._size

    @property
    def channels(self) -> int:
        return self._decoder.channels

    @property
    def broken(self) -> list[str]:  # type: ignore[override]
        return [self._broken[name] for name in sorted(self._broken)]

    def read(self, indices: torch.Tensor) -> torch.Tensor:
        wanted = indices.tolist()
        futures = [self._coming.pop(i, None) or self._pool.submit(self._pixels, i) for i in wanted]
        out = np.empty((len(wanted), *self._size, self.channels), np.uint8)
        for place, asked, future in zip(out, wanted, futures, strict=True):
            place[...], index, checksum = future.result()
            self.checksums[index] = checksum  # noted here: what threads have read ahead has not been asked for yet
            if index != asked:
                self._standing_in[asked] = index
            else:  # it could not be read before, perhaps
                self._standing_in.pop(asked, None)
        return torch.from_numpy(out)

    def expect(self, indices: torch.Tensor) -> None:
        wanted = dict.fromkeys(indices.tolist())
        for index in [each for each in self._coming if each not in wanted]:
            self._coming.pop(index).cancel()
        for index in wanted:
            if index not in self._coming:
                self._coming[index] = self._pool.submit(self._pixels, index)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._decoder.store.close()

    def unlabelled(self) -> StreamedDataset:
        other = copy.copy(self)
        other.labels, other.class_names, other._coming, other._standing_in = None, (), {}, {}
        return other

    def shown(self, indices: torch.Tensor) -> torch.Tensor:
        if not self._standing_in:
            return indices
        return torch.tensor([self._standing_in.get(i, i) for i in indices.tolist()], dtype=torch.int64)

    def _pixels(self, index: int) -> tuple[np.ndarray, int, int]:
        classes = self.labels if self.num_classes else None
        for ahead in range(len(self)):
            other = (index + ahead) % len(self)
            if classes is not None and classes[other] != classes[index]:
                continue  # what stands in is of the same class
            name = self._names[other]
            try:
                return self._decoder.fitting(name, self._size), other, self._unchanged(other, name)
            except BrokenImageError as error:
                if not self._skip_broken:
                    raise
                self._broken.setdefault(name, str(error))
        kind = "images" if classes is None else f"images of class {self.class_names[int(classes[index])]!r}"
        raise BrokenImageError(f"{self._decoder.store.path}: none of its {kind} can be read")

    def _unchanged(self, index: int, name: str) -> int:
        """The checksum of an image that has just been decoded, which must be the one that is known."""
        now, known = self._decoder.store.checksum(name), int(self.checksums[index])
        if known not in (UNREAD, now):
            raise BrokenImageError(
                f"{self._decoder.store.where(name)}: is not the image that the run first read there; put it back, or "
                "train on the images as they are now by --branch"
            )
        return now
