"""Sizes of a convolution with resampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from fastgan.ops.exporting import sizes


class Geometry(NamedTuple):
    """R(w, x): ↓down(w ∗ f ∗ x), or w ∗ f ∗ ↑up(x).

    Attributes:
        up: up-sampling factor.
        down: down-sampling factor; one of the two is 1.
        padding: [x0, x1, y0, y1] at the up-sampled rate, that of the FIR included.
    """

    up: int
    down: int
    padding: tuple[int, int, int, int]

    @classmethod
    def of(cls, up: int, down: int, padding: tuple[int, int, int, int], f: Tensor | None) -> Geometry:
        """With the FIR's own padding added to that of the kernel."""
        px0, px1, py0, py1 = padding
        if f is not None and up > 1:
            fh, fw = sizes(f)[0], sizes(f)[-1]
            px0, px1 = px0 + (fw + up - 1) // 2, px1 + (fw - up) // 2
            py0, py1 = py0 + (fh + up - 1) // 2, py1 + (fh - up) // 2
        if f is not None and down > 1:
            fh, fw = sizes(f)[0], sizes(f)[-1]
            px0, px1 = px0 + (fw - down + 1) // 2, px1 + (fw - down) // 2
            py0, py1 = py0 + (fh - down + 1) // 2, py1 + (fh - down) // 2
        return cls(up, down, (px0, px1, py0, py1))

    def crop(self, kh: int, kw: int) -> tuple[int, int, int, int]:
        """Padding of the FIR after a transposed convolution.

        That one starts k - 1 samples before a valid one, and leaves out the last up - 1 inserted zeros.
        """
        px0, px1, py0, py1 = self.padding
        return px0 - (kw - 1), px1 - (kw - self.up), py0 - (kh - 1), py1 - (kh - self.up)

    def output_size(self, x: Sequence[int], w: Sequence[int], f: Sequence[int]) -> tuple[int, int]:
        """(H', W') of an image of (H, W) under a kernel of (kh, kw) and a FIR of (fh, fw), (1, 1) for none."""
        px0, px1, py0, py1 = self.padding
        fh, fw = f if self.up > 1 or self.down > 1 else (1, 1)
        height = (x[0] * self.up + py0 + py1 - fh - w[0] + 1) // self.down + 1
        width = (x[1] * self.up + px0 + px1 - fw - w[1] + 1) // self.down + 1
        return height, width
