"""What is kept of features that pass by: all rows, or their mean and covariance."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

_ROWS = 512  # that a covariance takes in at once: small parts would spend their time on adding matrices


class Rows:
    """All features, float32 [M, dim]."""

    def __init__(self, images: int, extractor: Any = None) -> None:
        self.images = images
        self._parts: list[Tensor] = []

    def take(self, features: Tensor) -> None:
        """Keep the next rows, [n, dim]."""
        self._parts.append(features.float())

    def result(self) -> Tensor:
        """[M, dim].

        Raises:
            ValueError: another number came than was to come.
        """
        rows = torch.cat(self._parts) if self._parts else torch.empty(0, 0)
        _all_came(len(rows), self.images)
        return rows


class Moments(NamedTuple):
    """Mean and covariance, float64.

    Attributes:
        mean: [dim].
        covariance: [dim, dim]; sums are divided by count - 1.
        count: rows they are of.
    """

    mean: Tensor
    covariance: Tensor
    count: int


class Streamed:
    """Mean and covariance of rows that come in parts, in any order and from any number of processes.

    Each part is centred at its own mean, and two parts are joined by their exact identity: nothing is lost where the
    mean is large beside the deviation. Source: Chan, Golub & LeVeque 1983, eq. 2.1.
    """

    def __init__(self, images: int, extractor: Any = None) -> None:
        self.images, self.count = images, 0
        self._mean = self._squares = torch.zeros(0, dtype=torch.float64)
        self._waiting: list[Tensor] = []

    def take(self, features: Tensor) -> None:
        """The next rows, [n, dim]."""
        self._waiting.append(features)
        if sum(map(len, self._waiting)) >= _ROWS:
            self._take_waiting()

    def _take_waiting(self) -> None:
        if any(map(len, self._waiting)):
            x = torch.cat(self._waiting).double()
            mean = x.mean(dim=0)
            x -= mean
            self._join(len(x), mean, x.t() @ x)
        self._waiting = []

    def join(self, other: Streamed) -> None:
        """The rows that another has seen; `images` become those of both."""
        self._take_waiting()
        other._take_waiting()
        self.images += other.images
        if other.count:
            self._join(other.count, other._mean, other._squares)

    def _join(self, count: int, mean: Tensor, squares: Tensor) -> None:
        if not self.count:
            self.count, self._mean, self._squares = count, mean, squares
            return
        total, delta = self.count + count, mean - self._mean
        self._mean = self._mean + delta * (count / total)
        self._squares = self._squares + squares + torch.outer(delta, delta) * (self.count * count / total)
        self.count = total

    def result(self) -> Moments:
        """The moments of all rows.

        Raises:
            ValueError: another number came than was to come, or fewer than two.
        """
        self._take_waiting()
        _all_came(self.count, self.images)
        if self.count < 2:
            raise ValueError(f"a covariance takes at least 2 images, got {self.count}")
        return Moments(self._mean, self._squares / (self.count - 1), self.count)


def weighted_moments(rows: Tensor, weights: Tensor) -> Moments:
    """Moments of rows [M, dim], each counted so many times as weights [M] say."""
    x, w = rows.double(), weights.double()
    count = w.sum()
    mean = w @ x / count
    x = (x - mean) * w.sqrt()[:, None]
    return Moments(mean, x.t() @ x / (count - 1), int(count))


def _all_came(came: int, images: int) -> None:
    if came != images:
        raise ValueError(f"{images} images must be taken in, got {came}")
