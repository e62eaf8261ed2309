"""The FIR filter of modules that resample."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from fastgan.ops import setup_filter

BINOMIAL_TAPS = (1, 3, 3, 1)


class Resampling(nn.Module):
    """A module whose buffer f is the binomial filter, where it resamples.

    No checkpoint holds f. It is made anew wherever weights are loaded, for a module that was built without memory (on
    the meta device, then `to_empty` or `load_state_dict(assign=True)`) has none, or what memory happened to hold.
    """

    f: Tensor | None

    def make_filter(self, wanted: bool = True) -> None:
        """f, or None where nothing is resampled."""
        self.register_buffer("f", setup_filter(BINOMIAL_TAPS, separable=True) if wanted else None, persistent=False)

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        if self.f is not None:
            taps = setup_filter(BINOMIAL_TAPS, next(self.parameters()).device, separable=True).to(self.f.dtype)
            self.f = taps if self.f.device != taps.device else self.f.copy_(taps)
