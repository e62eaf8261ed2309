"""Running means of what a training step reports, read once a tick."""

from __future__ import annotations

import torch
from torch import Tensor


class Statistics:
    """Sums of reported tensors since the last `means()`, kept on their device: reporting never synchronises."""

    def __init__(self):
        self._sums: dict[str, Tensor] = {}  # name -> float64 [count, sum]

    def report(self, name: str, values: Tensor) -> None:
        """Add every element of `values` to the running mean of `name`."""
        values = values.detach()
        total = torch.stack([torch.full_like(values.sum(), values.numel()), values.sum()]).double()
        self._sums[name] = self._sums[name] + total if name in self._sums else total

    def means(self) -> dict[str, float]:
        """Mean of everything reported since the last call, by name; starts over."""
        result = {name: (total[1] / total[0]).item() for name, total in self._sums.items()}
        self._sums = {}
        return result

    def state_dict(self) -> dict[str, Tensor]:
        return {name: total.cpu() for name, total in self._sums.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._sums = dict(state)
