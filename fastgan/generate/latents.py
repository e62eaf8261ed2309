"""What a seed stands for: z, the class or the label, and their styles."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from fastgan.generate.centers import LabelCenters
from fastgan.generate.seeds import checked, generator_of, integer
from fastgan.models.inputs import as_floats
from fastgan.models.protocols import Styled
from fastgan.nn import evaluation_view

CENTERS = ("class", "all")
_LARGEST_PSI = 100.0


class Latents:
    """z(seed), c(seed) and ws(z, c) of a generator: those of a seed do not depend on the seeds beside it.

    Args:
        G: generator with z_dim and num_classes, in any mode and floating-point dtype.
        class_names: a name for each class; () if there are none.
        labels: [K, num_classes], of which a seed draws a row; None: labels are one-hot, and a seed draws a class.
        empty_classes: numbers of classes of which none is drawn, nor taken.

    Raises:
        TypeError, ValueError: labels are no such array, or all classes are empty.

    Attributes:
        classes: numbers of the classes that there are pictures of.
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
        self, seeds: Iterable[int], class_index: int | Sequence[int] | None = None, labels: Any = None
    ) -> tuple[Tensor, Tensor | None]:
        """z and c of each seed, drawn from a generator of its own that the seed starts.

        Args:
            seeds: from 0 to 2^32 - 1.
            class_index: the class of all; several: all seeds of each; None draws one for each seed, all classes alike.
            labels: label vectors, as for `images`.

        Returns:
            z: [N, z_dim], float32 numbers in the generator's dtype, on its device.
            c: [N, num_classes], likewise, one-hot or label vectors; None if the model is unconditional.

        Raises:
            TypeError, ValueError: a seed or the class is no integer or out of range, labels do not fit, or the model is
                unconditional.
        """
        return self._draw(list(self._choices(seeds, class_index, labels)))

    def styles(
        self,
        seeds: Iterable[int],
        truncation_psi: float = 1.0,
        class_index: int | Sequence[int] | None = None,
        batch_size: int = 16,
        truncation_center: str = "class",
        labels: Any = None,
    ) -> Tensor:
        """ws of each seed, of which `G.synthesis` makes the images that `images` gives.

        Args:
            seeds: from 0 to 2^32 - 1.
            truncation_psi: 1 leaves w as it is, 0 gives the average.
            class_index: the class of all; several: all seeds of each; None draws one for each seed.
            batch_size: rows that go through the mapping at once.
            truncation_center: "class" or "all", as for `images`.
            labels: label vectors, as for `images`.

        Returns:
            [N, num_ws, w_dim], in the generator's dtype, on its device; N is the number of seeds times that of classes.

        Raises:
            TypeError, ValueError: an argument of another type or out of range, or the generator has no styles.
        """
        G = evaluation_view(self.G)
        if not isinstance(G, Styled):
            raise ValueError(no_styles(G))
        psi, size = truncation(G, truncation_psi, truncation_center), batch_size_of(batch_size)
        choices = self._choices(seeds, class_index, labels)
        like = next(G.parameters())
        rows = [torch.empty(0, G.num_ws, G.w_dim, dtype=like.dtype, device=like.device)]
        while part := list(itertools.islice(choices, size)):
            rows.append(self._styles(G, *self._draw(part), psi, truncation_center))
        return torch.cat(rows)

    @torch.no_grad()
    def _styles(self, G: Any, z: Tensor, c: Tensor | None, psi: float, center: str) -> Tensor:
        """ws [N, num_ws, w_dim] of latents, by a Styled G in evaluation mode."""
        with torch.autocast(z.device.type, enabled=False):
            if psi == 1 or center == "all" or c is None:
                return G.mapping(z, c, truncation_psi=psi)
            return torch.lerp(self._centers.of(G.mapping, G.z_dim, c), G.mapping(z, c), psi)

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


def no_styles(G: torch.nn.Module) -> str:
    """What to tell whoever asks for the styles of a generator that has none."""
    return f"a {_family(G)} generator maps no latents to styles"


def immovable(G: torch.nn.Module) -> str:
    """What to tell whoever wants to move the picture of a generator that is not `Movable`."""
    return f"a {_family(G)} generator cannot move its picture, as those of stylegan3-t and stylegan3-r can"


def _family(G: torch.nn.Module) -> str:
    return type(G).__module__.split(".")[-1]


def truncation(G: torch.nn.Module, psi: Any, center: str) -> float:
    """psi as a number, of a generator in evaluation mode that can be truncated so.

    Raises:
        ValueError: it cannot, psi is no number within ±100, or there is no such center.
    """
    if center not in CENTERS:
        raise ValueError(f"truncation_center must be one of {', '.join(CENTERS)}; got {center!r}")
    try:
        number = float("nan" if isinstance(psi, (bool, str, bytes)) else psi)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        number = float("nan")
    if not abs(number) <= _LARGEST_PSI:
        raise ValueError(f"truncation_psi must be a number within ±{_LARGEST_PSI:g}, got {psi!r}")
    if number != 1 and not isinstance(G, Styled):
        raise ValueError(f"truncation_psi must be 1: {no_styles(G)}; got {number:g}")
    return number


def batch_size_of(value: Any) -> int:
    """How many are made at once.

    Raises:
        ValueError: value is no integer from 1.
    """
    try:
        size = integer("batch_size", value)
    except TypeError:
        size = 0
    if size < 1:
        raise ValueError(f"batch_size must be at least 1, got {value!r}")
    return size
