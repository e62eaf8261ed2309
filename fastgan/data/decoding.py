"""Images of a store as pixels of one shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from fastgan.choices import TRANSFORMS, chosen
from fastgan.data.image import WHITE, BrokenImageError
from fastgan.data.stores import ImageStore


@dataclass(frozen=True)
class Decoder:
    """Images of a store as pixels of one shape.

    Args:
        store: where they lie.
        resolution: (H, W) to bring each to; None: each must be as large as the first asked for.
        channels: 3 for RGB, 1 for grey.
        background: RGB, 0 to 255, seen through transparent pixels.
        transform: how to crop, a name of `choices.TRANSFORMS`.
    """

    store: ImageStore
    resolution: tuple[int, int] | None
    channels: int
    background: tuple[int, int, int] = WHITE
    transform: str = "center-crop"

    @property
    def size(self) -> tuple[int, int] | None:
        """(H, W) that the transform brings every image to; None where images keep their own size.

        Raises:
            ValueError: a resolution that the transform cannot bring images to.
        """
        return None if self.resolution is None else transformed_size(self.transform, self.resolution)

    def pixels(self, name: str) -> np.ndarray:
        """uint8 [H, W, C] of one image.

        Raises:
            BrokenImageError: it cannot be read.
        """
        image = self.store.decode(name, channels=self.channels, background=self.background)
        if self.resolution is not None:
            image = chosen(TRANSFORMS, self.transform)(image, self.resolution)
        return np.asarray(image).reshape(image.height, image.width, self.channels)

    def fitting(self, name: str, size: tuple[int, int]) -> np.ndarray:
        """`pixels`, which must have the `size` (H, W).

        Raises:
            BrokenImageError: it cannot be read, or has another size.
        """
        pixels = self.pixels(name)
        if pixels.shape[:2] != size:
            got, expected = (f"{width}x{height}" for height, width in (pixels.shape[:2], size))
            raise BrokenImageError(
                f"{self.store.where(name)}: is {got} (WxH), but the images before it are {expected}; give a resolution "
                "to crop and resize all images to it"
            )
        return pixels


def transformed_size(transform: str, resolution: tuple[int, int]) -> tuple[int, int]:
    """(H, W) of what a transform, a name of `choices.TRANSFORMS`, makes for a resolution (H, W): seen on one pixel.

    Raises:
        ValueError: a resolution that it does not take.
    """
    made = chosen(TRANSFORMS, transform)(Image.new("L", (1, 1)), resolution)
    return made.height, made.width
