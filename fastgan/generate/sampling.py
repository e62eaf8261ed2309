"""Images from a checkpoint, by seed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastgan.checkpoint import CheckpointError
from fastgan.generate.centers import LabelCenters
from fastgan.generate.loading import (
    device_named,
    load_empty_classes,
    load_generator,
    load_labels,
    newest_checkpoint,
)
from fastgan.generate.quantise import to_uint8
from fastgan.generate.seeds import checked, generator_of, integer, noise_generator_of
from fastgan.models.inputs import as_floats
from fastgan.models.protocols import Styled
from fastgan.nn import evaluation_view
from fastgan.nn.modulated import NOISE_MODES

CENTERS = ("class", "all")
_LARGEST_PSI = 100.0


class Sampler:
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

    def __init__(
        self,
        G: torch.nn.Module,
        class_names: Sequence[str] = (),
        labels: Any = None,
        empty_classes: Iterable[int] = (),
    ) -> None:
        self.G: Any = G
        self.class_names = tuple(class_names)
        if self.class_names and len(self.class_names) != G.num_classes:
            raise ValueError(f"class_names must name {G.num_classes} classes, got {len(self.class_names)} names")
        empty = {integer("empty_classes", k) for k in empty_classes}
        if not empty <= set(range(self.G.num_classes)):
            raise ValueError(f"empty_classes must be from 0 to {self.G.num_classes - 1}, got {sorted(empty)}")
        self.classes = [k for k in range(self.G.num_classes) if k not in empty]
        if empty and not self.classes:
            raise ValueError(f"empty_classes must leave one of {self.G.num_classes} classes, got all")
        self.labels = None if labels is None else self._label_vectors(labels)
        if self.labels is not None and (self.labels.ndim != 2 or not len(self.labels)):
            raise ValueError(f"labels must have shape [K, {G.num_classes}], K > 0, got {list(self.labels.shape)}")
        self._centers = LabelCenters()

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

    def class_index(self, name: str) -> int:
        """The number of a class.

        Args:
            name: its name, in any case, or its number as text.

        Returns:
            the index, from 0.

        Raises:
            ValueError: the model has no classes, or no such class; the message lists those it has.
        """
        count, name = self.G.num_classes, str(name)
        if refusal := self._no_classes():
            raise ValueError(f"class must not be given: {refusal}, got {name!r}")
        folded = [known.casefold() for known in self.class_names]
        if name.casefold() in folded:
            return folded.index(name.casefold())
        if name.isdecimal() and int(name) < count:
            return int(name)
        names = f"{', '.join(self.class_names)}, or " if self.class_names else ""
        raise ValueError(f"class must be one of {names}a number from 0 to {count - 1}; got {name!r}")

    def latents(
        self, seeds: Iterable[int], class_index: int | None = None, labels: Any = None
    ) -> tuple[Tensor, Tensor | None]:
        """z and c of each seed, drawn from a generator of its own that the seed starts.

        Args:
            seeds: from 0 to 2^32 - 1.
            class_index: the class of all; None draws one for each seed, all classes alike.
            labels: label vectors, as for `images`.

        Returns:
            z: [N, z_dim], float32 numbers in the generator's dtype, on its device.
            c: [N, num_classes], likewise, one-hot or label vectors; None if the model is unconditional.

        Raises:
            TypeError, ValueError: a seed or the class is no integer or out of range, labels do not fit, or the model is
                unconditional.
        """
        return self._draw(list(self._choices(seeds, class_index, labels)))

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

        Yields:
            uint8 [n, C, H, W], on the CPU, n <= batch_size.

        Raises:
            TypeError, ValueError: an argument of another type or out of range, at once.
        """
        if noise_mode not in NOISE_MODES:
            raise ValueError(f"noise_mode must be one of {', '.join(NOISE_MODES)}; got {noise_mode!r}")
        if truncation_center not in CENTERS:
            raise ValueError(f"truncation_center must be one of {', '.join(CENTERS)}; got {truncation_center!r}")
        size = _batch_size(batch_size)
        choices = self._choices(seeds, class_index, labels)
        psi = _psi(truncation_psi)
        if psi != 1 and not isinstance(evaluation_view(self.G), Styled):
            raise ValueError(f"truncation_psi must be 1: {no_styles(self.G)}; got {psi:g}")
        return self._batches(choices, psi, truncation_center, noise_mode, size)

    def images(
        self,
        seeds: Iterable[int],
        truncation_psi: float = 1.0,
        class_index: int | Sequence[int] | None = None,
        noise_mode: str = "const",
        batch_size: int = 16,
        truncation_center: str = "class",
        labels: Any = None,
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
        )
        empty = torch.empty(0, self.G.img_channels, *self.G.resolution, dtype=torch.uint8, device="cpu")
        return torch.cat([empty, *parts])

    def _no_classes(self) -> str:
        """Why there is no class to choose; "" where there is."""
        if self.G.num_classes == 0:
            return "the model is unconditional"
        return "" if self.labels is None else "the model is conditioned on label vectors, not on classes; give labels"

    def _class_number(self, class_index: Any) -> int | None:
        if class_index is None:
            return None
        if refusal := self._no_classes():
            raise ValueError(f"class_index must be None, as {refusal}; got {class_index!r}")
        try:
            number = integer("class_index", class_index)
        except TypeError:
            number = -1
        if not 0 <= number < self.G.num_classes:
            raise ValueError(f"class_index must be from 0 to {self.G.num_classes - 1}; got {class_index!r}")
        if number not in self.classes:
            name = f" ({self.class_names[number]})" if self.class_names else ""
            raise ValueError(f"class_index must be a class that the training had images of; {number}{name} had none")
        return number

    def _label_vectors(self, labels: Any) -> Tensor:
        """labels [..., num_classes] in float32 on the CPU."""
        if self.G.num_classes == 0:
            raise ValueError("labels must be None, as the model is unconditional")
        labels = labels.cpu() if isinstance(labels, Tensor) else labels
        like = torch.empty(0, dtype=torch.float32, device="cpu")
        labels = as_floats("labels", labels, like, "numbers, label vectors", whole_numbers=True).detach()
        if labels.ndim not in (1, 2) or labels.shape[-1] != self.G.num_classes:
            count = self.G.num_classes
            raise ValueError(f"labels must have shape [{count}] or [N, {count}], got {list(labels.shape)}")
        if not labels.isfinite().all():
            raise ValueError("labels must be finite")
        return labels

    def _choices(self, seeds: Iterable[Any], class_index: Any, labels: Any) -> Iterator[tuple[Any, int]]:
        """Pairs of what is chosen, a class (int), a label (Tensor) or nothing (None), and a seed."""
        numbers = checked(seeds)
        if labels is None:
            several = isinstance(class_index, Iterable) and not isinstance(class_index, str)
            alone = not several or getattr(class_index, "ndim", 1) == 0
            classes = [self._class_number(each) for each in ([class_index] if alone else class_index)]
            return itertools.product(classes, numbers)
        if class_index is not None:
            raise ValueError(f"class_index must be None where labels are given, got {class_index!r}")
        labels = self._label_vectors(labels)
        if labels.ndim == 1:
            return itertools.product([labels], numbers)
        if len(labels) != len(numbers):
            raise ValueError(f"labels must have a row for each of the {len(numbers)} seeds, got {len(labels)} rows")
        return zip(labels, numbers, strict=True)

    def _draw(self, choices: Sequence[tuple[Any, int]]) -> tuple[Tensor, Tensor | None]:
        """z and c of pairs of choice and seed."""
        count = self.G.num_classes
        z = torch.empty(len(choices), self.G.z_dim, dtype=torch.float32, device="cpu")
        c = torch.zeros(len(choices), count, dtype=torch.float32, device="cpu")
        for row, (choice, seed) in enumerate(choices):
            generator = generator_of(seed)
            z[row] = torch.randn(self.G.z_dim, generator=generator, dtype=torch.float32, device="cpu")
            if not count:
                continue
            known = range(len(self.labels)) if self.labels is not None else self.classes
            drawn = known[int(torch.randint(len(known), (), generator=generator, device="cpu"))]
            if isinstance(choice, Tensor):
                c[row] = choice
            elif self.labels is not None:
                c[row] = self.labels[drawn]
            else:
                c[row, drawn if choice is None else choice] = 1
        device, dtypes = next(self.G.parameters()).device, {weight.dtype for weight in self.G.parameters()}
        dtype = dtypes.pop() if len(dtypes) == 1 else torch.float32
        return z.to(device, dtype), c.to(device, dtype) if count else None

    @torch.no_grad()
    def _batches(
        self, choices: Iterator[tuple[Any, int]], psi: float, center: str, noise_mode: str, size: int
    ) -> Iterator[Tensor]:
        while part := list(itertools.islice(choices, size)):
            G = evaluation_view(self.G)
            z, c = self._draw(part)
            options: dict[str, Any] = {"noise_mode": noise_mode}
            if noise_mode == "random":
                options["generator"] = [noise_generator_of(seed) for _, seed in part]
            with torch.autocast(z.device.type, enabled=False):
                if not isinstance(G, Styled):
                    images = G(z, c)
                elif psi == 1 or center == "all" or c is None:
                    images = G(z, c, truncation_psi=psi, **options)
                else:
                    centers = self._centers.of(G.mapping, G.z_dim, c)
                    images = G.synthesis(torch.lerp(centers, G.mapping(z, c), psi), **options)
                images = to_uint8(images).cpu()
            yield images


def no_styles(G: torch.nn.Module) -> str:
    """What to tell whoever asks for the styles of a generator that has none."""
    return f"a {type(G).__module__.split('.')[-1]} generator maps no latents to styles"


def _psi(value: Any) -> float:
    try:
        psi = float("nan" if isinstance(value, (bool, str, bytes)) else value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        psi = float("nan")
    if not abs(psi) <= _LARGEST_PSI:
        raise ValueError(f"truncation_psi must be a number within ±{_LARGEST_PSI:g}, got {value!r}")
    return psi


def _batch_size(value: Any) -> int:
    try:
        size = integer("batch_size", value)
    except TypeError:
        size = 0
    if size < 1:
        raise ValueError(f"batch_size must be at least 1, got {value!r}")
    return size
