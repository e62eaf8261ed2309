"""Images that break, are mended or stand in for others between two parts of a run, and runs beside their data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fastgan.checkpoint import load_checkpoint
from fastgan.cli.main import main
from fastgan.train.folder import latest_checkpoint
from tests.cli.test_moved_data import NETWORKS, begin, draw, go_on, make, refusal


def test_an_image_that_breaks_or_is_mended_makes_other_data(tmp_path, capsys) -> None:
    """Left out of a set in memory, it would shift every image after it, and with them the order."""
    data, run = make(tmp_path / "set"), tmp_path / "run"
    whole = (data / "cats" / "03.png").read_bytes()
    begin(data, run)
    (data / "cats" / "03.png").write_bytes(whole[:60])
    assert "1 image cannot be read any more" in refusal(capsys, run, "--skip-broken")
    begin(data, tmp_path / "other", "--skip-broken")
    (data / "cats" / "03.png").write_bytes(whole)
    assert "1 image that had been left out can be read now" in refusal(capsys, tmp_path / "other", "--skip-broken")
    draw(data / "cats" / "03.png", 77)
    assert "1 image that had been left out can be read now" in refusal(capsys, tmp_path / "other")


def test_a_run_that_left_an_image_out_goes_on_without_it(tmp_path, capsys) -> None:
    data, run = make(tmp_path / "set"), tmp_path / "run"
    (data / "cats" / "03.png").write_bytes(b"broken")
    begin(data, run, "--skip-broken", "--cond")
    assert go_on(run) == 0
    path = latest_checkpoint(run)
    assert path is not None
    checksums = load_checkpoint(path)[0]["data"]["checksums"]
    assert len(checksums) == 12 and int((checksums < 0).sum()) == 1
    swapped = [[path.relative_to(data).as_posix(), int(path.parent.name == "cats")] for path in data.rglob("*.png")]
    (data / "dataset.json").write_text(json.dumps({"labels": swapped, "classes": ["cats", "dogs"]}))
    assert "other labels or class names" in refusal(capsys, run)


def test_pictures_of_a_run_do_not_become_its_data(tmp_path, capsys) -> None:
    data = make(tmp_path / "set")
    assert main(["train", "--data", str(data), *NETWORKS, "--outdir", str(data / "run"), "--kimg", "0.008"]) == 2
    assert "--outdir must lie outside of the data" in " ".join(capsys.readouterr().err.split())
    assert not (data / "run").exists()


@pytest.mark.parametrize("source", ["b", "emoji64"])
def test_another_source_written_into_a_configuration_is_the_one_that_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make(Path("a"))
    make(Path("b"), 14)
    begin("a", Path("run"))
    tree = json.loads(Path("run/config.json").read_text())
    assert tree["data"]["path"] == str(tmp_path / "a")
    tree["data"]["source"] = source
    Path("mine.json").write_text(json.dumps(tree))
    capsys.readouterr()
    assert main(["train", "--config", "mine.json", "-n"]) == 0
    assert f"{14 if source == 'b' else 1852} images" in capsys.readouterr().out
