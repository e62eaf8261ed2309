"""Geometry of filtered_lrelu: sizes between its two FIRs, the adjoint, and where the mask has each element.

What lies between the FIRs is called the middle, an image [N, C, Hm, Wm].
"""

from __future__ import annotations

import math
from typing import NamedTuple

from fastgan.ops.fir import Factors, Padding, Size, adjoint_padding, output_size

_GROUP = 16  # elements of a word of the mask


class Geometry(NamedTuple):
    """Two FIRs, one after the other.

    Attributes:
        up: zero-insertion factor before the first FIR, of both axes.
        down: decimation factor after the second.
        padding: (x0, x1, y0, y1) before the first, at the up-sampled rate.
        inner: the same before the second; 0 in a forward pass.
    """

    up: int
    down: int
    padding: Padding
    inner: Padding = (0, 0, 0, 0)

    @property
    def ups(self) -> Factors:
        return (self.up, self.up)

    @property
    def downs(self) -> Factors:
        return (self.down, self.down)

    def middle(self, size: Size, up_taps: Size) -> Size:
        """(Hm, Wm) of an image of (H, W)."""
        return output_size(size, up_taps, self.ups, (1, 1), self.padding)

    def output(self, middle: Size, down_taps: Size) -> Size:
        """(H', W') of a middle of (Hm, Wm)."""
        return output_size(middle, down_taps, (1, 1), self.downs, self.inner)

    def adjoint(self, size: Size, middle: Size, output: Size, up_taps: Size, down_taps: Size) -> Geometry:
        """From the gradient of a result to that of an input of `size`, through the same middle."""
        return Geometry(
            self.down,
            self.up,
            adjoint_padding(middle, output, down_taps, (1, 1), self.downs, self.inner),
            adjoint_padding(size, middle, up_taps, self.ups, (1, 1), self.padding),
        )


def columns_of_class(width: int, up: int, down: int) -> tuple[int, int]:
    """How a row of the middle is stored: (classes S, elements of each).

    Column m is element m div S of class m mod S: within a class each FIR is a sum of consecutive elements, whatever its
    factor. The mask has two bits an element, rows of whole 32-bit words.
    """
    classes = math.lcm(up, down)
    group = classes * _GROUP
    return classes, (width + group - 1) // group * _GROUP


def mask_shape(n: int, c: int, middle: Size, up: int, down: int) -> tuple[int, int, int, int]:
    """[N, C, Hm, bytes of a row]."""
    classes, columns = columns_of_class(middle[1], up, down)
    return n, c, middle[0], classes * columns // 4
