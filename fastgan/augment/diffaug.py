"""DiffAugment: colours, shifts and holes of all images that D sees, always at full strength."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fastgan.augment import transforms
from fastgan.augment.chance import Chance
from fastgan.augment.critic import Scheduled
from fastgan.choices import DIFFAUG
from fastgan.config.fields import check_choice
from fastgan.config.options import AdversarialOptions
from fastgan.ops import affine_warp

_SHIFT = 0.125  # of a side, at most
_CUTOUT = 0.5  # of a side


class DiffAugment:
    """Images after random transforms, each of which every image gets.

    "color": brightness b of [-½, ½] is added, the difference from each pixel's mean is multiplied by [0, 2], that from
    the image's mean by [½, 3/2]. "translation": shifted by up to an eighth of each side, zeros where nothing is.
    "cutout": zeros in a rectangle of half of each side, whose centre lies anywhere.

    Args:
        channels: of each of several images that D sees beside each other, which are transformed alike; of one alone its
            channels may be left out.
        policy: which of them.
        device: where images are.

    Raises:
        ValueError: an unknown transform.

    Source: Zhao et al. 2020, section 3.2 and appendix C.
    """

    def __init__(
        self, channels: Sequence[int] = (), policy: Sequence[str] = DIFFAUG, device: torch.device | str = "cpu"
    ) -> None:
        for group in policy:
            check_choice("policy", group, DIFFAUG)
        self.channels, self.policy = tuple(channels), tuple(policy)
        self.always = torch.ones([], device=device)

    @classmethod
    def of(cls, options: AdversarialOptions, channels: Sequence[int], device: torch.device) -> DiffAugment:
        """By the policy of the options."""
        return cls(channels, options.diffaug_policy, device)

    def __call__(self, images: Tensor) -> Tensor:
        """images [N, C, H, W] -> the same shape."""
        n, size = len(images), (images.shape[2], images.shape[3])
        chance = Chance(n, self.always)
        kept = torch.ones(n, 1, *size, device=images.device, dtype=images.dtype)
        theta = transforms.identity(n, images.device)
        parts = images.split(self.channels, dim=1) if len(self.channels) > 1 else [images]
        if "translation" in self.policy:
            reach = [round(length * _SHIFT) for length in size]
            down, right = (chance.integer(2 * each + 1).float() - each for each in reach)
            theta = transforms.shifted(theta, right, down)
            kept = kept * _within(size, down, right)
        if "cutout" in self.policy:
            sides = [round(length * _CUTOUT) for length in size]
            begin = [chance.integer(length + 1 - side % 2) - side // 2
                     for length, side in zip(size, sides, strict=True)]  # fmt: skip
            kept = kept * ~(_between(size[0], begin[0], sides[0])[:, None, :, None]
                            & _between(size[1], begin[1], sides[1])[:, None, None, :])  # fmt: skip
        if "color" not in self.policy:
            return torch.cat([affine_warp(part, theta) for part in parts], dim=1) * kept
        brightness, saturation, contrast = (
            chance.uniform(low, high) for low, high in ((-0.5, 0.5), (0.0, 2.0), (0.5, 1.5))
        )
        warped = [_recolored(part, theta, brightness, saturation, contrast) for part in parts]
        return torch.cat(warped, dim=1) * kept

    def adapt(self, real_logits: Tensor) -> None:
        """Nothing: the strength stays."""

    def figures(self) -> dict[str, Tensor]:
        """Nothing changes."""
        return {}

    def schedules(self) -> tuple[Scheduled, ...]:
        """Nothing changes."""
        return ()

    def state_dict(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Nothing."""


def _recolored(images: Tensor, theta: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """The images under maps and in other colours: c·S·x + b + (1 - c)·mean(x), of which the mean depends on x."""
    n, channels = images.shape[:2]
    eye = torch.eye(channels, device=images.device)
    saturation = saturation[:, None, None]
    matrix = contrast[:, None, None] * (saturation * eye + (1 - saturation) / channels)
    color = torch.cat([matrix, brightness[:, None, None].expand(n, channels, 1)], dim=2)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return affine_warp(images, theta, color) + (1 - contrast.to(images.dtype))[:, None, None, None] * mean


def _within(size: tuple[int, int], down: Tensor, right: Tensor) -> Tensor:
    """bool [N, 1, H, W]: where an image that was shifted shows what it had."""
    rows = _between(size[0], down, size[0])
    columns = _between(size[1], right, size[1])
    return rows[:, None, :, None] & columns[:, None, None, :]


def _between(length: int, begin: Tensor, count: int) -> Tensor:
    """bool [N, length]: which of the places lie among `count` from begin [N] on."""
    place = torch.arange(length, device=begin.device) - begin[:, None]
    return (place >= 0) & (place < count)
