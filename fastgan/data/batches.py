"""Endless batches of named fields from sets of images, in an order that a few integers describe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastgan.data.dataset import Dataset
from fastgan.data.image import BrokenImageError

# Batches that a streamed set prepares while the present one is trained on.
_BATCHES_AHEAD = 4
_STATE = ("seed", "epoch", "position")


class Batches:
    """Shuffled epochs without end; each image once an epoch, batches running on across the seam.

    A batch is a dict of fields. Of one set:

    - `image`: float32 [N, C, H, W] in [-1, 1];
    - `label`: float32 [N, label_dim], one-hot classes or label vectors; [N, 0] for an unlabelled set.

    Of aligned sets `{"a": ..., "b": ...}`, image i of one being the partner of image i of the others: their images as
    `a` and `b`, with order, mirroring and crop shared. Where a streamed set has another image stand in for one that
    cannot be read, the others show the partner of that.

    The order, the mirrored images and the crops of an epoch follow from (seed, epoch) alone.

    Args:
        dataset: what to draw from: a set, or aligned sets by field.
        batch_size: N, may exceed the set.
        seed: non-negative.
        mirror: mirror each image left and right with probability 1/2.
        crop: (h, w) in pixels of a window that is cut from each image at a random place; None: whole images.
        channels_last: memory order of the images.
        device: where batches go.
    Raises:
        ValueError: a batch size below 1, a negative seed, a crop that exceeds the images, sets that are not aligned.
    """

    def __init__(
        self,
        dataset: Dataset | Mapping[str, Dataset],
        batch_size: int,
        *,
        seed: int,
        mirror: bool = False,
        crop: tuple[int, int] | None = None,
        channels_last: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.datasets = {"image": dataset} if isinstance(dataset, Dataset) else dict(dataset)
        self.has_labels = isinstance(dataset, Dataset)
        _check_aligned(self.datasets)
        self._first = next(iter(self.datasets.values()))
        self.batch_size = batch_size
        self.mirror = mirror
        self.crop = None if crop is None else _checked_crop(crop, self.datasets)
        self.channels_last = channels_last
        self.device = torch.device(device)
        self.rank, self.world = 0, 1
        self.load_state_dict({"seed": seed, "epoch": 0, "position": 0})

    def next(self) -> dict[str, Tensor]:
        """The next `batch_size` images, and of one set their labels."""
        self._take(self.rank * self.batch_size)
        parts = self._take(self.batch_size)
        self._take((self.world - 1 - self.rank) * self.batch_size)
        images, shown = self._read(*(torch.cat(each) for each in zip(*parts, strict=True)))
        for dataset in self.datasets.values():
            if dataset.lookahead:
                dataset.expect(self._coming()[: dataset.lookahead])
        if self.has_labels:
            images["label"] = self._first.conditions(shown)
        return {name: self._delivered(each) for name, each in images.items()}

    def divide(self, rank: int, world: int) -> None:
        """From now on give the batches rank, rank + world, ...: `world` sources of the same seed share an epoch.

        The state counts the images that all of them have taken, and is the same in each.

        Raises:
            ValueError: rank is not one of 0 ... world - 1.
        """
        if not 0 <= rank < world:
            raise ValueError(f"rank must lie in 0..{world - 1}, got {rank}")
        self.rank, self.world = rank, world

    def random_labels(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Labels for generated images, drawn with the frequencies of the set (of aligned ones, the first).

        Args:
            n: how many.
            generator: a CPU generator; None: torch's global one.
        Returns:
            float32 [n, label_dim] on the batches' device; [n, 0], nothing drawn, for an unlabelled set.
        """
        if self._first.labels is None:
            return torch.zeros(n, 0, device=self.device)
        return self._delivered(self._first.conditions(torch.randint(len(self._first), (n,), generator=generator)))

    def state_dict(self) -> dict[str, int]:
        """Where the source stands: `seed`, `epoch`, and `position`, the images already taken of this epoch."""
        return {"seed": self._seed, "epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on exactly where `state_dict` was taken; the batch size may differ.

        Raises:
            ValueError: not such a state, or one of a larger data set.
        """
        if set(state) != set(_STATE) or min(int(state[key]) for key in _STATE) < 0:
            raise ValueError(f"state must hold seed, epoch and position, each at least 0, got {dict(state)}")
        if state["position"] > len(self._first):
            raise ValueError(
                f"position must lie in 0..{len(self._first)}, the images of the set, got {state['position']}: "
                "the state belongs to another data set"
            )
        self._seed = int(state["seed"])
        self._begin(int(state["epoch"]), int(state["position"]))

    def _begin(self, epoch: int, position: int) -> None:
        count = len(self._first)
        self._epoch, self._position = epoch, position
        random = np.random.default_rng([self._seed, epoch])
        self._order = torch.from_numpy(random.permutation(count).astype(np.int64))
        self._mirrored = torch.from_numpy(random.integers(0, 2, count, np.uint8).astype(bool))
        self._corners = torch.zeros(count, 2, dtype=torch.int64)  # (x0, y0); drawn last: without a crop nothing changes
        if self.crop is not None:
            height, width = self._first.resolution
            room = (width - self.crop[1] + 1, height - self.crop[0] + 1)
            self._corners = torch.from_numpy(random.integers(0, room, (count, 2)))

    def _take(self, missing: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        """The order, mirroring and corners of the next images, in pieces that do not run across an epoch's end."""
        parts = []
        while missing:
            if self._position == len(self._first):
                self._begin(self._epoch + 1, 0)
            taken = slice(self._position, min(self._position + missing, len(self._first)))
            parts.append((self._order[taken], self._mirrored[taken], self._corners[taken]))
            missing -= taken.stop - taken.start
            self._position = taken.stop
        return parts

    def _coming(self) -> Tensor:
        """Images of the next batches, as far as they are of this epoch."""
        n, step = self.batch_size, self.world * self.batch_size
        begin = self._position + self.rank * n
        return torch.cat([self._order[at : at + n] for at in range(begin, begin + _BATCHES_AHEAD * step, step)])

    def _read(self, indices: Tensor, mirrored: Tensor, corners: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The images of every field, and which they are, where others stand in for such as cannot be read."""
        shown, images, read_at = indices, dict[str, Tensor](), dict[str, Tensor]()
        for _ in range(len(self._first) + 1):
            for name, dataset in self.datasets.items():
                if name in read_at and torch.equal(read_at[name], shown):
                    continue
                images[name] = dataset.batch(
                    shown,
                    mirrored if self.mirror else None,
                    self.channels_last,
                    corners if self.crop is not None else None,
                    self.crop,
                )
                shown = read_at[name] = dataset.shown(shown)
            if all(each is shown or torch.equal(each, shown) for each in read_at.values()):
                return images, shown
        raise BrokenImageError(f"{self._first.name}: no image can be read together with its partners")

    def _delivered(self, tensor: Tensor) -> Tensor:
        """The tensor on the device; copied beside what the host goes on with."""
        if self.device.type == "cuda" and tensor.device.type == "cpu":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)


class UnalignedBatches:
    """Batches of sets that are independent of each other, side by side: `{"a": images, "b": images}`.

    Each set has its own order, mirroring, crops and epochs, also where several are the sides of one set of pairs.

    Args:
        datasets: sets by field; the first is drawn from as `Batches` does with this seed.
        batch_size, seed, options: as of `Batches`.
    Raises:
        ValueError: as `Batches`.

    Source: Zhu et al. 2017, unpaired image-to-image translation, section 3.
    """

    def __init__(self, datasets: Mapping[str, Dataset], batch_size: int, *, seed: int, **options: Any) -> None:
        if not datasets:
            raise ValueError("datasets must hold at least one set, got none")
        self.sources = {
            name: Batches({name: dataset}, batch_size, seed=_seed_of(seed, number), **options)
            for number, (name, dataset) in enumerate(datasets.items())
        }

    def next(self) -> dict[str, Tensor]:
        """The next `batch_size` images of each set."""
        return {name: images for source in self.sources.values() for name, images in source.next().items()}

    def state_dict(self) -> dict[str, dict[str, int]]:
        """Where each source stands, by field."""
        return {name: source.state_dict() for name, source in self.sources.items()}

    def divide(self, rank: int, world: int) -> None:
        """`Batches.divide` by `rank` and `world` of each set."""
        for source in self.sources.values():
            source.divide(rank, world)

    def load_state_dict(self, state: Mapping[str, Mapping[str, int]]) -> None:
        """Go on exactly where `state_dict` was taken.

        Raises:
            ValueError: not such a state, or one of other sets.
        """
        if set(state) != set(self.sources):
            raise ValueError(
                f"state must hold {', '.join(self.sources)}, got {', '.join(map(str, state)) or 'nothing'}"
            )
        for name, source in self.sources.items():
            source.load_state_dict(state[name])


def _seed_of(seed: int, number: int) -> int:
    """The seed of set `number`: sets of equal size must not be drawn in one order, which would align their images."""
    if seed < 0 or not number:
        return seed
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _check_aligned(datasets: Mapping[str, Dataset]) -> None:
    """Raises ValueError where sets cannot be drawn from together."""
    if not datasets or "label" in datasets:
        raise ValueError(f"dataset must be a set, or sets by field, none called label; got {list(datasets)}")
    counts = {name: len(dataset) for name, dataset in datasets.items()}
    if len(set(counts.values())) > 1:
        shown = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise ValueError(f"aligned sets must have the same number of images, but {shown}")


def _checked_crop(crop: tuple[int, int], datasets: Mapping[str, Dataset]) -> tuple[int, int]:
    """(h, w), which lies within the images of all sets, and these are of one size."""
    sizes = {dataset.resolution for dataset in datasets.values()}
    height, width = next(iter(sizes))
    if len(sizes) > 1:
        raise ValueError(f"crop needs sets of one resolution, got {sorted(sizes)} (H, W)")
    if len(crop) != 2 or not (1 <= crop[0] <= height and 1 <= crop[1] <= width):
        raise ValueError(f"crop must lie in (1, 1)..{(height, width)} (h, w), the images' size, got {crop}")
    return crop[0], crop[1]
