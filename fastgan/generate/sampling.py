"""Images from a checkpoint, by seed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastgan.checkpoint import CheckpointError
from fastgan.generate.latents import Latents, batch_size_of, immovable, truncation
from fastgan.generate.loading import (
    device_named,
    load_empty_classes,
    load_generator,
    load_labels,
    newest_checkpoint,
)
from fastgan.generate.quantise import to_uint8
from fastgan.generate.seeds import noise_generator_of
from fastgan.models.protocols import Movable, Styled
from fastgan.models.transforms import placement
from fastgan.nn import evaluation_view
from fastgan.nn.modulated import NOISE_MODES
from fastgan.ops.arguments import number


class Sampler(Latents):
    """images = to_uint8(G(z(seed), c)): the picture of a seed does not depend on the seeds beside it.

    Pictures are of G's weights of now, in evaluation mode. G itself stays as it is, also while another thread trains
    it: its modes, buffers, requires_grad, dtype and device, and torch's global random numbers. A seed's z, label and
    noise are drawn in float32 on the CPU, whatever torch's defaults, and cast to G's dtype and device.

    On a CPU the images of a seed are equal to the bit whatever the other seeds, where batch_size is 1 and the number of
    threads is the same. Another batch size or number of threads lets torch choose other algorithms, which add in
    another order: the last bits of G's float images differ, and a value that lies at the seam of two grey levels is
    rounded the other way. `docs/generation.md` has the measured share.

    Args:
        G: generator with z_dim, num_classes, img_channels and resolution, in any mode and floating-point dtype.
        class_names: a name for each class; () if there are none.
        labels: [K, num_classes], a sample of the label vectors that G was trained on, for a G whose labels are no
            classes: a seed draws one of its rows. None: labels are one-hot, and a seed draws a class.
        empty_classes: numbers of classes that G has seen no image of; none is drawn, nor made by class_index.

    Raises:
        TypeError, ValueError: labels are no such array, or all classes are empty.

    Attributes:
        classes: numbers of the classes that there are pictures of.

    Example:
        >>> sampler = Sampler.from_checkpoint("runs/demo")  # doctest: +SKIP
        >>> sampler.images([0, 1, 2], truncation_psi=0.7).shape  # doctest: +SKIP
        torch.Size([3, 3, 32, 32])
    """

    @classmethod
    def from_checkpoint(cls, path: str | Path, device: str | torch.device = "cpu") -> Sampler:
        """The averaged generator of a checkpoint, in float32; only its weights and its sample of labels are read.

        Args:
            path: a checkpoint of `fastgan train`, or the folder of a run: then its newest.
            device: where to put the generator.

        Returns:
            a sampler.

        Raises:
            FileNotFoundError: there is no such file.
            CheckpointError: it is no checkpoint, or not one of a model that this fastgan has; the message names it.
            ValueError: there is no such device.
        """
        place = device_named(device)
        path = newest_checkpoint(Path(path))
        G, class_names = load_generator(path)
        try:
            return cls(G.to(place), class_names, load_labels(path), load_empty_classes(path))
        except ValueError as error:
            raise CheckpointError(f"checkpoint {path} does not fit this fastgan: {error}") from error

    def batches(
        self,
        seeds: Iterable[int],
        *,
        truncation_psi: float = 1.0,
        truncation_center: str = "class",
        class_index: int | Sequence[int] | None = None,
        noise_mode: str = "const",
        batch_size: int = 16,
        labels: Any = None,
        translate: Iterable[float] = (0.0, 0.0),
        rotate: float = 0.0,
    ) -> Iterator[Tensor]:
        """The images of the seeds, a batch at a time, so that any number of them fits into memory.

        Args:
            seeds: from 0 to 2^32 - 1; integers of Python, NumPy or torch.
            truncation_psi: 1 leaves w as it is, 0 gives the average image.
            truncation_center: where truncation leads to: "class", the mean w at the image's class or label, or "all",
                the mean of all, which blends classes into each other. Alike for unconditional models.
            class_index: the class of all; several: all seeds of the first class, then all of the next ...; None draws
                one for each seed.
            noise_mode: "const" the layers' own noise, "none" no noise, "random" fresh noise that the seed determines.
            batch_size: images made at once.
            labels: [num_classes], the label of all, or [N, num_classes], one for each seed: label vectors, or mixtures
                of classes. None: drawn, or as class_index says.
            translate: (x, y) by which a `Movable` generator moves each picture to the right and down; 1 is the image's
                width.
            rotate: degrees by which it turns each picture about the centre before, counter-clockwise.

        Yields:
            uint8 [n, C, H, W], on the CPU, n <= batch_size.

        Raises:
            TypeError, ValueError: an argument of another type or out of range, at once.
        """
        if noise_mode not in NOISE_MODES:
            raise ValueError(f"noise_mode must be one of {', '.join(NOISE_MODES)}; got {noise_mode!r}")
        size = batch_size_of(batch_size)
        psi = truncation(evaluation_view(self.G), truncation_psi, truncation_center)
        choices = self._choices(seeds, class_index, labels)
        options: dict[str, Any] = {"noise_mode": noise_mode}
        if (transform := self._transform(translate, rotate)) is not None:
            options["transform"] = transform
        return self._batches(choices, psi, truncation_center, options, size)

    def images(
        self,
        seeds: Iterable[int],
        truncation_psi: float = 1.0,
        class_index: int | Sequence[int] | None = None,
        noise_mode: str = "const",
        batch_size: int = 16,
        truncation_center: str = "class",
        labels: Any = None,
        translate: Iterable[float] = (0.0, 0.0),
        rotate: float = 0.0,
    ) -> Tensor:
        """All images of the seeds in one tensor; `batches` documents arguments and errors.

        Args:
            seeds: from 0 to 2^32 - 1.
            truncation_psi: 1 leaves w as it is, 0 gives the average image.
            class_index: the class of all; several: all seeds of each; None draws one for each seed.
            noise_mode: "const", "none" or "random".
            batch_size: images made at once.
            truncation_center: "class" or "all".
            labels: [num_classes] or [N, num_classes]; None draws one for each seed.
            translate: (x, y), of the image's width.
            rotate: degrees.

        Returns:
            uint8 [N, C, H, W], on the CPU; N is the number of seeds times the number of classes asked for.
        """
        parts = self.batches(
            seeds,
            truncation_psi=truncation_psi,
            truncation_center=truncation_center,
            class_index=class_index,
            noise_mode=noise_mode,
            batch_size=batch_size,
            labels=labels,
            translate=translate,
            rotate=rotate,
        )
        empty = torch.empty(0, self.G.img_channels, *self.G.resolution, dtype=torch.uint8, device="cpu")
        return torch.cat([empty, *parts])

    @torch.no_grad()
    def _batches(
        self, choices: Iterator[tuple[Any, int]], psi: float, center: str, options: dict[str, Any], size: int
    ) -> Iterator[Tensor]:
        while part := list(itertools.islice(choices, size)):
            G = evaluation_view(self.G)
            z, c = self._draw(part)
            if options["noise_mode"] == "random":
                options["generator"] = [noise_generator_of(seed) for _, seed in part]
            ws = self._styles(G, z, c, psi, center) if isinstance(G, Styled) else None
            with torch.autocast(z.device.type, enabled=False):
                images = to_uint8(G(z, c) if ws is None else G.synthesis(ws, **options)).cpu()
            yield images

    def _transform(self, translate: Any, rotate: Any) -> Tensor | None:
        """[3, 3], float32, on the generator's device; None where pictures stay."""
        try:
            right, down = translate
        except (TypeError, ValueError):
            raise ValueError(f"translate must be two numbers, to the right and down, got {translate!r}") from None
        x, y, degrees = number("translate", right), number("translate", down), number("rotate", rotate)
        if x == y == degrees == 0:
            return None
        if not isinstance(evaluation_view(self.G), Movable):
            raise ValueError(f"translate and rotate must be 0: {immovable(self.G)}; got {x:g} {y:g} and {degrees:g}")
        return placement((x, y), degrees).to(next(self.G.parameters()).device)
