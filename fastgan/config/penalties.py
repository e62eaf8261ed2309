"""Gradient penalties as options give them: names, each with its weight and the steps between its updates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastgan.choices import PENALTIES
from fastgan.config.fields import check_choice, check_int, check_number, plain, shown

LARGEST_INT = 10**9
R1_INTERVAL = 16  # steps between updates of R1 where none is given (Karras et al. 2020, app. B)


def as_penalties(value: Any) -> dict[str, tuple[float | None, int]]:
    """name -> (weight, interval), without those of weight 0."""
    if not isinstance(value, Mapping):
        raise ValueError(f'penalties must be an object such as {{"r1": [10, 16]}}, got {shown(value)}')
    checked: dict[str, tuple[float | None, int]] = {}
    for name, pair in value.items():
        check_choice("penalties", name, tuple(PENALTIES))
        pair = plain(pair)
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise ValueError(f"penalties: {name} must be [weight, interval], got {shown(pair)}")
        weight, interval = pair
        if weight is not None or name != "r1":
            check_number(f"penalties: weight of {name}", weight, 0)
        check_int(f"penalties: interval of {name}", interval, 1, LARGEST_INT)
        if weight != 0:
            checked[name] = (weight, interval)
    return checked


def read_penalties(texts: Sequence[str]) -> dict[str, tuple[float | None, int]]:
    """Penalties of texts NAME=WEIGHT/INTERVAL; the weight "auto" is R1's own, an interval left out is 16 of R1, else 1.

    Raises:
        ValueError: a text of another form.

    >>> read_penalties(["r1=10/16", "wgan-gp=10"])
    {'r1': (10.0, 16), 'wgan-gp': (10.0, 1)}
    """
    penalties: dict[str, tuple[float | None, int]] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        weight, slash, interval = value.partition("/")
        try:
            if not sign or not name or name in penalties:
                raise ValueError
            steps = int(interval) if slash else R1_INTERVAL if name == "r1" else 1
            penalties[name] = (None if weight == "auto" else float(weight), steps)
        except ValueError:
            raise ValueError(
                f"penalties must be NAME=WEIGHT or NAME=WEIGHT/INTERVAL, each name once; got {shown(text)}"
            ) from None
    return penalties
