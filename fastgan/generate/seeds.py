"""Lists of seeds as text."""

from __future__ import annotations

import re

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
