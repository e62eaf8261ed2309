from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from fastgan.report import TrainingDisplay
from fastgan.report.progress import flatten, format_duration

STATS = {
    "images_per_second": 81.234,
    "seconds_per_kimg": 12.31,
    "loss": {"G adversarial": 0.7312, "D r1": math.nan},
    "score": {"real": 0.51, "fake": -0.44},
    "memory_gib": 1.234,
    "p": 0.125,
    "metric/swd": 32.44,
}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def shown(width: int, *, terminal: bool, feed: bool = True) -> str:
    out, clock = io.StringIO(), Clock()
    console = Console(file=out, width=width, force_terminal=terminal, highlight=False, color_system=None)
    with TrainingDisplay(60, "stylegan2 on emoji64", console=console, clock=clock) as display:
        if feed:
            display.update(kimg=10.0, stats=STATS)
            clock.now += 50
            display.update(kimg=20.0, stats={"checkpoint": "runs/a/network.safetensors"}, message="all is well")
            display.note("wrote [a] file")
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_the_panel_fits_and_shows_everything(width: int) -> None:
    text = shown(width, terminal=True)
    last = text[text.rindex("╭") :]
    lines = [line for line in last.splitlines() if line.startswith(("╭", "│", "╰"))]
    assert {len(line) for line in lines} == {width}
    for part in (
        "stylegan2 on emoji64", "20.0/60 kimg", "50s gone, 3m20s left", "81.2", "12.31", "G adversarial", "0.7312",
        "nan", "D(real)", "+0.510", "D(fake)", "-0.440", "1.23 GiB", "0.125", "swd  ",
        "last checkpoint  runs/a/network.safetensors", "all is well",
    ):  # fmt: skip
        assert part in last, part
    assert "wrote [a] file" in text


def test_without_a_terminal_each_update_is_one_line() -> None:
    lines = shown(40, terminal=False).splitlines()
    assert lines == [
        "stylegan2 on emoji64",
        "kimg 10.00/60 (17%)  left 10m16s  img/s 81.2  s/kimg 12.31  G adversarial 0.7312  D r1 nan  D(real) +0.510  "
        "D(fake) -0.440  memory 1.23 GiB  p 0.125  swd 32.44",
        "kimg 20.00/60 (33%)  left 3m20s  checkpoint runs/a/network.safetensors  all is well",
        "wrote [a] file",
    ]


def test_a_display_without_figures_can_be_shown() -> None:
    assert "0.0/60 kimg" in shown(80, terminal=True, feed=False)


def test_a_resumed_run_is_timed_from_where_it_began() -> None:
    out, clock = io.StringIO(), Clock()
    console = Console(file=out, width=200, force_terminal=False)
    with TrainingDisplay(60, "t", console=console, clock=clock) as display:
        display.update(kimg=50.0)
        clock.now += 10
        display.update(kimg=55.0)
        display.update(kimg=60.0)
    assert [line.split("left ")[1] for line in out.getvalue().splitlines()[1:]] == ["?", "10s", "0s"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (-3, "0s"), (59.4, "59s"), (59.6, "1m00s"), (3599, "59m59s"), (7620, "2h07m"), (97200, "1d03h"),
     (math.inf, "?")],
)  # fmt: skip
def test_durations_read_well(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_nested_figures_are_named_by_path() -> None:
    assert list(flatten({"a": {"b": {"c": 1}}, "d": None})) == [("a/b/c", 1), ("d", None)]
