from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest

from fastgan.report import StatsWriter, read_stats


def test_a_line_is_in_the_file_as_soon_as_it_is_written(tmp_path: Path) -> None:
    stats = StatsWriter(tmp_path / "s.jsonl")
    stats.write({"kimg": 1.0, "loss": {"G": 0.5}})
    assert read_stats(tmp_path / "s.jsonl") == [{"kimg": 1.0, "loss": {"G": 0.5}}]
    stats.write({"kimg": 2, "name": "a\nb"})
    assert read_stats(tmp_path / "s.jsonl")[1] == {"kimg": 2, "name": "a\nb"}


def test_what_is_not_finite_is_null(tmp_path: Path) -> None:
    StatsWriter(tmp_path / "s.jsonl").write({"kimg": 1.0, "loss": {"G": math.nan, "D": [math.inf, 1.0]}})

    def no_constants(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    line = json.loads((tmp_path / "s.jsonl").read_text(), parse_constant=no_constants)
    assert line == {"kimg": 1.0, "loss": {"G": None, "D": [None, 1.0]}}


def write(path: Path, kimgs: list[float], resume: float | None = None) -> list[float]:
    stats = StatsWriter(path, resume_kimg=resume)
    for kimg in kimgs:
        stats.write({"kimg": kimg, "resumed": resume is not None})
    return [record["kimg"] for record in read_stats(path)]


def test_resuming_drops_the_lines_after_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    assert write(path, [1.0, 2.0, 3.0, 4.0]) == [1.0, 2.0, 3.0, 4.0]
    assert write(path, [2.5, 3.5], resume=2.0) == [1.0, 2.0, 2.5, 3.5]
    assert [record["resumed"] for record in read_stats(path)] == [False, False, True, True]
    assert write(path, [0.5], resume=0.0) == [0.5]
    assert list(tmp_path.iterdir()) == [path]


def test_a_fresh_run_begins_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    write(path, [1.0, 2.0])
    assert write(path, [5.0]) == [5.0]


def test_resuming_without_a_file_begins_one(tmp_path: Path) -> None:
    assert write(tmp_path / "s.jsonl", [3.0], resume=2.0) == [3.0]


def test_an_unfinished_last_line_is_passed_over_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    write(path, [1.0, 2.0])
    path.write_text(path.read_text() + '{"kimg": 3.0, "los')
    assert [record["kimg"] for record in read_stats(path)] == [1.0, 2.0]
    assert write(path, [3.0], resume=2.5) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("line", [b"nonsense", b"[1]", b'{"loss": 1}', b'{"kimg": "many"}', b"", b'{"kimg": "\xff"}'])
def test_a_foreign_line_is_named_and_the_file_left_alone(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "s.jsonl"
    path.write_bytes(b'{"kimg": 1}\n' + line + b'\n{"kimg": 2}\n')
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"s\.jsonl, line 2: expected a JSON object with \"kimg\""):
        StatsWriter(path, resume_kimg=1.0)
    assert path.read_bytes() == before


def test_records_without_kimg_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='must hold "kimg"'):
        StatsWriter(tmp_path / "s.jsonl").write({"loss": 1.0})


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run" / "s.jsonl"
    path.parent.mkdir()
    stats = StatsWriter(path)
    path.unlink()
    path.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device") as caught:
        stats.write({"kimg": 1.0})
    assert caught.value.filename == str(path)
    shutil.rmtree(path.parent)
    with pytest.raises(FileNotFoundError) as caught:
        stats.write({"kimg": 2.0})
    assert caught.value.filename == str(path)
