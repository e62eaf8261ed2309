"""The report of a run: what it holds, what it does with what is broken, and that nothing in a name can break out."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest
from PIL import Image

from fastgan.report import write_report
from tests.report.synthetic import make_run


def shown(path: Path) -> dict:
    """What the page's script reads."""
    text = path.read_text(encoding="utf-8")
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(data)


def report(run: Path) -> dict:
    return shown(write_report(run))


def test_a_finished_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "faces")
    before = {path.name for path in run.iterdir()}
    path = write_report(run)
    assert path == run / "report.html" and {path.name for path in run.iterdir()} - before == {"report.html"}
    page = shown(path)
    assert (page["title"], page["subtitle"], page["state"]) == ("faces", "stylegan2 · emoji64 · 32×32", "finished")
    assert (page["kimg"], page["total"], page["notes"]) == (200.0, 200.0, [])
    assert [chart["title"] for chart in page["charts"]][:3] == ["swd", "Losses", "Penalties"]
    assert [len(s["x"]) for s in page["charts"][1]["series"]] == [100, 100]
    assert page["charts"][0]["series"][0]["floor"] == 17.07
    assert [kimg for kimg, _ in page["grids"]] == list(range(0, 201, 20))
    assert page["config"]["training"]["betas"] == [0.0, 0.99]
    assert page["config"]["environment"]["CPU threads"] == "2"
    assert page["warnings"] == ["--mirror flips images of flags: their mirror images are wrong"]
    assert ["swd", "22", "from 40 at 20 kimg, floor 17.07"] in page["tiles"]


def test_nothing_is_fetched(tmp_path: Path) -> None:
    text = write_report(make_run(tmp_path / "run")).read_text()
    assert "default-src 'none'" in text
    assert set(re.findall(r"https?://[^\"'` ]+", text)) == {"http://www.w3.org/2000/svg"}  # a name, not an address


def test_names_cannot_break_out(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><!-- @DATA@ @TITLE@ &amp; \u2028"
    run = make_run(tmp_path / "a<b>&@DATA@", source=evil)
    text = write_report(run).read_text(encoding="utf-8")
    assert "<title>a&lt;b&gt;&amp;@DATA@ · fastgan</title>" in text
    assert text.count("<script") == 2 and text.count("</script") == 2 and "<!-- @" not in text
    assert shown(run / "report.html")["config"]["data"]["source"] == evil


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    run = make_run(Path(os.fsdecode(os.fsencode(tmp_path) + b"/r\xff")))
    assert b"<title>r? " in write_report(run).read_bytes()


def test_a_run_that_goes_on_and_one_that_was_stopped(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", kimg=60)
    page = report(run)
    assert page["state"] == "running"
    assert abs(page["heard"] - time.time()) < 60  # the figures are newer than run.json
    assert page["patience"] == pytest.approx(3 * 20 * 1000 / 80, rel=0.2)  # three snapshots of 20 kimg
    assert page["reload"] == pytest.approx(20 * 1000 / 80 / 2, rel=0.2)
    journal = json.loads((run / "run.json").read_text()) | {"state": "stopped"}
    (run / "run.json").write_text(json.dumps(journal))
    assert report(run)["state"] == "stopped"


def test_many_grids_are_thinned_and_the_page_stays_small(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    for kimg in range(1000, 1300):
        os.link(run / "grid-000200.png", run / f"grid-{kimg:06d}.png")
    page = report(run)
    assert 30 <= len(page["grids"]) <= 60 and page["grids_of"] == 311
    assert (page["grids"][0][0], page["grids"][-1][0]) == (0, 1299)


def test_warnings_that_the_figures_give(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with (run / "stats.jsonl").open("a") as stats:
        stats.write('{"kimg": 202.0, "loss/G": null, "skipped/G": 2, "nonfinite/loss/G": 8, "rollbacks": 1}\n')
        stats.write('{"kimg": 204, "loss/G": null, "skipped/G": 5, "nonfinite/loss/G": 4, "rollbacks": 2}\n')
    assert report(run)["warnings"][1:] == [
        "5 updates of G were skipped: their gradients were not finite",
        "12 values of loss/G were not finite",
        "training went back to an earlier checkpoint 2 times",
        "loss/G was not finite, first at 202 kimg",
    ]


def break_stats(run: Path) -> None:
    (run / "stats.jsonl").write_text('nonsense\n{"kimg": 1}\n')


def break_config(run: Path) -> None:
    (run / "config.json").write_text("[1, 2")


def break_journal(run: Path) -> None:
    (run / "run.json").write_text("[1, 2]")


def break_grid(run: Path) -> None:
    (run / "grid-000020.png").write_bytes((run / "grid-000020.png").read_bytes()[:200])


BROKEN = {
    break_stats: r"stats\.jsonl, line 1: expected a JSON object",
    break_config: r"config\.json cannot be read",
    break_journal: r"run\.json cannot be read: expected a JSON object",
    break_grid: r"grid-000020\.png is no readable image",
    (lambda run: (run / "stats.jsonl").unlink()): "stats.jsonl is missing",
    (lambda run: (run / "config.json").unlink()): "config.json is missing",
    (lambda run: (run / "run.json").unlink()): "run.json is missing",
    (lambda run: (run / "reals.png").unlink()): "reals.png is missing",
    (lambda run: (run / "reals.png").write_text("x")): r"reals\.png is no readable image",
}


@pytest.mark.parametrize(("damage", "note"), BROKEN.items(), ids=[str(i) for i in range(len(BROKEN))])
def test_what_is_broken_empties_its_section_alone(tmp_path: Path, damage, note: str) -> None:
    run = make_run(tmp_path / "run")
    whole = report(run)
    damage(run)
    page = report(run)
    assert len(page["notes"]) == 1 and re.search(note, page["notes"][0])
    unlike = {name for name in whole if page[name] != whole[name]} - {"notes", "heard", "patience", "reload"}
    allowed = {
        "stats": {"charts", "tiles", "kimg", "state"},
        "config": {"config", "subtitle", "tiles", "total", "state"},
        "run": {"config", "charts", "tiles", "warnings", "begun"},
        "grid": {"grids"},
        "reals": {"reals"},
    }
    assert unlike and unlike <= next(names for part, names in allowed.items() if part in note)


def test_half_a_line_is_a_line_not_there_yet(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with (run / "stats.jsonl").open("a") as stats:
        stats.write('{"kimg": 202.0, "lo')
    assert report(run)["kimg"] == 200.0 and report(run)["notes"] == []


@pytest.mark.parametrize("odd", ["{}", '{"training": 3, "data": [], "architecture": {"resolution": "x"}}'])
def test_a_strange_configuration_is_shown_as_far_as_it_goes(tmp_path: Path, odd: str) -> None:
    run = make_run(tmp_path / "run")
    (run / "config.json").write_text(odd)
    assert report(run)["charts"]


def test_a_run_before_its_first_figures(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text("{}")
    (run / "stats.jsonl").touch()
    page = report(run)
    assert page["charts"] == page["grids"] == page["tiles"] == [] and page["kimg"] == 0


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "grid-000000.png")
    with pytest.raises(ValueError, match=r"holds no run: it has neither config\.json nor stats\.jsonl"):
        write_report(tmp_path)
    with pytest.raises(ValueError, match="is no folder"):
        write_report(tmp_path / "gone")
    assert not (tmp_path / "report.html").exists()


def test_another_file_may_be_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    assert write_report(run, tmp_path / "x.html") == tmp_path / "x.html"
    assert not (run / "report.html").exists() and shown(tmp_path / "x.html")["title"] == "run"
