"""The resolutions and channel counts a network goes through."""

from __future__ import annotations

MIN_START = 4


def pyramid(resolution: tuple[int, int]) -> list[tuple[int, int]]:
    """[(h, w)·2^i for i = 0…k] with (h, w)·2^k = resolution, k as large as keeps h and w whole and at least 4.

    Args:
        resolution: (H, W) in pixels.

    Returns:
        k + 1 sizes, the start first.

    Raises:
        ValueError: the resolution cannot be halved even once.

    >>> pyramid((64, 96))
    [(4, 6), (8, 12), (16, 24), (32, 48), (64, 96)]
    """
    sizes = [resolution]
    while all(side % 2 == 0 and side // 2 >= MIN_START for side in sizes[0]):
        h, w = sizes[0]
        sizes.insert(0, (h // 2, w // 2))
    if len(sizes) == 1:
        raise ValueError(
            "resolution must be (H, W) = start · 2^k with k >= 1 and both sides of the start at least "
            f"{MIN_START} (8×8, 64×64, 64×96, ...), got {tuple(resolution)}"
        )
    return sizes


def channels_at(size: tuple[int, int], channel_base: int, channel_max: int) -> int:
    """min(channel_base // max(h, w), channel_max), at least 1.

    >>> [channels_at((r, r), 32768, 512) for r in (4, 64, 128, 1024)]
    [512, 512, 256, 32]
    """
    return max(1, min(channel_base // max(size), channel_max))
