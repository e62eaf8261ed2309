"""A collapse that is planted in a real training is told; the same training without it says nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastgan.cli.main import main
from fastgan.report import diagnosis, read_stats

pytestmark = pytest.mark.thorough

DCGAN = [
    "--cfg", "dcgan", "--data", "emoji64", "--resolution", "32", "--cbase", "512", "--cmax", "64", "--batch", "16",
    "--tick", "0.1", "--snap", "3", "--kimg", "1.2", "--device", "cpu", "--threads", "1",
]  # fmt: skip


@pytest.mark.parametrize(("rate", "told"), [("0.0002", False), ("0.004", True)], ids=["healthy", "20 times"])
def test_a_learning_rate_of_g_that_is_20_times_too_high(tmp_path: Path, capsys, rate: str, told: bool) -> None:
    assert main(["train", "--outdir", str(tmp_path), *DCGAN, "--glr", rate]) == 0
    records = read_stats(tmp_path / "stats.jsonl")
    found = [diagnosis(records[:count]) for count in range(1, len(records) + 1)]
    first = next((record["kimg"] for record, each in zip(records, found, strict=True) if each), None)
    assert (first is not None and first <= 1.0) == told
    assert {finding.name for each in found for finding in each} == ({"mode collapse"} if told else set())
    assert ("warning: mode collapse since" in " ".join(capsys.readouterr().out.split())) == told
