"""Metrics answer to noise, blur, missing classes and leaked images as they should, each by its own figure."""

from __future__ import annotations

import itertools

import pytest

from bench.metric_responses import responses
from fastgan.data import load_dataset


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, float]]:
    return responses(load_dataset("emoji64", resolution=(32, 32)), "wavelet", most=600)


def along(found: dict[str, dict[str, float]], figure: str, *faults: str) -> list[float]:
    return [found[fault][figure] for fault in faults]


@pytest.mark.parametrize("kind", ["noise", "blur"])
def test_distances_grow_and_shares_fall_with_a_fault(found: dict[str, dict[str, float]], kind: str) -> None:
    faults = ["none", *(fault for fault in found if fault.startswith(kind))]
    assert len(faults) == 4
    for figure, grows in (("kid", True), ("fd", True), ("recall", False), ("coverage", False)):
        values = along(found, figure, *faults)
        assert all(a < b if grows else a > b for a, b in itertools.pairwise(values)), (figure, values)
    assert found[faults[-1]]["precision"] < found["none"]["precision"] - 0.1


def test_missing_classes_lower_recall_and_coverage_and_leave_precision(found: dict[str, dict[str, float]]) -> None:
    faults = ["none", "4 of 9 classes", "1 of 9 classes"]
    for figure in ("recall", "coverage"):
        values = along(found, figure, *faults)
        assert values[1] < 0.75 * values[0] and values[2] < 0.5 * values[0]
    assert min(along(found, "precision", *faults)) > found["none"]["precision"] - 0.03
    assert found["1 of 9 classes"]["kid"] > 10 * abs(found["none"]["kid"])


def test_leaked_images_are_counted_and_nothing_else_sees_them(found: dict[str, dict[str, float]]) -> None:
    copies = {fault: figures["copies"] for fault, figures in found.items()}
    assert copies.pop("a quarter leaked") > 0.25
    assert max(copies.values()) < 0.08
    assert found["a quarter leaked"]["kid"] < found["noise 15"]["kid"] / 10
