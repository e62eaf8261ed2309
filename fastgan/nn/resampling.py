"""What modules keep beside their parameters: constants such as the FIR filters of those that resample."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fastgan.ops import setup_filter

BINOMIAL_TAPS = (1, 3, 3, 1)


class Constants(nn.Module):
    """A module with constants among its buffers that its configuration decides, or None where it needs none.

    No checkpoint holds them. A module that was built without memory (on the meta device) gets them where it gets
    memory, by `to_empty` or `load_state_dict(assign=True)`; `to_empty` takes nobody a constant. In half precision they
    stay in float32.
    """

    def __init__(self) -> None:
        super().__init__()
        self._designs: dict[str, Callable[..., Tensor] | None] = {}

    def keep(self, name: str, design: Callable[..., Tensor] | None) -> None:
        """Keep a constant as a buffer.

        Args:
            name: of the buffer.
            design: device, or None for torch's default one, -> float32 tensor; can be pickled. None: None is kept.
        """
        self._designs[name] = design
        self.register_buffer(name, None if design is None else design(device=None), persistent=False)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        before = {name: self._buffers[name] for name in self._designs}
        super()._apply(fn, recurse)
        for name, constant in before.items():
            design, now = self._designs[name], self._buffers[name]
            if design is None or constant is None or now is None or now is constant or now.is_meta:
                continue
            kept = design(device=now.device) if constant.is_meta else constant
            self._buffers[name] = _like(now, kept, torch.promote_types(now.dtype, torch.float32))
        return self

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        device = next(self.parameters()).device
        for name, design in self._designs.items():
            constant = self._buffers[name]
            if design is not None and constant is not None and constant.is_meta and device.type != "meta":
                self._buffers[name] = _like(constant, design(device=device), constant.dtype)


def _like(laid_out: Tensor, values: Tensor, dtype: torch.dtype) -> Tensor:
    """Values in the memory format of another tensor; on its device, unless that is the meta device."""
    device = values.device if laid_out.is_meta else laid_out.device
    return torch.empty_like(laid_out, dtype=dtype, device=device).copy_(values)


class Resampling(Constants):
    """A module whose buffer f is the binomial filter, where it resamples."""

    f: Tensor | None

    def make_filter(self, wanted: bool = True) -> None:
        """f, or None where nothing is resampled."""
        self.keep("f", partial(setup_filter, BINOMIAL_TAPS, separable=True) if wanted else None)
