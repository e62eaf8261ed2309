"""The figures of a run as charts: which belong together, and few enough points to draw."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastgan.report.progress import flatten

_POINTS = 2000  # a curve keeps at most so many
# What begins a figure's name -> (title of its chart, unit); charts stand in this order, others after them.
_GROUPS = {
    "metric": ("Metrics", ""),
    "loss": ("Losses", ""),
    "penalty": ("Penalties", ""),
    "score": ("D's mean logits", ""),
    "diversity": ("Diversity of generated images", "beside real ones"),
    "gradient": ("Norms of gradients", ""),
    "overfit": ("Overfitting of D", ""),
    "augment": ("Augmentation", ""),
    "lr": ("Learning rates", ""),
    "images_per_second": ("Throughput", "images / s"),
    "memory_gib": ("Peak memory", "GiB"),
    "zeros": ("Gradients of penalties that are 0", "share"),
    "skipped": ("Skipped updates", "count"),
    "nonfinite": ("Values that were not finite", "count"),
    "rollbacks": ("Times training went back", "count"),
}
_LEFT_OUT = {"kimg", "step", "seconds_per_kimg", "passes"}  # the axis itself, and what another chart shows


def series(records: Sequence[Mapping[str, Any]]) -> dict[str, tuple[list[float], list[float | None]]]:
    """Figure -> (kimg, value) lists over the records that hold it; None where a value was not finite.

    Args:
        records: lines of a stats file, in order; what is no number is passed over.

    Returns:
        curves by flattened name ("loss/G").
    """
    curves: dict[str, tuple[list[float], list[float | None]]] = {}
    for record in records:
        kimg = float(record["kimg"])
        for name, value in flatten(record) if math.isfinite(kimg) else ():
            if isinstance(value, bool) or not (value is None or isinstance(value, (int, float))):
                continue
            x, y = curves.setdefault(name, ([], []))
            x.append(kimg)
            y.append(float(value) if value is not None and math.isfinite(value) else None)
    return {name: curve for name, curve in curves.items() if any(value is not None for value in curve[1])}


def thin(
    x: Sequence[float], y: Sequence[float | None], points: int = _POINTS
) -> tuple[list[float], list[float | None]]:
    """At most `points` of a curve that look like all of it: first, last, and the extremes and gaps of equal stretches.

    Args:
        x, y: the curve; None in y is a gap.
        points: at least 5.

    Returns:
        (x, y), unchanged where they are few enough.
    """
    if len(x) <= points:
        return list(x), list(y)
    stretches = (points - 2) // 3
    kept = {0, len(x) - 1}
    for number in range(stretches):
        stretch = range(len(x) * number // stretches, len(x) * (number + 1) // stretches)
        numbers = [(value, index) for index in stretch if (value := y[index]) is not None]
        kept |= {min(numbers)[1], max(numbers)[1]} if numbers else set()
        kept |= {next(index for index in stretch if y[index] is None)} if len(numbers) < len(stretch) else set()
    order = sorted(kept)
    return [x[index] for index in order], [y[index] for index in order]


def charts(records: Sequence[Mapping[str, Any]], floors: Mapping[str, float]) -> list[dict[str, Any]]:
    """The charts of a run.

    Args:
        records: lines of a stats file.
        floors: metric -> the value that perfect images would score.

    Returns:
        [{"title", "unit", "series": [{"name", "x", "y", "floor"}]}]; figures of one kind share a chart, but a metric
        and its parts ("swd", "swd_16") have one of their own.
    """
    grouped: dict[tuple[str, str], dict[str, Any]] = {}
    curves = series(records)
    metrics = sorted((name for name in curves if name.startswith("metric/")), key=len)
    for name, (x, y) in curves.items():
        kind, _, label = name.partition("/")
        if name in _LEFT_OUT or (kind == "metric" and label.endswith("_images")):
            continue
        if kind == "loss" and not label[:1].isupper():
            kind = "penalty"  # terms named as their player is ("G", "D") are its adversarial loss
        title, unit = _GROUPS.get(kind, (kind.replace("_", " ").capitalize(), ""))
        if kind == "metric":
            title = next(root for root in metrics if name == root or name.startswith(f"{root}_")).partition("/")[2]
        chart = grouped.setdefault((kind, title), {"title": title, "unit": unit, "series": []})
        x, y = thin(x, y)
        one = {"name": label or title, "x": [_short(value) for value in x], "y": [_short(value) for value in y]}
        chart["series"].append(one | {"floor": floors.get(label) if kind == "metric" else None})
    order = list(_GROUPS)
    return [grouped[key] for key in sorted(grouped, key=lambda key: order.index(key[0]) if key[0] in order else 99)]


def gaps(records: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Figure -> the kimg at which it first was NaN or infinite (null in the file)."""
    found: dict[str, float] = {}
    for record in records:
        for name, value in flatten(record):
            if value is None:
                found.setdefault(name, float(record["kimg"]))
    return found


def _short(value: float | None) -> float | None:
    """Six significant digits: what a screen can show, in half the bytes."""
    return None if value is None else float(f"{value:.6g}")
