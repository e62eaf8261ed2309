"""Running means of what a training step reports, read once a tick; what is not finite is counted apart."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class Statistics:
    """Sums of reported tensors since the last `means()`, in buffers on their device: reporting never synchronises."""

    def __init__(self):
        self._sums: dict[str, Tensor] = {}  # name -> float64 [count, sum, others], written in place

    def report(self, name: str, values: Tensor) -> None:
        """Add every finite element of `values` to the running mean of `name`, and count the others."""
        values = values.detach()
        finite = values.isfinite()
        total, count = torch.where(finite, values, 0).sum(), finite.sum()
        if name not in self._sums:
            self._sums[name] = torch.zeros(3, dtype=torch.float64, device=values.device)
        elif self._sums[name].device != values.device:  # restored before anything was reported
            self._sums[name] = self._sums[name].to(values.device)
        self._sums[name] += torch.stack([count, total, values.numel() - count])

    def means(self, total: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None) -> dict[str, float]:
        """Mean of everything finite that was reported since the last call, by name, NaN where nothing was, and as
        "nonfinite/<name>" how many values were not; starts over.

        Args:
            total: makes the sums of all ranks of those of this one.
        """
        reported = self._reported() if total is None else total(self.state_dict())
        result = {name: (sums[1] / sums[0]).item() for name, sums in reported.items()}
        others = {f"nonfinite/{name}": sums[2].item() for name, sums in reported.items()}
        for sums in self._sums.values():
            sums.zero_()
        return result | {name: count for name, count in others.items() if count}

    def _reported(self) -> dict[str, Tensor]:
        return {name: sums for name, sums in self._sums.items() if sums[0] + sums[2] > 0}

    def state_dict(self) -> dict[str, Tensor]:
        """name -> [count, sum, others], a copy on the CPU, of what has been reported."""
        return {name: sums.detach().to("cpu", copy=True) for name, sums in self._reported().items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from `state_dict`, also of a fastgan that did not count what is not finite."""
        state = {name: torch.cat([sums, sums.new_zeros(3 - len(sums))]) for name, sums in state.items()}
        for name, sums in self._sums.items():
            if name not in state:
                sums.zero_()
        for name, sums in state.items():
            if name in self._sums:
                self._sums[name].copy_(sums)
            else:
                self._sums[name] = sums
