"""The FIR filter of modules that resample."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fastgan.ops import setup_filter

BINOMIAL_TAPS = (1, 3, 3, 1)


class Resampling(nn.Module):
    """A module whose buffer f is the binomial filter, where it resamples.

    No checkpoint holds f. A module that was built without memory (on the meta device) gets it where it gets memory, by
    `to_empty` or `load_state_dict(assign=True)`; `to_empty` takes nobody the filter.
    """

    f: Tensor | None

    def make_filter(self, wanted: bool = True) -> None:
        """f, or None where nothing is resampled."""
        self.register_buffer("f", setup_filter(BINOMIAL_TAPS, separable=True) if wanted else None, persistent=False)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        before = self.f
        super()._apply(fn, recurse)
        if before is not None and self.f is not None and not self.f.is_meta:
            self.f = (_filter(self.f.device) if before.is_meta else before).to(self.f)
        return self

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        device = next(self.parameters()).device
        if self.f is not None and self.f.is_meta and device.type != "meta":
            self.f = _filter(device).to(self.f.dtype)


def _filter(device: torch.device) -> Tensor:
    return setup_filter(BINOMIAL_TAPS, device, separable=True)
