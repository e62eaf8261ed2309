"""What callers hand to networks: taken in the network's dtype where the meaning is plain, else refused in words.

Nothing here looks at values, so that networks can be traced, compiled and exported.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fastgan.ops.arguments import dense_format, has_format, in_format, sizes


def as_floats(name: str, value: Any, like: Tensor, meaning: str, whole_numbers: bool = False) -> Tensor:
    """value as a tensor of like's dtype on like's device.

    Args:
        name: of the argument.
        value: a tensor on like's device, or an array of NumPy or nested lists, which are put there.
        like: a weight of the network.
        meaning: what the argument holds, for the error.
        whole_numbers: whether integers and bools are taken too.

    Raises:
        TypeError: value is no array of real numbers, or of integers where these cannot be meant.
        ValueError: it is a tensor on another device.
    """
    if not isinstance(value, Tensor):
        value = _from_array(name, value, meaning).to(like.device)
    plain = value.is_floating_point() or (whole_numbers and not value.is_complex())
    if value.layout is not torch.strided or not plain:
        layout = "" if value.layout is torch.strided else f", {value.layout}"
        raise TypeError(f"{name} must hold {meaning}, got {value.dtype}{layout}")
    if value.device != like.device:
        raise ValueError(f"{name} must be on the network's device {like.device}, got {value.device}")
    return value if value.dtype == like.dtype else value.to(like.dtype)


def _from_array(name: str, value: Any, meaning: str) -> Tensor:
    try:
        array = np.array(value, order="C")  # a copy: torch takes no negative strides and warns of read-only memory
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} must hold {meaning}, got {type(value).__name__} ({error})") from error


def as_latents(z: Any, z_dim: int, like: Tensor) -> Tensor:
    """z [N, z_dim].

    Raises:
        ValueError, TypeError: z has another shape, dtype or device.
    """
    z = as_floats("z", z, like, "floating-point numbers drawn from N(0, 1)")
    if z.ndim != 2 or sizes(z)[1] != z_dim:
        raise ValueError(f"z must have shape [N, z_dim]=[N, {z_dim}], got {list(z.shape)}")
    return z


def as_labels(c: Any, batch: int, num_classes: int, like: Tensor) -> Tensor | None:
    """c [batch, num_classes], one-hot also as integers or bools; None or [batch, 0] where there are no classes.

    Raises:
        ValueError, TypeError: c has another shape, dtype or device.
    """
    if c is not None:
        c = as_floats("c", c, like, "numbers: a one-hot row or a label vector for each sample", whole_numbers=True)
    if num_classes == 0 and (c is None or sizes(c) == (batch, 0)):
        return c
    if c is None or sizes(c) != (batch, num_classes):
        got = None if c is None else list(c.shape)
        numbers = c is not None and num_classes > 0 and c.shape in ((batch,), (batch, 1))
        hint = f"; class numbers k go in as torch.nn.functional.one_hot(k, {num_classes})" if numbers else ""
        raise ValueError(f"c must have shape [N, num_classes]=[{batch}, {num_classes}], got {got}{hint}")
    return c


def as_rows(ws: Any, num_ws: int, w_dim: int, like: Tensor) -> Tensor:
    """ws [N, num_ws, w_dim].

    Raises:
        ValueError, TypeError: ws has another shape, dtype or device.
    """
    ws = as_floats("ws", ws, like, "floating-point rows of w")
    if ws.ndim != 3 or sizes(ws)[1:] != (num_ws, w_dim):
        raise ValueError(f"ws must have shape [N, num_ws, w_dim]=[N, {num_ws}, {w_dim}], got {list(ws.shape)}")
    return ws


def as_transform(transform: Any, batch: int, like: Tensor) -> Tensor | None:
    """transform [3, 3] or [batch, 3, 3]; None as it is.

    Raises:
        ValueError, TypeError: transform has another shape, dtype or device.
    """
    if transform is None:
        return None
    transform = as_floats("transform", transform, like, "floating-point matrices of homogeneous coordinates")
    if sizes(transform) not in ((3, 3), (batch, 3, 3)):
        raise ValueError(f"transform must have shape [3, 3] or [N, 3, 3]=[{batch}, 3, 3], got {list(transform.shape)}")
    return transform


def is_channels_last(network: nn.Module) -> bool:
    """Whether `network.to(memory_format=torch.channels_last)` was called: the first weight that has a format tells."""
    weight = next(filter(has_format, network.parameters()), None)
    return weight is not None and dense_format(weight) == torch.channels_last


def in_format_of(network: nn.Module, x: Tensor) -> Tensor:
    """Images or features x [N, C, H, W], channels_last where the network is, else as they are."""
    return in_format(x, torch.channels_last) if is_channels_last(network) else x


def as_images(img: Any, channels: int, resolution: tuple[int, int], like: Tensor) -> Tensor:
    """img [N, channels, H, W], values in [-1, 1].

    Raises:
        ValueError, TypeError: img has another shape, dtype or device.
    """
    img = as_floats("img", img, like, "floating-point images in [-1, 1] (of bytes: x / 127.5 - 1)")
    expected = (channels, *resolution)
    if img.ndim != 4 or sizes(img)[1:] != expected:
        raise ValueError(f"img must have shape [N, {', '.join(map(str, expected))}], got {list(img.shape)}")
    return img


def as_images_of_any_size(name: str, img: Any, channels: int, multiple: int, smallest: int, like: Tensor) -> Tensor:
    """img [N, channels, H, W], values in [-1, 1], for networks that take H and W as they come.

    Args:
        name: of the argument.
        img: the images.
        channels: what the network was built for.
        multiple: H and W are multiples of it.
        smallest: H and W are at least this.
        like: a weight of the network.

    Raises:
        ValueError, TypeError: img has another shape, dtype or device.
    """
    img = as_floats(name, img, like, "floating-point images in [-1, 1] (of bytes: x / 127.5 - 1)")
    shape = sizes(img)
    if img.ndim != 4 or shape[1] != channels or any(side % multiple or side < smallest for side in shape[2:]):
        sides = f"multiples of {multiple} and at least {smallest}" if multiple > 1 else f"at least {smallest}"
        raise ValueError(f"{name} must have shape [N, {channels}, H, W], H and W {sides}, got {list(img.shape)}")
    return img
