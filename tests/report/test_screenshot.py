"""The report as a browser shows it: pixels, document, keys, and no word to the network."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from fastgan.report import write_report
from fastgan.report.grid import save_image
from fastgan.report.measured import NEAREST, add_lines
from tests.report.browser import visit
from tests.report.synthetic import GENERATED, REAL, figures, make_run

BOXES = """
tell("grid", box("#grid")); tell("reals", box("#reals")); tell("width", document.documentElement.scrollWidth);
tell("charts", run.charts.map((chart, i) => [chart.title, box(`#chart${i} svg`)]));
tell("colours", [0, 1].map(i => getComputedStyle(document.querySelectorAll("#chart1 path.curve")[i]).stroke));
tell("state", $("state").textContent); tell("images", document.images.length);
tell("loaded", [...document.images].every(image => image.complete && image.naturalWidth));
"""


def near(pixels: np.ndarray, colour: tuple[int, ...], tolerance: int = 40) -> np.ndarray:
    """Where pixels [..., 3] are of a colour."""
    return np.abs(pixels.astype(int) - np.array(colour)).max(-1) <= tolerance


def rgb(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])


def check_clean(seen) -> None:
    assert seen.console == []
    assert seen.requests == []
    assert not re.search(r"undefined|NaN|Infinity|\[object", seen.dom)


@pytest.mark.parametrize(
    ("size", "dark"),
    [((1280, 2600), False), ((1280, 2600), True), ((520, 5200), False)],
    ids=["light", "dark", "narrow"],
)
def test_a_report_as_it_is_seen(chromium: str, tmp_path: Path, size: tuple[int, int], dark: bool) -> None:
    page = write_report(make_run(tmp_path / "run"))
    seen = visit(chromium, page, tmp_path / "visit", probe=BOXES, size=size, dark=dark)
    check_clean(seen)
    told = seen.told
    assert (told["images"], told["loaded"], told["state"]) == (2, True, "finished")
    assert told["width"] <= size[0]  # nothing sticks out
    assert (seen.pixels[3, 3].max() < 60) if dark else (seen.pixels[3, 3].min() > 230)
    # The newest grid and the real images are there, in their colours.
    for name, colour in (("grid", GENERATED), ("reals", REAL)):
        assert near(seen.region(told[name]), colour, 25).mean() > 0.6, name
    # Every chart has ink; the two losses run over the whole width in colours of their own.
    for title, box in told["charts"]:
        region = seen.region(box)
        assert (np.ptp(region.reshape(-1, 3), axis=0) > 60).any(), title
    (losses,) = (seen.region(box) for title, box in told["charts"] if title == "Losses")
    for colour in told["colours"]:
        drawn = near(losses, rgb(colour)).max(axis=0)
        assert drawn[55:-25].mean() > 0.9, colour
    curves = re.findall(r'<path class="curve"[^>]* d="([^"]*)"', seen.dom)
    assert len(curves) == 9 and sorted({len(re.findall("[ML]", curve)) for curve in curves}) == [10, 100]
    assert "floor 17.07" in seen.dom and "a processor" in seen.dom and "mirror images are wrong" in seen.dom


def test_what_was_measured_is_shown_beside_the_nearest_real_images(chromium: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    line = {"network": "runs/a/checkpoint-000200.safetensors", "figure": "kid_wavelet", "value": 0.25, "low": 0.125}
    add_lines(run, [line | {"high": 0.5, "floor": 0.0625, "floor_images": 20, "extractor": "wavelet"}])
    save_image(torch.full((3, 40, 60), 100, dtype=torch.uint8), run / NEAREST)
    probe = """
    tell("cells", [...document.querySelectorAll("#figures td")].map(cell => cell.textContent));
    tell("nearest", box("#nearest img")); tell("width", document.documentElement.scrollWidth);
    tell("loaded", [...document.images].map(image => image.complete && image.naturalWidth > 0));
    """
    seen = visit(chromium, write_report(run), tmp_path / "visit", probe=probe, size=(1280, 3200))
    check_clean(seen)
    expected = ["checkpoint-000200.safetensors", "kid_wavelet", "0.25", "0.125 to 0.5", "0.0625 (2 × 20)"]
    assert seen.told["cells"] == [*expected, "", "", "wavelet", ""]
    assert seen.told["loaded"] == [True] * 3 and seen.told["width"] <= 1280
    assert near(seen.region(seen.told["nearest"]), (100, 100, 100), 25).mean() > 0.9


def test_keys_move_through_time_and_play(chromium: str, tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path / "run"))
    probe = """
    tell("grid", box("#grid")); const at = name => tell(name, [$("time").textContent, +$("slider").value]);
    at("first"); press("ArrowLeft"); at("left"); press("ArrowRight"); press("ArrowRight"); at("end");
    press("ArrowLeft"); press(" "); at("playing"); setTimeout(() => { at("played"); press("Home"); at("home"); }, 1500);
    """
    seen = visit(chromium, page, tmp_path / "visit", probe=probe, seconds=5)
    check_clean(seen)
    told = seen.told
    assert told["first"] == told["end"] == ["200 kimg", 10]
    assert told["left"] == told["playing"] == ["180 kimg", 9]
    assert told["played"] == ["200 kimg", 10]
    assert told["home"] == ["0 kimg", 0]
    assert near(seen.region(told["grid"]), (128, 128, 128), 25).mean() > 0.6  # where training began


def test_charts_answer_the_pointer(chromium: str, tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path / "run"))
    probe = """
    const chart = charts[1], svg = chart.svg, r = svg.getBoundingClientRect();
    const at = kimg => ({clientX: r.left + chart.X(kimg), clientY: r.top + 50, pointerId: 1, bubbles: true});
    const legend = i => document.querySelector(`#chart${i} .legend`).textContent;
    const y = () => document.querySelector("#chart1 path.curve").getAttribute("d");
    svg.setPointerCapture = () => {};
    tell("rest", legend(1));
    const point = (kind, kimg) => svg.dispatchEvent(new PointerEvent(`pointer${kind}`, at(kimg)));
    point("move", 100); tell("hover", [legend(1), legend(2)]);
    point("down", 62); point("up", 62); tell("click", $("time").textContent);
    point("down", 150); point("up", 50);
    tell("zoom", view.range); tell("zoomed", legend(1));
    svg.dispatchEvent(new MouseEvent("dblclick", {})); tell("all", view.range);
    svg.dispatchEvent(new PointerEvent("pointerleave", {}));
    const before = y(); chart.log.click(); tell("log", [chart.log.getAttribute("aria-pressed"), y() !== before]);
    tell("no log", charts[3].log.hidden);
    $("smooth").value = 0.9; $("smooth").dispatchEvent(new Event("input"));
    tell("raw", document.querySelectorAll("#chart1 path.raw").length);
    """
    seen = visit(chromium, page, tmp_path / "visit", probe=probe)
    check_clean(seen)
    told = seen.told
    there = figures(100.0)
    assert told["hover"][0] == f"G {there['loss/G']:.4g}D {there['loss/D']:.4g}at 100 kimg"
    assert told["hover"][1] == "r1 0.25at 100 kimg"  # all charts answer, not the one alone
    assert "at" not in told["rest"].replace("kimg", "") and told["rest"] != told["hover"][0]
    assert told["click"] == "60 kimg"
    assert told["zoom"] == [pytest.approx(50), pytest.approx(150)] and told["all"] is None
    assert told["log"] == ["true", True]
    assert told["no log"] is True  # D's logits are negative as well
    assert told["raw"] == 2


@pytest.mark.parametrize(("kimg", "times"), [(60, 1), (200, 0)], ids=["running", "finished"])
def test_a_run_that_goes_on_is_read_again_where_the_reader_was(
    chromium: str, tmp_path: Path, kimg: int, times: int
) -> None:
    """The reading itself is the browser's; here its moment, and what the page knows before and after."""
    page = write_report(make_run(tmp_path / "run", kimg=kimg))
    page.write_text(re.sub(r'"reload":[\d.]+', '"reload":5', page.read_text()))
    probe = """
    let times = 0; tell("times", 0);
    readAgain = () => { readAgain = () => {}; tell("times", ++times); tell("after", performance.now());
                        tell("kept", sessionStorage.getItem(key)); };
    show(1); tell("state", $("state").textContent);
    """
    told = visit(chromium, page, tmp_path / "visit", probe=probe, seconds=12).told
    assert told["times"] == times and told["state"] == ("running" if times else "finished")
    if times:
        assert told["after"] > 4500
        kept = told["kept"]
        text = page.read_text().replace("<header>", f"<script>sessionStorage.getItem = () => '{kept}'</script><header>")
        page.write_text(text.replace("sessionStorage.getItem =", "Storage.prototype.getItem ="))
        told = visit(chromium, page, tmp_path / "again", probe='tell("time", $("time").textContent)').told
        assert told["time"] == "20 kimg"


