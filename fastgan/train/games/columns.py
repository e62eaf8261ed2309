"""What is shown and measured of translations: columns of images side by side, samples, differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from fastgan.config.options import PairedOptions, TranslationOptions
from fastgan.data import BrokenImageError, Dataset
from fastgan.generate.quantise import to_uint8
from fastgan.train.game import Pictures

# (a, b) -> images, both [N, C, H, W] in [-1, 1].
Column = Callable[[Tensor, Tensor], Tensor]

_SIDE = 800  # pixels of a grid, about
_COMPARED = 256  # pairs that a difference is the mean of, at most


class Translated:
    """Pairs that are shown: those held out, else the first images of the training sets.

    Args:
        sets: {"a", "b"} and {"held_a", "held_b"}, if some are held out.
        options: of the game.
        device: where networks are.
    """

    def __init__(self, sets: Mapping[str, Dataset], options: TranslationOptions, device: torch.device) -> None:
        self.held_out = "held_a" in sets
        self.aligned = self.held_out or isinstance(options, PairedOptions)
        self.a, self.b = (sets.get(f"held_{side}", sets[side]) for side in ("a", "b"))
        self.size, self.device = options.micro_batch, device
        self.channels_last = options.uses_channels_last(device.type)

    def _images(self, dataset: Dataset, indices: Tensor) -> Tensor:
        return dataset.batch(indices, None, self.channels_last).to(self.device)

    def _pair(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Both images of pairs; what stands in for one that cannot be read brings its partner."""
        for _ in range(len(self.a) + 1):
            a, at = self._images(self.a, indices), self.a.shown(indices) if self.aligned else indices
            b, indices = self._images(self.b, at), self.b.shown(at)
            if not self.aligned or torch.equal(at, indices):
                return a, b
        raise BrokenImageError(f"{self.a.name}: no image can be read together with its partner")

    def _pairs(self, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        for indices in torch.arange(min(count, len(self.a), len(self.b))).split(self.size):
            yield self._pair(indices)

    @torch.no_grad()
    def grid(self, columns: Mapping[str, Column]) -> Pictures:
        """The first pairs, a cell of one image a column for each, as many cells beside each other as fit."""
        height, width = self.b.resolution
        beside = max(1, _SIDE // (width * len(columns)))
        rows = max(1, _SIDE // height)
        cells = []
        for a, b in self._pairs(rows * beside):
            made = [to_uint8(column(a, b)).cpu() for column in columns.values()]
            channels = max(image.shape[1] for image in made)
            cells.append(torch.stack([image.expand(-1, channels, -1, -1) for image in made], dim=1))
        images = torch.cat(cells)
        return Pictures(images.flatten(0, 1), min(beside, len(images)) * len(columns), tuple(columns))

    @torch.no_grad()
    def translations(self, G: Callable[[Tensor], Tensor], count: int) -> Iterator[Tensor]:
        """uint8 batches of what G makes of a's images, from the first again where there are fewer."""
        for indices in (torch.arange(count) % len(self.a)).split(self.size):
            yield to_uint8(G(self._images(self.a, indices))).cpu()

    @torch.no_grad()
    def difference(self, made: Column, target: Column) -> float:
        """mean |made - target| over the first pairs, images in [-1, 1]."""
        total, count = 0.0, 0
        for a, b in self._pairs(_COMPARED):
            total += (made(a, b) - target(a, b)).abs().mean(dim=(1, 2, 3)).double().sum().item()
            count += len(a)
        return total / count
