"""Images of images, from a checkpoint of a model that translates."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fastgan.data.image import flat_image
from fastgan.generate.loading import device_named, load_translator, newest_checkpoint
from fastgan.generate.quantise import to_uint8
from fastgan.nn import evaluation_view

T = TypeVar("T", Tensor, Image.Image)


class Translator:
    """translation = to_uint8(G(image)), of images of any size.

    Images whose sides are no multiples of what G takes are continued by their mirror image on all sides, and their
    translations cut to size again. G is used with its weights of now, in evaluation mode, without dropout; its modes,
    buffers and torch's global random numbers stay as they are, also while another thread trains it.

    Args:
        G: a `fastgan.models.FromImage`, in any mode.
        model: the name of its family, for errors.

    Example:
        >>> translator = Translator.from_checkpoint("runs/edges")  # doctest: +SKIP
        >>> translator.translate(Image.open("drawing.png")).save("picture.png")  # doctest: +SKIP
    """

    def __init__(self, G: torch.nn.Module, model: str = "G") -> None:
        self.G: Any = G
        self.model = model

    @classmethod
    def from_checkpoint(
        cls, path: str | Path, direction: str | None = None, device: str | torch.device = "cpu"
    ) -> Translator:
        """The averaged generator of a checkpoint, in float32.

        Args:
            path: a checkpoint of `fastgan train`, or the folder of a run: then its newest.
            direction: "ab" or "ba", from which set into which; None: "ab", the only one of a model that learns one.
            device: where to put the generator.

        Returns:
            a translator.

        Raises:
            FileNotFoundError: there is no such file.
            CheckpointError: it is no checkpoint, or not of a model that translates images; the message names it.
            ValueError: there is no such direction or device.
        """
        place = device_named(device)
        path = newest_checkpoint(Path(path))
        G, model = load_translator(path, direction)
        return cls(G.to(place), model)

    @torch.no_grad()
    def translate(self, image: T) -> T:
        """The translation of an image, of its kind and size.

        Args:
            image: uint8 [C, H, W] or [N, C, H, W], C as G takes it, on any device; or an image of Pillow, which is
                turned as its EXIF data say, seen over white where it is transparent, and converted to G's channels.

        Returns:
            uint8, on the CPU, with G's output channels; or an image of Pillow, RGB or L.

        Raises:
            TypeError, ValueError: something else.
        """
        if isinstance(image, Image.Image):
            if 0 in image.size:
                raise ValueError(f"image must have at least one pixel, got {image.width}x{image.height}")
            pixels = np.asarray(flat_image(image, self.G.in_channels))
            tensor = torch.tensor(pixels, device="cpu")
            made = self.translate(tensor.reshape(*pixels.shape[:2], -1).permute(2, 0, 1))
            made = made.permute(1, 2, 0).contiguous().numpy()
            return Image.fromarray(made[..., 0] if made.shape[2] == 1 else made)
        images = self._checked(image)
        G = evaluation_view(self.G)
        height, width = images.shape[2:]
        top, rows = _continued(height, G.multiple, G.smallest)
        left, columns = _continued(width, G.multiple, G.smallest)
        like = next(G.parameters(), images.new_zeros([], dtype=torch.float32))
        x = images.to(like.device, torch.float32)[:, :, rows][:, :, :, columns] / 127.5 - 1
        with torch.autocast(like.device.type, enabled=False):
            y = to_uint8(G(x.to(like.dtype))[:, :, top : top + height, left : left + width]).cpu()
        return y if image.ndim == 4 else y[0]

    def _checked(self, image: Any) -> Tensor:
        """[N, C, H, W]"""
        if not isinstance(image, Tensor) or image.dtype != torch.uint8:
            got = image.dtype if isinstance(image, Tensor) else type(image).__name__
            raise TypeError(f"image must be a uint8 tensor or an image of Pillow, got {got}")
        images = image[None] if image.ndim == 3 else image
        channels = self.G.in_channels
        if images.ndim != 4 or images.shape[1] != channels or 0 in images.shape[2:]:
            raise ValueError(
                f"image must be [C, H, W] or [N, C, H, W] with C={channels} and at least one pixel, "
                f"got {list(image.shape)}"
            )
        return images


def _continued(side: int, multiple: int, smallest: int) -> tuple[int, Tensor]:
    """Where the image begins on the continued side, and which of its pixels each of that shows."""
    target = -(-max(side, smallest) // multiple) * multiple
    start, period = (target - side) // 2, max(2 * (side - 1), 1)
    folded = (torch.arange(target, device="cpu") - start) % period
    return start, torch.minimum(folded, period - folded) if side > 1 else torch.zeros_like(folded)
