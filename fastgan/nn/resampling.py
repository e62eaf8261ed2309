"""The FIR filters of modules that resample."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fastgan.ops import setup_filter

BINOMIAL_TAPS = (1, 3, 3, 1)


class Filtering(nn.Module):
    """A module with filters among its buffers, or None where it filters nothing.

    No checkpoint holds them. A module that was built without memory (on the meta device) gets them where it gets
    memory, by `to_empty` or `load_state_dict(assign=True)`; `to_empty` takes nobody a filter. In half precision they
    stay in float32.
    """

    def __init__(self) -> None:
        super().__init__()
        self._designs: dict[str, Callable[..., Tensor] | None] = {}

    def keep_filter(self, name: str, design: Callable[..., Tensor] | None) -> None:
        """Keep a filter as a buffer.

        Args:
            name: of the buffer.
            design: device, or None for torch's default one, -> float32 filter; can be pickled. None: no filter.
        """
        self._designs[name] = design
        self.register_buffer(name, None if design is None else design(device=None), persistent=False)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        before = {name: self._buffers[name] for name in self._designs}
        super()._apply(fn, recurse)
        for name, f in before.items():
            design, now = self._designs[name], self._buffers[name]
            if design is not None and f is not None and now is not None and not now.is_meta:
                kept = design(device=now.device) if f.is_meta else f
                self._buffers[name] = kept.to(now.device, torch.promote_types(now.dtype, torch.float32))
        return self

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        device = next(self.parameters()).device
        for name, design in self._designs.items():
            f = self._buffers[name]
            if design is not None and f is not None and f.is_meta and device.type != "meta":
                self._buffers[name] = design(device=device).to(f.dtype)


class Resampling(Filtering):
    """A module whose buffer f is the binomial filter, where it resamples."""

    f: Tensor | None

    def make_filter(self, wanted: bool = True) -> None:
        """f, or None where nothing is resampled."""
        self.keep_filter("f", partial(setup_filter, BINOMIAL_TAPS, separable=True) if wanted else None)
