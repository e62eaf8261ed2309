"""What a network offers to those who use it: a generator is known by the class here that it inherits from."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import Tensor, nn


class FromNoise(nn.Module):
    """G(z, c) -> images [N, img_channels, H, W] in about [-1, 1].

    Attributes:
        z_dim: length of z [N, z_dim], drawn from N(0, 1).
        num_classes: length of c [N, num_classes]; 0: unconditional, and c is None.
        img_channels: channels of the images.
        resolution: their (H, W).
    """

    z_dim: int
    num_classes: int
    img_channels: int
    resolution: tuple[int, int]

    @abstractmethod
    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """z [N, z_dim], c [N, num_classes] or None -> images."""
        raise NotImplementedError


class Styled(FromNoise):
    """images = synthesis(mapping(z, c)); layers add noise, and styles can be truncated.

    Attributes:
        mapping: (z, c, truncation_psi, truncation_cutoff, update_emas) -> ws [N, num_ws, w_dim].
        synthesis: (ws, noise_mode, generator) -> images.
        num_ws: rows of ws.
        w_dim: length of a row.
    """

    mapping: Any
    synthesis: Any
    num_ws: int
    w_dim: int

    @abstractmethod
    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        update_emas: bool = False,
        *,
        noise_mode: str = "random",
        generator: Any = None,
    ) -> Tensor:
        """Images of latents.

        Args:
            z: [N, z_dim].
            c: [N, num_classes] or None.
            truncation_psi: 1: ws as they are; 0: their average.
            truncation_cutoff: rows of ws that are truncated; None: all.
            update_emas: let the average of ws follow.
            noise_mode: "random", "const" or "none".
            generator: of random noise, one or one a sample; None: torch's global one.

        Returns:
            [N, img_channels, H, W].
        """
        raise NotImplementedError


class Movable(Styled):
    """images = synthesis(mapping(z, c), transform): what a picture shows can be moved and turned.

    Attributes:
        synthesis: (ws, noise_mode, generator, transform) -> images.
    """

    @abstractmethod
    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        update_emas: bool = False,
        *,
        noise_mode: str = "random",
        generator: Any = None,
        transform: Tensor | None = None,
    ) -> Tensor:
        """Images of latents, placed.

        Args:
            z: [N, z_dim].
            c: [N, num_classes] or None.
            truncation_psi: 1: ws as they are; 0: their average.
            truncation_cutoff: rows of ws that are truncated; None: all.
            update_emas: let the average of ws follow.
            noise_mode: "random", "const" or "none".
            generator: of random noise, one or one a sample; None: torch's global one.
            transform: [3, 3] for all or [N, 3, 3], as `models.transforms.placement` gives; None: as they are.

        Returns:
            [N, img_channels, H, W].
        """
        raise NotImplementedError


class Grouping(nn.Module):
    """D(img, c) -> logits, where a sample's logit depends on the others of its group: sample i of M groups is in group
    i mod M, and a group has as many samples as `nn.minibatch_stddev.stddev_group_size` says.

    Attributes:
        mbstd_group: the most samples in a group.
    """

    mbstd_group: int


class Layered(nn.Module):
    """D, whose layers are known in their order from the image on: the first can be kept as they are (`freezed`)."""

    @abstractmethod
    def parameters_by_layer(self) -> list[list[nn.Parameter]]:
        """The parameters of each layer of weights, of that which sees the image first; those of labels in none."""
        raise NotImplementedError


class FromImage(nn.Module):
    """G(image) -> image, both [N, C, H, W] in [-1, 1] and of one size.

    Attributes:
        in_channels: channels of what goes in.
        out_channels: channels of what comes out.
        multiple: sides must be multiples of it.
        smallest: and at least this.
    """

    in_channels: int
    out_channels: int
    multiple: int
    smallest: int

    @abstractmethod
    def forward(self, image: Tensor) -> Tensor:
        """image [N, in_channels, H, W] -> [N, out_channels, H, W]."""
        raise NotImplementedError
