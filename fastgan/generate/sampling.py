"""Images from a checkpoint, by seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from fastgan.checkpoint import CheckpointError, load_tensors, read_metadata
from fastgan.generate.quantise import to_uint8
from fastgan.generate.seeds import LARGEST_SEED
from fastgan.models.registry import configure, family

NOISE_MODES = ("const", "random", "none")


class Sampler:
    """images = to_uint8(G(z(seed), c)): the picture of a seed does not depend on the seeds beside it.

    Args:
        G: generator with z_dim, num_classes, img_channels and resolution; put into evaluation mode.
        class_names: a name for each class; () if there are none.

    Example:
        >>> sampler = Sampler.from_checkpoint("runs/demo/checkpoint-000060.safetensors")  # doctest: +SKIP
        >>> sampler.images([0, 1, 2], truncation_psi=0.7).shape  # doctest: +SKIP
        torch.Size([3, 3, 32, 32])
    """

    def __init__(self, G: torch.nn.Module, class_names: Sequence[str] = ()) -> None:
        self.G: Any = G.eval().requires_grad_(False)
        self.class_names = tuple(class_names)

    @classmethod
    def from_checkpoint(cls, path: str | Path, device: str | torch.device = "cpu") -> Sampler:
        """The averaged generator of a checkpoint; only its weights are read.

        Args:
            path: a checkpoint of `fastgan train`.
            device: where to put the generator.

        Returns:
            a sampler.

        Raises:
            FileNotFoundError: there is no such file.
            CheckpointError: it is no checkpoint, or not one of a model that this fastgan has; the message names it.
        """
        metadata = read_metadata(path)
        model, weights = load_tensors(path, "model"), load_tensors(path, "G_ema")
        # Building draws initial weights: the caller's random numbers are left as they were.
        with torch.random.fork_rng(devices=[]):
            try:
                G = family(model["name"]).generator(configure(model["name"], **model["config"]))
                G.load_state_dict(weights)
            except (ValueError, TypeError, KeyError, RuntimeError) as error:
                # torch lists every tensor that does not fit, a line each; the first tells enough.
                reason = " ".join(line.strip() for line in str(error).splitlines()[:2])
                raise CheckpointError(f"checkpoint {path} does not fit this fastgan: {reason}") from error
        return cls(G.to(device), metadata.get("dataset", {}).get("classes") or ())

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
            ValueError: the class is out of range, or the model is unconditional.
        """
        count = self.G.num_classes
        if class_index is not None and not 0 <= class_index < count:
            expected = f"from 0 to {count - 1}" if count else "None, as the model is unconditional"
            raise ValueError(f"class_index must be {expected}; got {class_index}")
        z = torch.empty(len(seeds), self.G.z_dim)
        chosen = torch.zeros(len(seeds), dtype=torch.int64)
        for row, seed in enumerate(seeds):
            if not 0 <= seed <= LARGEST_SEED:
                raise ValueError(f"seeds must be from 0 to {LARGEST_SEED}, got {seed}")
            generator = torch.Generator().manual_seed(seed)
            z[row] = torch.randn(self.G.z_dim, generator=generator)
            if count:
                drawn = torch.randint(count, (), generator=generator)
                chosen[row] = drawn if class_index is None else class_index
        device = next(self.G.parameters()).device
        c = torch.nn.functional.one_hot(chosen, count).float().to(device) if count else None
        return z.to(device), c

    @torch.no_grad()
    def batches(
        self,
        seeds: Sequence[int],
        *,
        truncation_psi: float = 1.0,
        class_index: int | None = None,
        noise_mode: str = "const",
        batch_size: int = 16,
    ) -> Iterator[torch.Tensor]:
        """The images of the seeds, a batch at a time, so that any number of them fits into memory.

        Args:
            seeds: from 0 to 2^32 - 1.
            truncation_psi: 1 leaves w as it is, 0 gives the average image.
            class_index: the class of all; None draws one for each seed.
            noise_mode: "const" the layers' own noise, "none" no noise, "random" fresh noise that the seed determines;
                "random" makes one image at a time.
            batch_size: images made at once.

        Yields:
            uint8 [n, C, H, W], on the CPU, n <= batch_size.

        Raises:
            ValueError: an argument out of range.
        """
        if noise_mode not in NOISE_MODES:
            raise ValueError(f"noise_mode must be one of {', '.join(NOISE_MODES)}; got {noise_mode!r}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        size = 1 if noise_mode == "random" else batch_size
        for start in range(0, len(seeds), size):
            part = seeds[start : start + size]
            z, c = self.latents(part, class_index)
            with torch.random.fork_rng(enabled=noise_mode == "random"):
                if noise_mode == "random":
                    # Not the seed itself: its stream has given z.
                    torch.manual_seed(part[0] ^ 0x9E3779B9)
                images = self.G(z, c, truncation_psi=truncation_psi, noise_mode=noise_mode)
            yield to_uint8(images).cpu()

    def images(
        self,
        seeds: Sequence[int],
        truncation_psi: float = 1.0,
        class_index: int | None = None,
        noise_mode: str = "const",
        batch_size: int = 16,
    ) -> torch.Tensor:
        """All images of the seeds in one tensor; `batches` documents arguments and errors.

        Args:
            seeds: from 0 to 2^32 - 1.
            truncation_psi: 1 leaves w as it is, 0 gives the average image.
            class_index: the class of all; None draws one for each seed.
            noise_mode: "const", "none" or "random".
            batch_size: images made at once.

        Returns:
            uint8 [N, C, H, W], on the CPU.
        """
        parts = list(
            self.batches(
                seeds,
                truncation_psi=truncation_psi,
                class_index=class_index,
                noise_mode=noise_mode,
                batch_size=batch_size,
            )
        )
        empty = torch.empty(0, self.G.img_channels, *self.G.resolution, dtype=torch.uint8)
        return torch.cat(parts) if parts else empty
