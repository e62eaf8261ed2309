from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fastgan.bench import ops
from fastgan.cli.main import main
from tests.bench.test_measure import small
from tests.bench.test_ops import ROOFS


def test_the_verb_measures_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ops, "cases", lambda device, names, quick: [small(names[0])])
    monkeypatch.setattr(ops, "measure_roofs", lambda *a, **k: ROOFS)
    file = tmp_path / "ops.json"
    given = "bench ops --op bias_act --device cpu --dtype bf16 --layout channels_last --seconds 0.001 --no-compile"
    assert main([*given.split(), "--threads", "1", "--json", str(file)]) == 0
    text = capsys.readouterr().out
    assert "bias_act lrelu bias clamp, bf16 channels_last" in text and text.endswith(f"wrote {file}\n")
    assert json.loads(file.read_text())["complete"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "ops", "--device", "cuda"]) == 2
    assert capsys.readouterr().err.startswith("fastgan: error: --device cuda: ")


def test_what_to_time_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench"]) == 2
    assert capsys.readouterr().err.startswith("fastgan: error: WHAT (ops, roofline) must be given; ")
