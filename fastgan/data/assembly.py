"""Batches of normalised float images from uint8 ones, by the host library or, without it, by torch."""

from __future__ import annotations

import importlib
from types import ModuleType

import torch


def _load_host() -> ModuleType | None:
    try:
        return importlib.import_module("fastgan._host")
    except ImportError:  # built without a compiler: torch does the same work
        return None


_host = _load_host()


def assemble_batch(
    images: torch.Tensor,
    indices: torch.Tensor,
    *,
    mirror: torch.Tensor | None = None,
    crop_xy: torch.Tensor | None = None,
    size: tuple[int, int] | None = None,
    channels_last: bool = False,
) -> torch.Tensor:
    """out[n, c, y, x] = images[indices[n], y0 + y, x0 + x', c] / 127.5 - 1, with x' = w - 1 - x where mirrored.

    Args:
        images: uint8 [M, H, W, C], contiguous. The result is on its device.
        indices: int64 [N], each in 0..M-1.
        mirror: bool [N]; True mirrors left and right, after the crop. None: no image.
        crop_xy: int64 [N, 2], (x0, y0): left and top corner of each window in pixels. None: (0, 0).
        size: (h, w) of the window; None: (H, W).
        channels_last: memory order of the result.
    Returns:
        float32 [N, C, h, w] in [-1, 1].
    Raises:
        ValueError: shapes, types or values outside the above.
    """
    count, (height, width) = indices.shape[0] if indices.ndim else 0, size or images.shape[1:3]
    if mirror is None:
        mirror = torch.zeros(count, dtype=torch.bool)
    if crop_xy is None:
        crop_xy = torch.zeros(count, 2, dtype=torch.int64)
    _check(images, indices, mirror, crop_xy, height, width)
    if _host is None or images.device.type != "cpu":
        return _assemble_by_torch(images, indices, mirror, crop_xy, height, width, channels_last)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    out = torch.empty(count, images.shape[3], height, width, memory_format=layout)
    arrays = (each.contiguous().numpy() for each in (images, indices, mirror, crop_xy))
    _host.assemble_batch(*arrays, out.numpy(), torch.get_num_threads())
    return out


def _assemble_by_torch(
    images: torch.Tensor,
    indices: torch.Tensor,
    mirror: torch.Tensor,
    crop_xy: torch.Tensor,
    height: int,
    width: int,
    channels_last: bool,
) -> torch.Tensor:
    indices, mirror = indices.to(images.device), mirror.to(images.device)
    if (height, width) == tuple(images.shape[1:3]):
        batch = images[indices]
    else:
        x, y = crop_xy.to(images.device)[:, :, None].unbind(1)  # [N, 1]
        rows, columns = (start + torch.arange(n, device=images.device) for start, n in ((y, height), (x, width)))
        batch = images[indices[:, None, None], rows[:, :, None], columns[:, None, :]]
    batch = torch.where(mirror[:, None, None, None], batch.flip(2), batch)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return batch.permute(0, 3, 1, 2).to(torch.float32, memory_format=layout).div_(127.5).sub_(1)


def _check(
    images: torch.Tensor,
    indices: torch.Tensor,
    mirror: torch.Tensor,
    crop_xy: torch.Tensor,
    height: int,
    width: int,
) -> None:
    count = len(indices) if indices.ndim else 0
    expected = {
        "images": (images, torch.uint8, "[M, H, W, C]", images.ndim == 4),
        "indices": (indices, torch.int64, "[N]", indices.ndim == 1),
        "mirror": (mirror, torch.bool, f"[N]=[{count}]", mirror.shape == (count,)),
        "crop_xy": (crop_xy, torch.int64, f"[N, 2]=[{count}, 2]", crop_xy.shape == (count, 2)),
    }
    for name, (tensor, dtype, shape, fits) in expected.items():
        anywhere = name == "images"
        if tensor.dtype != dtype or not fits or not (anywhere or tensor.device.type == "cpu"):
            got = f"{tensor.dtype} {list(tensor.shape)} on {tensor.device}"
            raise ValueError(f"{name} must be {dtype} {shape}{'' if anywhere else ' on the CPU'}, got {got}")
    total, full_height, full_width, _ = images.shape
    if not (1 <= height <= full_height and 1 <= width <= full_width):
        raise ValueError(f"size must lie in (1, 1)..{(full_height, full_width)} (h, w), got {(height, width)}")
    if not count:
        return
    if int(indices.min()) < 0 or int(indices.max()) >= total:
        raise ValueError(f"indices must lie in 0..{total - 1}, got {int(indices.min())}..{int(indices.max())}")
    room = torch.tensor([full_width - width, full_height - height])
    if bool(((crop_xy < 0) | (crop_xy > room)).any()):
        raise ValueError(f"crop_xy must lie in (0, 0)..{tuple(room.tolist())} (x, y), got {crop_xy.tolist()}")