def test_a_run_not_heard_of_for_long_is_not_called_running(chromium: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", kimg=60)
    os.utime(run / "stats.jsonl", (1.7e9, 1.7e9))
    assert visit(chromium, write_report(run), tmp_path / "visit", probe=BOXES).told["state"] == "no news"


@pytest.mark.parametrize("left", [(), ("stats.jsonl",), ("config.json",)], ids=["nothing", "figures", "configuration"])
def test_a_run_without_its_pieces_is_shown_all_the_same(chromium: str, tmp_path: Path, left: tuple[str, ...]) -> None:
    run = make_run(tmp_path / "run")
    for path in run.iterdir():
        if path.name not in left:
            path.unlink()
    if not left:
        (run / "config.json").write_text("[")
    seen = visit(chromium, write_report(run), tmp_path / "visit")
    check_clean(seen)
    assert "No grids yet." in seen.dom and "Note: " in seen.dom
    assert ("No figures yet." in seen.dom) == (left != ("stats.jsonl",))


def test_these_tests_would_see_an_error_and_a_request(chromium: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<!doctype html><img src='https://example.com/a.png'><script>undefinedFunction()</script>")
    seen = visit(chromium, page, tmp_path / "visit")
    assert seen.requests == ["https://example.com/a.png"]
    assert len(seen.console) == 1 and "undefinedFunction is not defined" in seen.console[0]
