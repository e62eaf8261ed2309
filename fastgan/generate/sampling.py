"""Images from a checkpoint, by seed."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from fastgan.generate.loading import load_generator, newest_checkpoint
from fastgan.generate.quantise import to_uint8
from fastgan.generate.seeds import LARGEST_SEED

NOISE_MODES = ("const", "random", "none")
CENTERS = ("class", "all")
_LARGEST_PSI = 100.0
# Latents whose mean stands for the mean of w in a class: its error is 1/64 of the spread of w.
_CENTER_LATENTS = 4096


class Sampler:
    """images = to_uint8(G(z(seed), c)): the picture of a seed does not depend on the seeds beside it.

    On a CPU the images of a seed are equal to the bit whatever the other seeds, where batch_size is 1 and the number of
    threads is the same. Another batch size or number of threads lets torch choose other algorithms, which add in
    another order: the last bits of G's float images differ, and a value that lies at the seam of two grey levels is
    rounded the other way. `docs/generation.md` has the measured share.

    Args:
        G: generator with z_dim, num_classes, img_channels and resolution; put into evaluation mode.
        class_names: a name for each class; () if there are none.

    Example:
        >>> sampler = Sampler.from_checkpoint("runs/demo")  # doctest: +SKIP
        >>> sampler.images([0, 1, 2], truncation_psi=0.7).shape  # doctest: +SKIP
        torch.Size([3, 3, 32, 32])
    """

    def __init__(self, G: torch.nn.Module, class_names: Sequence[str] = ()) -> None:
        self.G: Any = G.eval().requires_grad_(False)
        self.class_names = tuple(class_names)
        self._centers: dict[int, torch.Tensor] = {}

    @classmethod
    def from_checkpoint(cls, path: str | Path, device: str | torch.device = "cpu") -> Sampler:
        """The averaged generator of a checkpoint; only its weights are read.

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
        try:
            device = torch.device(device)
        except RuntimeError as error:
            raise ValueError(f"device must be cpu or cuda, got {device!r}") from error
        if device.type == "cuda" and not torch.cuda.is_available():
            raise ValueError(f"device is {device}, but this torch sees no GPU (fastgan doctor says more)")
        G, class_names = load_generator(newest_checkpoint(Path(path)))
        return cls(G.to(device), class_names)

    def class_index(self, name: str) -> int:
        """The number of a class.

        Args:
            name: its name, in any case, or its number as text.

        Returns:
            the index, from 0.

        Raises:
            ValueError: the model is unconditional, or has no such class; the message lists those it has.
        """
        count = self.G.num_classes
        if count == 0:
            raise ValueError(f"class must not be given: the model is unconditional, got {name!r}")
        folded = [known.casefold() for known in self.class_names]
        if name.casefold() in folded:
            return folded.index(name.casefold())
        if name.isdecimal() and int(name) < count:
            return int(name)
        names = f"{', '.join(self.class_names)}, or " if self.class_names else ""
        raise ValueError(f"class must be one of {names}a number from 0 to {count - 1}; got {name!r}")

    def latents(self, seeds: Sequence[int], class_index: int | None = None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """z and c of each seed, drawn from a generator of its own that the seed starts.

        Args:
            seeds: from 0 to 2^32 - 1.
            class_index: the class of all; None draws one for each seed, all classes alike.

        Returns:
            z: [N, z_dim], float32, on the generator's device.
            c: [N, num_classes], one-hot float32; None if the model is unconditional.

        Raises:
            TypeError, ValueError: a seed or the class is no integer or out of range, or the model is unconditional.
        """
        self._check_class(class_index)
        return self._draw([(class_index, seed) for seed in seeds])

    def batches(
        self,
        seeds: Sequence[int],
        *,
        truncation_psi: float = 1.0,
        truncation_center: str = "class",
        class_index: int | Sequence[int] | None = None,
        noise_mode: str = "const",
        batch_size: int = 16,
    ) -> Iterator[torch.Tensor]:
        """The images of the seeds, a batch at a time, so that any number of them fits into memory.

        Args:
            seeds: from 0 to 2^32 - 1.
            truncation_psi: 1 leaves w as it is, 0 gives the average image.
            truncation_center: where truncation leads to: "class", the mean w of the image's class, or "all", the mean
                of all classes, which blends classes into each other. Alike for unconditional models.
            class_index: the class of all; several: all seeds of the first class, then all of the next ...; None draws
                one for each seed.
            noise_mode: "const" the layers' own noise, "none" no noise, "random" fresh noise that the seed determines;
                "random" makes one image at a time.
            batch_size: images made at once.

        Yields:
            uint8 [n, C, H, W], on the CPU, n <= batch_size.

        Raises:
            TypeError, ValueError: an argument of another type or out of range, at once; a seed, in its turn.
        """
        if noise_mode not in NOISE_MODES:
            raise ValueError(f"noise_mode must be one of {', '.join(NOISE_MODES)}; got {noise_mode!r}")
        if truncation_center not in CENTERS:
            raise ValueError(f"truncation_center must be one of {', '.join(CENTERS)}; got {truncation_center!r}")
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size!r}")
        if not isinstance(truncation_psi, (int, float)) or not abs(truncation_psi) <= _LARGEST_PSI:
            raise ValueError(f"truncation_psi must be a number within ±{_LARGEST_PSI:g}, got {truncation_psi!r}")
        if not isinstance(seeds, Iterable) or isinstance(seeds, str):
            raise TypeError(f"seeds must be a list or range of integers (see parse_seeds), got {seeds!r}")
        classes: Any = class_index if isinstance(class_index, (list, tuple, range)) else [class_index]
        for each in classes:
            self._check_class(each)
        size = 1 if noise_mode == "random" else batch_size
        return self._batches(itertools.product(classes, seeds), truncation_psi, truncation_center, noise_mode, size)

    def images(
        self,
        seeds: Sequence[int],
        truncation_psi: float = 1.0,
        class_index: int | Sequence[int] | None = None,
        noise_mode: str = "const",
        batch_size: int = 16,
        truncation_center: str = "class",
    ) -> torch.Tensor:
        """All images of the seeds in one tensor; `batches` documents arguments and errors.

        Args:
            seeds: from 0 to 2^32 - 1.
            truncation_psi: 1 leaves w as it is, 0 gives the average image.
            class_index: the class of all; several: all seeds of each; None draws one for each seed.
            noise_mode: "const", "none" or "random".
            batch_size: images made at once.
            truncation_center: "class" or "all".

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
        )
        empty = torch.empty(0, self.G.img_channels, *self.G.resolution, dtype=torch.uint8)
        return torch.cat([empty, *parts])

    def _check_class(self, class_index: object) -> None:
        if class_index is None:
            return
        count = self.G.num_classes
        if not isinstance(class_index, int) or isinstance(class_index, bool) or not 0 <= class_index < count:
            expected = f"from 0 to {count - 1}" if count else "None, as the model is unconditional"
            raise ValueError(f"class_index must be {expected}; got {class_index!r}")

    def _draw(self, pairs: Sequence[tuple[int | None, int]]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """z and c of pairs of class (None: drawn) and seed."""
        count = self.G.num_classes
        z = torch.empty(len(pairs), self.G.z_dim)
        chosen = torch.zeros(len(pairs), dtype=torch.int64)
        for row, (class_index, seed) in enumerate(pairs):
            generator = torch.Generator().manual_seed(_seed(seed))
            z[row] = torch.randn(self.G.z_dim, generator=generator)
            if count:
                drawn = torch.randint(count, (), generator=generator)
                chosen[row] = drawn if class_index is None else class_index
        device = next(self.G.parameters()).device
        c = torch.nn.functional.one_hot(chosen, count).float().to(device) if count else None
        return z.to(device), c

    @torch.no_grad()
    def _batches(
        self, pairs: Iterable[tuple[int | None, int]], psi: float, center: str, noise_mode: str, size: int
    ) -> Iterator[torch.Tensor]:
        pairs = iter(pairs)
        while part := list(itertools.islice(pairs, size)):
            z, c = self._draw(part)
            with torch.random.fork_rng(enabled=noise_mode == "random"):
                if noise_mode == "random":
                    # Not the seed itself: its stream has given z.
                    torch.manual_seed(_seed(part[0][1]) ^ 0x9E3779B9)
                if psi == 1 or center == "all" or c is None or not hasattr(self.G, "mapping"):
                    images = self.G(z, c, truncation_psi=psi, noise_mode=noise_mode)
                else:
                    ws = torch.lerp(self._class_centers(c), self.G.mapping(z, c), psi)
                    images = self.G.synthesis(ws, noise_mode=noise_mode)
            yield to_uint8(images).cpu()

    def _class_centers(self, c: torch.Tensor) -> torch.Tensor:
        """The mean of w over 4096 latents of each row's class, the same on every call: [N, 1, w_dim]."""
        rows = c.argmax(dim=1).tolist()
        for k in set(rows) - self._centers.keys():
            z = torch.randn(_CENTER_LATENTS, self.G.z_dim, generator=torch.Generator().manual_seed(k)).to(c.device)
            label = torch.zeros(len(z), self.G.num_classes, device=c.device)
            label[:, k] = 1
            self._centers[k] = self.G.mapping(z, label)[:, :1].mean(dim=0)
        return torch.stack([self._centers[k] for k in rows])


def _seed(value: Any) -> int:
    try:
        seed = operator.index(value)
    except TypeError:
        raise TypeError(f"seeds must be integers, got {value!r}") from None
    if not 0 <= seed <= LARGEST_SEED:
        raise ValueError(f"seeds must be from 0 to {LARGEST_SEED}, got {seed}")
    return seed
