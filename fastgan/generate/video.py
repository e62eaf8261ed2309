"""Frames of a video: latents that walk, or a picture that moves."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from fastgan.config.fields import check_choice, check_int
from fastgan.generate.latents import batch_size_of, immovable, truncation
from fastgan.generate.loops import arcs, lines, spline
from fastgan.generate.quantise import to_uint8
from fastgan.generate.sampling import Sampler
from fastgan.models.protocols import Movable, Styled
from fastgan.models.transforms import placement
from fastgan.nn import evaluation_view

SHOTS = ("walk", "pan", "rotate")
STILL_NOISE_MODES = ("const", "none")  # of nn.modulated.NOISE_MODES: noise of a seed would jump between seeds
_RADIUS = 0.125  # of the circle that a pan goes, in image widths


class Video:
    """Frames of a closed loop: from the last frame to the first it is one step like all others.

    "walk": latents go through those of the seeds, the keyframes; a generator with styles goes along the periodic cubic
    spline through its ws, another along great arcs from z to z, its labels along straight lines. "pan" and "rotate":
    the latents stay, and a `Movable` generator moves the picture steadily along a circle, of an eighth of the width, or
    turns it once about its centre. All begin with the image that `Sampler.images` gives for the seeds; a walk has
    at each keyframe, to the bit where batch_size is 1.

    Args:
        sampler: of the generator.
        seeds: cells after cells: each keyframe takes as many as there are cells.
        shot: "walk", "pan" or "rotate".
        cells: images side by side in a frame.
        steps: frames from a keyframe to the next; of a pan or rotation, all.
        truncation_psi: 1 leaves w as it is, 0 gives the average image.
        truncation_center: "class" or "all", as for `Sampler.batches`.
        class_index: the class of all; several: all seeds of the first class, then all of the next ...; None draws one
            for each seed.
        labels: label vectors, as for `Sampler.batches`.
        noise_mode: "const", the layers' own noise, or "none".
        batch_size: images made at once.

    Raises:
        TypeError, ValueError: an argument of another type or out of range, the seeds do not fill the keyframes, or the
            generator cannot do it.

    Example:
        >>> video = Video(Sampler.from_checkpoint("runs/demo"), range(8), steps=60)  # doctest: +SKIP
        >>> len(video), next(iter(video)).shape  # doctest: +SKIP
        (480, torch.Size([1, 3, 32, 32]))
    """

    def __init__(
        self,
        sampler: Sampler,
        seeds: Iterable[int],
        *,
        shot: str = "walk",
        cells: int = 1,
        steps: int = 60,
        truncation_psi: float = 1.0,
        truncation_center: str = "class",
        class_index: int | Sequence[int] | None = None,
        labels: Any = None,
        noise_mode: str = "const",
        batch_size: int = 16,
    ) -> None:
        check_choice("shot", shot, SHOTS)
        check_choice("noise_mode", noise_mode, STILL_NOISE_MODES)
        check_int("cells", cells, 1)
        check_int("steps", steps, 1)
        self.G: Any = evaluation_view(sampler.G)
        if shot != "walk" and not isinstance(self.G, Movable):
            raise ValueError(f"shot must be walk: {immovable(self.G)}; got {shot}")
        self.shot, self.cells, self.steps = shot, cells, steps
        self.noise_mode, self.batch_size = noise_mode, batch_size_of(batch_size)
        if isinstance(self.G, Styled):
            rows = sampler.styles(seeds, truncation_psi, class_index, batch_size, truncation_center, labels)
            self._loops = [spline(self._keyframes(rows))]
        else:
            truncation(self.G, truncation_psi, truncation_center)
            rows, c = sampler.latents(seeds, class_index, labels)
            self._loops = [arcs(self._keyframes(rows))] + ([] if c is None else [lines(self._keyframes(c))])
        self._like = rows[:0]

    def _keyframes(self, rows: Tensor) -> Tensor:
        """[K·cells, ...] -> [K, cells, ...]"""
        self.keyframes, rest = divmod(len(rows), self.cells)
        if self.shot != "walk" and len(rows) != self.cells:
            raise ValueError(f"seeds must be {self.cells} for a {self.shot}, one a cell, got {len(rows)}")
        if self.shot == "walk" and (rest or self.keyframes < 2):
            times = f" times the {self.cells} cells" if self.cells > 1 else ""
            raise ValueError(f"seeds must be 2 or more{times} for a walk, got {len(rows)}")
        return rows.unflatten(0, (self.keyframes, self.cells))

    def __len__(self) -> int:
        """The number of frames."""
        return self.keyframes * self.steps

    def __iter__(self) -> Iterator[Tensor]:
        """uint8 [cells, C, H, W] of each frame, on the CPU."""
        inputs = itertools.chain.from_iterable(map(self._inputs, range(len(self))))
        images = itertools.chain.from_iterable(self._batches(inputs))
        for _ in range(len(self)):
            yield torch.stack(list(itertools.islice(images, self.cells)))

    def _inputs(self, frame: int) -> Iterator[tuple[Tensor, ...]]:
        """What each image of a frame is made of: (w,), (z,) or (z, c); last its place, where it moves."""
        k, step = divmod(frame, self.steps)
        if self.shot == "walk":
            return zip(*(loop(k, step / self.steps) for loop in self._loops), strict=True)
        angle = 2 * math.pi * step / self.steps
        if self.shot == "pan":
            place = placement((_RADIUS * math.sin(angle), _RADIUS * (1 - math.cos(angle))), 0.0)
        else:
            place = placement((0.0, 0.0), 360 * step / self.steps)
        return ((w, place) for w in self._loops[0](0, 0.0))

    @torch.no_grad()
    def _batches(self, inputs: Iterator[tuple[Tensor, ...]]) -> Iterator[Tensor]:
        styled = isinstance(self.G, Styled)
        while part := list(itertools.islice(inputs, self.batch_size)):
            given = [torch.stack(column) for column in zip(*part, strict=True)]
            options: dict[str, Any] = {"noise_mode": self.noise_mode} if styled else {}
            if self.shot != "walk":
                options["transform"] = given.pop().to(self._like.device)
            with torch.autocast(self._like.device.type, enabled=False):
                make = self.G.synthesis if styled else self.G
                images = to_uint8(make(*(each.to(self._like) for each in given), **options)).cpu()
            yield images
