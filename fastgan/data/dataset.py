"""Sets of images of one size, with a class or a vector each if labelled: what they offer, and those held in memory."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from fastgan.data.assembly import assemble_batch

# What a mirrored picture of would be wrong: words that class names of such sets contain.
_CHIRAL = re.compile(r"flag|symbol|letter|digit|alphabet|text|sign|number|(?<!fashion.)mnist|svhn", re.IGNORECASE)


class Dataset(ABC):
    """Images of one size by number, from 0 to `len(self) - 1`.

    Attributes:
        labels: int64 [M], classes 0 to `num_classes - 1`, or float32 [M, L], label vectors; None for an unlabelled set.
        class_names: one name a class; () without classes.
        name: what reports and checkpoints call the set.
        broken: one message for each image that could not be read and was passed over.
        checksums: int64, `ImageStore.checksum` of every image that was chosen, those that were passed over included;
            UNREAD where it is not known, BROKEN where the image is left out. None for a set that comes from no store.
        notes: sentences on what was found in the set: its labels and where they are from, what was passed over.
        lookahead: how many images `expect` prepares ahead; 0 where nothing needs preparing.
    """

    labels: torch.Tensor | None
    class_names: tuple[str, ...]
    name: str
    broken: Collection[str]
    checksums: torch.Tensor | None = None
    notes: tuple[str, ...] = ()
    lookahead: int = 0

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    @abstractmethod
    def resolution(self) -> tuple[int, int]:
        """(H, W) in pixels."""

    @property
    @abstractmethod
    def channels(self) -> int:
        """3 for RGB, 1 for grey."""

    @abstractmethod
    def read(self, indices: torch.Tensor) -> torch.Tensor:
        """uint8 [N, H, W, C]: the images at `indices`, int64 [N].

        Raises:
            BrokenImageError: an image that cannot be read, unless such are passed over.
        """

    @abstractmethod
    def unlabelled(self) -> Dataset:
        """The same images without labels."""

    def batch(
        self,
        indices: torch.Tensor,
        mirror: torch.Tensor | None,
        channels_last: bool,
        crop_xy: torch.Tensor | None = None,
        size: tuple[int, int] | None = None,
    ) -> torch.Tensor:
        """The images at `indices`.

        Args:
            indices: int64 [N].
            mirror: bool [N], which of them to mirror left and right; None: none.
            channels_last: memory order of the result.
            crop_xy: int64 [N, 2], left and upper edge of the window in each image; None: (0, 0).
            size: (h, w) of the windows; None: whole images.

        Returns:
            float32 [N, C, h, w] in [-1, 1].
        """
        images = self.read(indices)
        return assemble_batch(
            images, torch.arange(len(images)), mirror=mirror, crop_xy=crop_xy, size=size, channels_last=channels_last
        )

    def expect(self, indices: torch.Tensor) -> None:  # noqa: B027 - most need no preparation
        """Begin to prepare the images at `indices`, which will be asked for next, and forget others."""

    def close(self) -> None:  # noqa: B027 - most hold nothing open
        """Stop preparing images and let go of open files."""

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 without classes."""
        return len(self.class_names)

    @property
    def label_dim(self) -> int:
        """Length of a label as networks take it: the number of classes, or of a vector's numbers; 0 without labels."""
        labels = self.labels
        return 0 if labels is None else self.num_classes if labels.ndim == 1 else labels.shape[1]

    @property
    def empty_classes(self) -> tuple[int, ...]:
        """Numbers of the classes that no image is of."""
        if self.labels is None or not self.num_classes:
            return ()
        return tuple((torch.bincount(self.labels, minlength=self.num_classes) == 0).nonzero()[:, 0].tolist())

    def conditions(self, indices: torch.Tensor) -> torch.Tensor:
        """float32 [N, label_dim]: one-hot classes or label vectors of the images at `indices`, int64 [N]."""
        if self.labels is None:
            return torch.zeros(len(indices), 0)
        labels = self.labels[indices]
        return F.one_hot(labels, self.num_classes).float() if labels.ndim == 1 else labels

    def shown(self, indices: torch.Tensor) -> torch.Tensor:
        """int64 [N]: which images `batch` gave for `indices`, where others stand in for such as cannot be read."""
        return indices

    @property
    def mirror_hazards(self) -> tuple[str, ...]:
        """Classes whose names say that mirroring their images makes wrong ones: flags, letters, digits, ..."""
        return tuple(name for name in (*self.class_names, self.name) if _CHIRAL.search(name))

    def check_labels(self) -> None:
        """Raises ValueError for labels that do not go with the images or the class names."""
        labels = self.labels
        if labels is None:
            if self.class_names:
                raise ValueError(f"class_names must be () without labels, got {self.class_names}")
            return
        if labels.dtype == torch.float32:
            if labels.ndim != 2 or len(labels) != len(self) or not labels.shape[1] or not labels.isfinite().all():
                raise ValueError(
                    f"label vectors must be finite float32 [M, L]=[{len(self)}, 1 or more], got {list(labels.shape)}"
                )
            if self.class_names:
                raise ValueError(f"class_names must be () with label vectors, got {self.class_names}")
            return
        if labels.dtype != torch.int64 or labels.shape != (len(self),):
            raise ValueError(f"labels must be int64 [M]=[{len(self)}], got {labels.dtype} {list(labels.shape)}")
        if int(labels.min()) < 0 or int(labels.max()) >= len(self.class_names):
            raise ValueError(
                f"labels must lie in 0..{len(self.class_names) - 1}, one name a class, "
                f"got {int(labels.min())}..{int(labels.max())}"
            )


@dataclass(frozen=True, eq=False)
class ImageDataset(Dataset):
    """Images held in memory.

    Args:
        images: uint8 [M, H, W, C], C is 3 (RGB) or 1 (grey); on a GPU, batches are made there.
        labels: int64 [M], classes 0 to `num_classes - 1`, or float32 [M, L], label vectors; None for an unlabelled set.
        class_names: one name a class; () without classes.
        name: what reports and checkpoints call the set.
        broken: one message for each image that was left out.
        checksums: see `Dataset`.
        notes: sentences on what was found in the set.
    Raises:
        ValueError: shapes, dtypes or labels that do not go together.
    """

    images: torch.Tensor
    labels: torch.Tensor | None = None
    class_names: tuple[str, ...] = ()
    name: str = "images"
    broken: Collection[str] = ()
    checksums: torch.Tensor | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        images = self.images
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or not len(images):
            got = f"{images.dtype} {list(images.shape)}"
            raise ValueError(f"images must be uint8 [M, H, W, C] with M >= 1 and C 1 or 3, got {got}")
        self.check_labels()

    def __len__(self) -> int:
        return self.images.shape[0]

    @property
    def resolution(self) -> tuple[int, int]:
        return self.images.shape[1], self.images.shape[2]

    @property
    def channels(self) -> int:
        return self.images.shape[3]

    def read(self, indices: torch.Tensor) -> torch.Tensor:
        return self.images[indices]

    def batch(
        self,
        indices: torch.Tensor,
        mirror: torch.Tensor | None,
        channels_last: bool,
        crop_xy: torch.Tensor | None = None,
        size: tuple[int, int] | None = None,
    ) -> torch.Tensor:
        return assemble_batch(
            self.images, indices, mirror=mirror, crop_xy=crop_xy, size=size, channels_last=channels_last
        )

    def unlabelled(self) -> ImageDataset:
        return replace(self, labels=None, class_names=())

    def to(self, device: torch.device) -> ImageDataset:
        """The same set with its images on `device`."""
        return replace(self, images=self.images.to(device))
