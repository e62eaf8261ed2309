from __future__ import annotations

from pathlib import Path

import pytest

from fastgan.cli.main import main
from tests.report.synthetic import make_run


def test_the_page_is_written_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run")
    assert main(["report", str(run)]) == 0
    assert main(["report", str(run), "--out", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().out.splitlines() == [f"wrote {run}/report.html", f"wrote {tmp_path}/page.html"]
    assert (run / "report.html").read_bytes() == (tmp_path / "page.html").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone"], "gone is no folder; expected a run's, as `fastgan train --outdir` makes it"),
        (
            ["."],
            ". holds no run: it has neither config.json nor stats.jsonl; expected the --outdir of a `fastgan train`",
        ),
        (["run", "--out", "no/x.html"], "no/x.html: the folder no does not exist"),
    ],
)
def test_errors_are_worded(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    make_run(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    assert main(["report", *arguments]) == 2
    assert capsys.readouterr().err == f"fastgan: error: {message}\n"
