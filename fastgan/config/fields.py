"""Validation of configuration fields: one function a kind, each naming the field, what was expected and what came."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable, Sequence
from typing import Any

# Above every sensible length of a latent or count of channels; `registry.layout` bounds what they make together.
LARGEST_COUNT = 2**20
LARGEST_SIDE = 2**15
# Above what any option could mean: a slip such as 1e30 is named instead of overflowing somewhere inside.
LARGEST_NUMBER = 1e9


def plain(value: Any) -> Any:
    """NumPy's and torch's numbers, and arrays of them, as Python's numbers and lists; anything else as it is."""
    return value.tolist() if hasattr(value, "tolist") else value


def make_plain(config: Any) -> None:
    """`plain` of each field of a frozen dataclass: a configuration is compared, and written as JSON."""
    for field in dataclasses.fields(config):
        object.__setattr__(config, field.name, plain(getattr(config, field.name)))


def check_int(name: str, value: object, low: int, high: int = LARGEST_COUNT) -> None:
    """Raises ValueError unless value is an int in [low, high]."""
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise ValueError(f"{name} must be an integer of at least {low}, got {shown(value)}")
    if value > high:
        raise ValueError(f"{name} must be at most {high}, got {shown(value)}")


def check_float(name: str, value: object, low: float, high: float) -> None:
    """Raises ValueError unless value is a finite number in [low, high]."""
    if not is_finite(value) or not low <= value <= high:  # type: ignore[operator]
        raise ValueError(f"{name} must be a number in [{low:g}, {high:g}], got {shown(value)}")


def check_number(name: str, value: object, low: float, *, above: bool = False) -> None:
    """Raises ValueError unless value is a finite number of at least low, or above it, and at most 10^9."""
    if not is_finite(value) or value < low or (above and value == low):  # type: ignore[operator]
        raise ValueError(f"{name} must be a number {'above' if above else 'of at least'} {low:g}, got {shown(value)}")
    if value > LARGEST_NUMBER:  # type: ignore[operator]
        raise ValueError(f"{name} must be at most {LARGEST_NUMBER:g}, got {shown(value)}")


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Raises ValueError unless value is one of choices, and of its type: 1 is not True."""
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, got {shown(value)}")


def is_finite(value: object) -> bool:
    """Whether value is an int or a float, no bool, and finite as a float."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond float64
        return False


def shown(value: object) -> str:
    """The value as an error quotes it: 80 characters at most."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of more digits than Python converts, a tree too deep to write
        return f"{type(value).__name__} too long to show"
    return text if len(text) <= 80 else f"{text[:77]}..."


def near(name: str, names: Iterable[str]) -> str:
    """The one of names that is nearest to a wrong one, as an error asks for it; "" if none is near.

    >>> near("z_dmi", ["w_avg_beta", "z_dim"])
    " (did you mean 'z_dim'?)"
    """
    close = difflib.get_close_matches(name[:80], list(names), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def as_names(name: str, value: object) -> tuple[str, ...]:
    """Names of a list or a tuple.

    Raises:
        ValueError: value is neither, or holds something else than text.
    """
    if not isinstance(value, (list, tuple)) or not all(isinstance(each, str) for each in value):
        raise ValueError(f"{name} must be a list of names, got {shown(value)}")
    return tuple(value)


def as_resolution(value: object) -> tuple[int, int]:
    """(H, W) of an int R (square), a tuple, a list or an array.

    Raises:
        ValueError: value is none of these, or a side is not an integer from 1 to 2^15.
    """
    value = plain(value)
    sides = (value, value) if isinstance(value, int) else value
    if not isinstance(sides, (tuple, list)) or len(sides) != 2:
        raise ValueError(f"resolution must be an integer or (H, W), got {shown(value)}")
    height, width = (plain(side) for side in sides)
    for side in (height, width):
        check_int("resolution", side, 1, LARGEST_SIDE)
    return (height, width)
