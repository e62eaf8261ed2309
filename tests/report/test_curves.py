from __future__ import annotations

import math

from fastgan.report.curves import charts, gaps, series, thin


def test_series_are_by_flattened_name_with_gaps_where_nothing_was_finite() -> None:
    records = [
        {"kimg": 1, "loss": {"G": 0.5}, "note": "x"},
        {"kimg": 2.0, "loss/G": None},
        {"kimg": 3, "score/real": 1},
    ]
    curves = series(records)
    assert curves["loss/G"] == ([1.0, 2.0], [0.5, None])
    assert curves["score/real"] == ([3.0], [1.0])
    assert "note" not in curves


def test_a_figure_that_never_was_finite_is_no_curve_but_is_told() -> None:
    records = [{"kimg": 1.0, "loss/G": None, "a": 1}, {"kimg": 2.0, "loss/G": None, "a": None}]
    assert "loss/G" not in series(records)
    assert gaps(records) == {"loss/G": 1.0, "a": 2.0}


def test_thinning_keeps_ends_extremes_and_gaps() -> None:
    x = [float(i) for i in range(10_000)]
    y: list[float | None] = [math.sin(i / 700) for i in range(10_000)]
    y[4321], y[6543], y[7777] = 50.0, -50.0, None
    got_x, got_y = thin(x, y, 300)
    assert len(got_x) == len(got_y) <= 300
    assert (got_x[0], got_x[-1]) == (0.0, 9999.0)
    assert got_x == sorted(got_x)
    kept = dict(zip(got_x, got_y, strict=True))
    assert (kept[4321.0], kept[6543.0], kept[7777.0]) == (50.0, -50.0, None)
    # evenly: no stretch of the curve is far from a kept point
    assert max(b - a for a, b in zip(got_x, got_x[1:], strict=False)) < 2 * 10_000 / 99


def test_a_short_curve_stays_as_it_is() -> None:
    assert thin([1.0, 2.0], [3.0, None], 5) == ([1.0, 2.0], [3.0, None])


def test_figures_of_a_kind_share_a_chart() -> None:
    record = {
        "kimg": 1.0, "step": 5, "seconds_per_kimg": 10.0, "images_per_second": 100.0, "memory_gib": 0.5, "loss/G": 1.0,
        "loss/D": 2.0, "loss/r1": 0.1, "score/real": 1.0, "score/fake": -1.0, "skipped/G": 3, "metric/swd": 30.0,
        "metric/swd_16": 29.123456789, "metric/swd_images": 1000.0, "metric/fid": 9.0, "own_figure": 7.0,
    }  # fmt: skip
    found = {chart["title"]: [s["name"] for s in chart["series"]] for chart in charts([record], {"swd": 17.0})}
    assert found == {
        "swd": ["swd", "swd_16"],
        "fid": ["fid"],
        "Losses": ["G", "D"],
        "Penalties": ["r1"],
        "D's mean logits": ["real", "fake"],
        "Throughput": ["Throughput"],
        "Peak memory": ["Peak memory"],
        "Skipped updates": ["G"],
        "Own figure": ["Own figure"],
    }
    swd = charts([record], {"swd": 17.0})[0]["series"]
    assert [(s["floor"], s["y"]) for s in swd] == [(17.0, [30.0]), (None, [29.1235])]
