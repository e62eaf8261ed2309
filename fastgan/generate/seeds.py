"""Seeds: as text, and what each of them draws."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable
from typing import Any

import torch

# torch's CPU generator looks at the low 32 bits of a seed alone.
LARGEST_SEED = 2**32 - 1

_RANGE = re.compile(r"(\d+)(?:-(\d+))?")
# Latents of more seeds than this would not be looked at, and a slip such as 0-1000000000 would fill the memory.
_MOST = 10_000_000


def parse_seeds(text: str) -> list[int]:
    """ "0-31,40" -> [0, 1, ..., 31, 40].

    Args:
        text: numbers and inclusive ranges, separated by commas.

    Returns:
        the seeds in the order of the text; one that is named twice comes once.

    Raises:
        ValueError: another form, a range that runs backwards, or more than ten million seeds.

    Example:
        >>> parse_seeds("3-5,9,4")
        [3, 4, 5, 9]
    """
    seeds: dict[int, None] = {}
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"seeds must be numbers and ranges like 0-31,40, got {part.strip()!r} in {text!r}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"seeds: the range {part.strip()!r} runs backwards; write {last}-{first}")
        if last > LARGEST_SEED:
            raise ValueError(f"seeds must be at most {LARGEST_SEED}, got {last}")
        if last - first >= _MOST - len(seeds):
            raise ValueError(f"seeds: {text!r} names more than {_MOST:,}")
        seeds.update(dict.fromkeys(range(first, last + 1)))
    return list(seeds)


def integer(name: str, value: Any) -> int:
    """value as an int: a Python, NumPy or torch integer.

    Raises:
        TypeError: it is none, or a bool.
    """
    try:
        if isinstance(value, bool) or (isinstance(value, torch.Tensor) and value.dtype == torch.bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be integers, got {value!r}") from None


def checked(seeds: Any) -> list[int]:
    """The seeds as ints.

    Args:
        seeds: a list, range, array or tensor of integers.

    Raises:
        TypeError: seeds is none of these, or one is no integer.
        ValueError: one is not from 0 to 2^32 - 1.
    """
    if not isinstance(seeds, Iterable) or isinstance(seeds, (str, bytes)) or getattr(seeds, "ndim", 1) == 0:
        raise TypeError(f"seeds must be a list or range of integers (see parse_seeds), got {seeds!r}")
    numbers = [integer("seeds", each) for each in seeds]
    for seed in numbers:
        if not 0 <= seed <= LARGEST_SEED:
            raise ValueError(f"seeds must be from 0 to {LARGEST_SEED}, got {seed}")
    return numbers


def generator_of(seed: int) -> torch.Generator:
    """A generator of its own for a seed, on the CPU whatever the default device: it starts with z, then the label."""
    return torch.Generator(device="cpu").manual_seed(seed)


def noise_generator_of(seed: int) -> torch.Generator:
    """Draws a seed's random noise; not started by the seed itself, whose stream has given z."""
    return generator_of(seed ^ 0x9E3779B9)
