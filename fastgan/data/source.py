"""Endless batches from a data set, in an order that a few integers describe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

from fastgan.data.dataset import Dataset

# Batches that a streamed set prepares while the present one is trained on.
_BATCHES_AHEAD = 4


class Batch(NamedTuple):
    """Images and labels of one step.

    Args:
        images: float32 [N, C, H, W] in [-1, 1].
        labels: float32 [N, label_dim], one-hot classes or label vectors; [N, 0] for an unlabelled set.
    """

    images: torch.Tensor
    labels: torch.Tensor


class BatchSource:
    """Shuffled epochs without end; each image once an epoch, batches running on across the seam.

    The order and the mirrored images of an epoch follow from (seed, epoch) alone.

    Args:
        dataset: what to draw from.
        batch_size: N, may exceed the set.
        seed: non-negative.
        mirror: mirror each image left and right with probability 1/2.
        channels_last: memory order of the images.
        device: where batches go.
    Raises:
        ValueError: a batch size below 1 or a negative seed.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        *,
        seed: int,
        mirror: bool = False,
        channels_last: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.dataset = dataset
        self.batch_size = batch_size
        self.mirror = mirror
        self.channels_last = channels_last
        self.device = torch.device(device)
        self.load_state_dict({"seed": seed, "epoch": 0, "position": 0})

    def next(self) -> Batch:
        """The next `batch_size` images and their labels."""
        parts, missing = [], self.batch_size
        while missing:
            if self._position == len(self.dataset):
                self._begin(self._epoch + 1, 0)
            taken = slice(self._position, min(self._position + missing, len(self.dataset)))
            parts.append((self._order[taken], self._mirrored[taken]))
            missing -= taken.stop - taken.start
            self._position = taken.stop
        indices, mirrored = (torch.cat(each) for each in zip(*parts, strict=True))
        images = self.dataset.batch(indices, mirrored if self.mirror else None, self.channels_last)
        if self.dataset.lookahead:
            ahead = min(_BATCHES_AHEAD * self.batch_size, self.dataset.lookahead)
            self.dataset.expect(self._order[self._position : self._position + ahead])
        if self.device.type == "cuda" and images.device.type == "cpu":
            images = images.pin_memory()
        labels = self.dataset.conditions(self.dataset.shown(indices))
        return Batch(images.to(self.device, non_blocking=True), labels.to(self.device))

    def random_labels(self, n: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """Labels for generated images, drawn with the data set's own frequencies.

        Args:
            n: how many.
            generator: a CPU generator; None: torch's global one.
        Returns:
            float32 [n, label_dim]; [n, 0], nothing drawn, for an unlabelled set.
        """
        if self.dataset.labels is None:
            return torch.zeros(n, 0, device=self.device)
        return self.dataset.conditions(torch.randint(len(self.dataset), (n,), generator=generator)).to(self.device)

    def state_dict(self) -> dict[str, int]:
        """Where the source stands: `seed`, `epoch`, and `position`, the images already taken of this epoch."""
        return {"seed": self._seed, "epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on exactly where `state_dict` was taken; the batch size may differ.

        Raises:
            ValueError: not such a state, or one of a larger data set.
        """
        wanted = ("seed", "epoch", "position")
        if set(state) != set(wanted) or min(int(state[key]) for key in wanted) < 0:
            raise ValueError(f"state must hold seed, epoch and position, each at least 0, got {dict(state)}")
        if state["position"] > len(self.dataset):
            raise ValueError(
                f"position must lie in 0..{len(self.dataset)}, the images of the set, got {state['position']}: "
                "the state belongs to another data set"
            )
        self._seed = int(state["seed"])
        self._begin(int(state["epoch"]), int(state["position"]))

    def _begin(self, epoch: int, position: int) -> None:
        self._epoch, self._position = epoch, position
        random = np.random.default_rng([self._seed, epoch])
        self._order = torch.from_numpy(random.permutation(len(self.dataset)).astype(np.int64))
        self._mirrored = torch.from_numpy(random.integers(0, 2, len(self.dataset), np.uint8).astype(bool))
