"""Validation of configuration fields: one function a kind, each naming the field, what was expected and what came."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def check_int(name: str, value: object, low: int) -> None:
    """Raises ValueError unless value is an int of at least low."""
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise ValueError(f"{name} must be an integer of at least {low}, got {value!r}")


def check_float(name: str, value: object, low: float, high: float) -> None:
    """Raises ValueError unless value is a number in [low, high]."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name} must be a number in [{low:g}, {high:g}], got {value!r}")


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Raises ValueError unless value is one of choices."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}")


def as_resolution(value: object) -> tuple[int, int]:
    """(H, W) of an int R (square), a tuple or a list.

    Raises:
        ValueError: value is none of these, or a side is not a positive integer.
    """
    sides = (value, value) if isinstance(value, int) else value
    if not isinstance(sides, (tuple, list)) or len(sides) != 2:
        raise ValueError(f"resolution must be an integer or (H, W), got {value!r}")
    for side in sides:
        check_int("resolution", side, 1)
    return (sides[0], sides[1])


def check_label(c: Tensor | None, batch: int, num_classes: int) -> None:
    """Raises ValueError unless c is [batch, num_classes], or None or [batch, 0] where there are no classes."""
    if num_classes == 0 and (c is None or c.shape == (batch, 0)):
        return
    if c is None or c.shape != (batch, num_classes):
        got = None if c is None else list(c.shape)
        raise ValueError(f"c must have shape [N, num_classes]=[{batch}, {num_classes}], got {got}")
