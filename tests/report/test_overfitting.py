"""What a report says of a D that knows its images by heart, and what it does not say of one that does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from fastgan.report.overfitting import overfitting


def course(**figures: Sequence[float | None]) -> list[dict[str, Any]]:
    names = [name.replace("__", "/") for name in figures]
    lines = zip(*figures.values(), strict=True)
    return [{"kimg": kimg} | dict(zip(names, values, strict=True)) for kimg, values in enumerate(lines)]


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([], None),
        (course(overfit__r_v=[0.0] * 8 + [0.6, 0.7]), "held out 65% of the way for generated ones (r_v 0.65"),
        (course(overfit__r_v=[0.9] * 8 + [0.4, 0.4]), None),  # late in the run it does not
        (course(overfit__r_v=[1.0, 1.8]), "held out 100% of the way for generated ones (r_v 1.80"),
        (course(overfit__r_t=[0.2] * 8 + [0.95, 0.97]), "D is sure of nearly every real image (r_t 0.96"),
        (course(overfit__r_t_a=[0.5] * 5, overfit__r_t_b=[0.99] * 5), "D_b is sure of nearly every real image"),
        (course(overfit__r_t=[0.8] * 10), None),
        (course(overfit__r_t=[0.95] * 10, augment__p=[0.1] * 10), None),  # p is on its way
        (course(overfit__r_t=[0.95] * 10, overfit__r_v=[0.1] * 10), None),  # images held out know better
        (course(overfit__r_v=[None, 0.7]), "r_v 0.70"),
    ],
)  # fmt: skip
def test_what_is_said(records: list[dict[str, Any]], said: str | None) -> None:
    found = overfitting(records)
    assert [said in sentence for sentence in found] == [True] if said else found == []
