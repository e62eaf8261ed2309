"""Running means of what a training step reports, read once a tick."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class Statistics:
    """Sums of reported tensors since the last `means()`, in buffers on their device: reporting never synchronises."""

    def __init__(self):
        self._sums: dict[str, Tensor] = {}  # name -> float64 [count, sum], written in place

    def report(self, name: str, values: Tensor) -> None:
        """Add every element of `values` to the running mean of `name`."""
        values = values.detach()
        total = values.sum()
        if name not in self._sums:
            self._sums[name] = torch.zeros(2, dtype=torch.float64, device=values.device)
        elif self._sums[name].device != values.device:  # restored before anything was reported
            self._sums[name] = self._sums[name].to(values.device)
        self._sums[name] += torch.stack([torch.full_like(total, values.numel()), total])

    def means(self, total: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None) -> dict[str, float]:
        """Mean of everything reported since the last call, by name; starts over.

        Args:
            total: makes the sums of all ranks of those of this one.
        """
        reported = self._reported() if total is None else total(self.state_dict())
        result = {name: (sums[1] / sums[0]).item() for name, sums in reported.items()}
        for sums in self._sums.values():
            sums.zero_()
        return result

    def _reported(self) -> dict[str, Tensor]:
        return {name: sums for name, sums in self._sums.items() if sums[0] > 0}

    def state_dict(self) -> dict[str, Tensor]:
        """name -> [count, sum], a copy on the CPU, of what has been reported."""
        return {name: sums.detach().to("cpu", copy=True) for name, sums in self._reported().items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from `state_dict`."""
        for name, sums in self._sums.items():
            if name not in state:
                sums.zero_()
        for name, sums in state.items():
            if name in self._sums:
                self._sums[name].copy_(sums)
            else:
                self._sums[name] = sums.clone()
