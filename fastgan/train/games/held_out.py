"""Whether D knows its images by heart: its logits of those that it is trained on, and of others that are held out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fastgan.augment import Augment, Critic
from fastgan.config.options import AdversarialOptions
from fastgan.data import Dataset
from fastgan.nn.evaluation import evaluation_view

_IMAGES = 256  # of each kind, at most


class HeldOut:
    """D's mean logits of images that it is trained on, that are held out and that are generated, and
    r_v = (E[D(trained on)] - E[D(held out)]) / (E[D(trained on)] - E[D(generated)]): 0 where D knows no image by heart,
    1 where it takes new ones for generated.

    As many of each kind in batches of one size, seen through the same draws of the augmentation. Torch's generators are
    left as they were.

    Args:
        D: the discriminator, seen in evaluation mode.
        augment: what it sees images through.
        trained, held: the sets.
        generate: number of images -> images [n, C, H, W] and labels.
        options: of the game.
        device: where D is.

    Source: Karras et al. 2020a, eq. 1.
    """

    def __init__(
        self,
        D: nn.Module,
        augment: Augment | None,
        trained: Dataset,
        held: Dataset,
        generate: Callable[[int], tuple[Tensor, Tensor]],
        options: AdversarialOptions,
        device: torch.device,
    ) -> None:
        self.critic: Any = Critic(evaluation_view(D), augment)
        self.trained, self.held, self.generate = trained, held, generate
        self.options, self.device = options, device
        self.count = min(_IMAGES, len(trained), len(held))

    @torch.no_grad()
    def figures(self) -> dict[str, float]:
        """The means and r_v, as a run's statistics name them."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            trained, held, fake = (
                self._mean(*images()) for images in (lambda: self._real(self.trained), lambda: self._real(self.held),
                                                     lambda: self.generate(self.count))
            )  # fmt: skip
        means = {"score/trained_on": trained, "score/held_out": held}
        return means | ({"overfit/r_v": (trained - held) / (trained - fake)} if trained != fake else {})

    def _real(self, dataset: Dataset) -> tuple[Tensor, Tensor]:
        """Images all over the set."""
        indices = torch.arange(self.count) * len(dataset) // self.count
        images = dataset.batch(indices, None, self.options.uses_channels_last(self.device.type))
        return images.to(self.device), dataset.conditions(dataset.shown(indices)).to(self.device)

    def _mean(self, images: Tensor, labels: Tensor) -> float:
        torch.manual_seed(self.options.seed)
        pieces = zip(images.split(self.options.micro_batch), labels.split(self.options.micro_batch), strict=True)
        return torch.cat([self.critic(*piece).flatten() for piece in pieces]).double().mean().item()
