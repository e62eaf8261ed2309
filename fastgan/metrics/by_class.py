"""The real images of one class."""

from __future__ import annotations

from torch import Tensor

from fastgan.data import Dataset


class OfClass:
    """The images of one class of a labelled set, as metrics need them.

    Args:
        dataset: with classes.
        number: of the class.

    Raises:
        ValueError: the set has no classes.
    """

    def __init__(self, dataset: Dataset, number: int) -> None:
        if not dataset.num_classes or dataset.labels is None:
            raise ValueError(f"{dataset.name} must have classes")
        self.dataset, self.indices = dataset, (dataset.labels == number).nonzero()[:, 0]

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, indices: Tensor) -> Tensor:
        """uint8 [N, H, W, C]."""
        return self.dataset.read(self.indices[indices])
