"""Adaptive discriminator augmentation: random transforms, as strong as D's overfitting asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fastgan.augment import transforms
from fastgan.augment.bands import Bands
from fastgan.augment.chance import Chance
from fastgan.augment.critic import Scheduled
from fastgan.choices import AUGPIPES
from fastgan.config.fields import check_choice
from fastgan.config.options import AdversarialOptions
from fastgan.ops import affine_warp

_EVERY = 4  # updates of D between those of p
_NOISE = 0.1  # standard deviation of the strength of noise
_CUTOUT = 0.5  # of a side


class ADA:
    """Images after random transforms, of which each is applied with probability p; at p = 0 images stay as they are.

    Maps and colours of all transforms are one `affine_warp`. Every 4 updates of D, p grows if r_t, the mean sign of D's
    logits of reals in them, is above the target, else it falls: by as much as lets it go from 0 to 1 in `kimg`.

    Args:
        channels: of each of several images that D sees beside each other, which are transformed alike, with noise of
            their own; of one alone its channels may be left out. 1 or 3.
        pipe: which transforms, a name of `choices.AUGPIPES`.
        p: probability at the start, not above 1 for good.
        target: of r_t; None: p stays.
        batch: real images between two updates of D.
        kimg: thousands of real images for p to go from 0 to 1.
        device: where images are.

    Raises:
        ValueError: an unknown pipe.

    Source: Karras et al. 2020a, sections 2 and 3, appendix B.
    """

    def __init__(
        self,
        channels: Sequence[int] = (),
        pipe: str = "bgc",
        p: float = 0.0,
        target: float | None = 0.6,
        batch: int = 32,
        kimg: float = 500.0,
        device: torch.device | str = "cpu",
    ) -> None:
        check_choice("pipe", pipe, tuple(AUGPIPES))
        self.channels, self.groups, self.target = tuple(channels), AUGPIPES[pipe].split(), target
        self.step = _EVERY * batch / (kimg * 1000)
        self.bands = Bands(device) if "filter" in self.groups else None
        self.p, self.r_t, self.signs, self.updates = (torch.full([], v, device=device) for v in (p, 0.0, 0.0, 0.0))

    @classmethod
    def adaptive(cls, options: AdversarialOptions, channels: Sequence[int], device: torch.device) -> ADA:
        """p from 0 on, by the target of the options."""
        return cls(channels, options.augpipe, 0.0, options.ada_target, options.batch, options.ada_kimg, device)

    @classmethod
    def fixed(cls, options: AdversarialOptions, channels: Sequence[int], device: torch.device) -> ADA:
        """p of the options, always."""
        return cls(channels, options.augpipe, options.augment_p, None, device=device)

    def __call__(self, images: Tensor) -> Tensor:
        """images [N, C, H, W] -> the same shape."""
        n, size = len(images), (images.shape[2], images.shape[3])
        chance = Chance(n, self.p)
        theta = transforms.identity(n, images.device)
        if "blit" in self.groups:
            theta = transforms.blit(theta, chance, size)
        if "geometry" in self.groups:
            theta = transforms.geometry(theta, chance, size)
        colors: dict[int, Tensor] = {}
        if "color" in self.groups:
            colors[3], colors[1] = transforms.recolored(chance)
        parts = images.split(self.channels, dim=1) if len(self.channels) > 1 else [images]
        images = torch.cat([affine_warp(part, theta, colors.get(part.shape[1])) for part in parts], dim=1)
        if self.bands is not None:
            images = self.bands(images, chance)
        if "noise" in self.groups:
            strength = chance.apply(chance.normal(_NOISE).abs(), 0).to(images.dtype)
            images = images + strength[:, None, None, None] * torch.randn_like(images)
        if "cutout" in self.groups:
            images = images * self._kept(chance, size).to(images.dtype)
        return images

    def _kept(self, chance: Chance, size: tuple[int, int]) -> Tensor:
        """[N, 1, H, W]: 0 in a rectangle of half of each side, whose centre lies anywhere, else 1."""
        side = chance.apply(torch.full([chance.n], _CUTOUT, device=self.p.device), 0)
        centers = chance.uniform(0, 1, 2)

        def inside(axis: int, length: int) -> Tensor:
            place = (torch.arange(length, device=self.p.device) + 0.5) / length
            return (place - centers[:, axis, None]).abs() < side[:, None] / 2

        return ~(inside(0, size[0])[:, None, :, None] & inside(1, size[1])[:, None, None, :])

    def adapt(self, real_logits: Tensor) -> None:
        """One update of D further. p moves before an update's signs are counted: by then those of all ranks are."""
        if self.target is None:
            return
        due = self.updates >= _EVERY
        self.r_t.copy_(torch.where(due, self.signs / self.updates.clamp_min(1), self.r_t))
        self.p.add_(torch.where(due, (self.r_t - self.target).sign() * self.step, 0.0)).clamp_min_(0)
        self.signs.mul_(~due).add_(real_logits.sign().nan_to_num().float().mean())
        self.updates.mul_(~due).add_(1)

    def figures(self) -> dict[str, Tensor]:
        """p."""
        return {"p": self.p}

    def schedules(self) -> tuple[Scheduled, ...]:
        """Nothing: p follows D."""
        return ()

    def averaged(self) -> tuple[Tensor, ...]:
        """What becomes, on several devices, the mean of theirs after every step."""
        return (self.signs,)

    def state_dict(self) -> dict[str, Tensor]:
        """p, r_t and what was counted since p moved, copies."""
        return {name: getattr(self, name).clone() for name in ("p", "r_t", "signs", "updates")}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state_dict`.

        Raises:
            ValueError: state is not what `state_dict` returns.
        """
        mine = self.state_dict()
        if set(state) != set(mine) or any(state[name].shape != () for name in mine):
            raise ValueError(f"state must hold 0-dimensional tensors {', '.join(mine)}, got {state!r}")
        if self.target is not None:
            for name in mine:
                getattr(self, name).copy_(state[name])
