"""Whether D knows its images by heart, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastgan.config.fields import is_finite

_SHARE = 5  # the last fifth of a run is judged
_R_V = 0.5  # D takes held-out images half for generated
_R_T = 0.9  # real images of 20 are taken for real by D, all but one
_CURE = "more images, --aug ada or diffaug, or fewer kimg help"


def overfitting(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the figures of a run say of it; [] while D does not overfit, or nothing tells.

    r_v tells by images held out, else r_t by the signs of D's logits, unless augmentation is adapting to it.

    Args:
        records: lines of a stats file, in order.

    Returns:
        sentences.
    """
    if (r_v := _late(records, "overfit/r_v")) is not None:
        if r_v <= _R_V:
            return []
        return [
            f"D knows its images by heart: it takes such as are held out {min(r_v, 1):.0%} of the way for generated "
            f"ones (r_v {r_v:.2f} late in the run); {_CURE}"
        ]
    found = []
    names = sorted({name for record in records for name in record if name.startswith("overfit/r_t")})
    for name in names:
        r_t = _late(records, name)
        if r_t is not None and r_t > _R_T and not any("augment/p" in record for record in records):
            found.append(
                f"D{name.removeprefix('overfit/r_t')} is sure of nearly every real image (r_t {r_t:.2f} late in the "
                f"run): it may know them by heart, which --held-out images would tell; {_CURE}"
            )
    return found


def _late(records: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """The mean of a figure over the last fifth of the lines that have it; None where none has."""
    values = [float(record[name]) for record in records if is_finite(record.get(name))]
    late = values[-max(1, len(values) // _SHARE) :]
    return sum(late) / len(late) if late else None
