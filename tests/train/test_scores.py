"""The checkpoint that is best by a metric stays, whatever comes after it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fastgan.checkpoint import checkpoints
from fastgan.choices import METRICS
from fastgan.config.data import DataOptions
from fastgan.config.options import replace
from fastgan.data import load_dataset
from fastgan.metrics import Metric
from fastgan.models.registry import family
from fastgan.report import TrainingDisplay
from fastgan.train.config import RunConfig
from fastgan.train.resuming import Origin
from fastgan.train.run import Run
from fastgan.train.scores import Scores

DEVICE = torch.device("cpu")
VALUES = [3.0, 1.0, 2.0, float("nan"), 5.0]
HERE = "tests.train.test_scores"


class Nothing:
    def __init__(self, images: int, extractor: Any) -> None: ...

    def take(self, images: Tensor) -> None: ...

    def result(self) -> None: ...


given: Iterator[float] = iter(())
PLANTED = Metric(Nothing, lambda real, fake: {"planted": next(given)}, images=2)
HIGHER = dataclasses.replace(PLANTED, better="higher")


@pytest.fixture(autouse=True)
def _named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "planted", f"{HERE}:PLANTED")
    monkeypatch.setattr(f"{HERE}.given", iter(VALUES))


def run(outdir: Path, kimg: float = 0.02, origin: Origin | None = None, **given: Any) -> Run:
    options = {
        "batch": 4,
        "kimg": kimg,
        "tick": 0.004,
        "snap": 1,
        "keep": 1,
        "metrics": ("planted",),
        "best": "planted",
    }
    options = replace(family("dcgan").options(), "training", **options | given)
    data = DataOptions(classes=("smileys/faces",), resolution=(16, 16), max_images=8)
    architecture = {"resolution": (16, 16), "channel_base": 64, "channel_max": 8, "z_dim": 4}
    sets = {"image": load_dataset(data.source, **data.how())}
    return Run(RunConfig("dcgan", architecture, data, options), sets, outdir, DEVICE, origin)


def train(run: Run) -> list[str]:
    with TrainingDisplay(0.02, "test") as display:
        assert run.train(lambda: False, display)
    return [path.name for path in checkpoints(run.outdir)]


def test_the_best_and_the_newest_stay(tmp_path: Path) -> None:
    trained = run(tmp_path)
    # 1.0 was found at 8 images; what is not finite is best of nothing.
    assert train(trained) == ["checkpoint-000000.008.safetensors", "checkpoint-000000.020.safetensors"]
    assert (
        f"best planted: 1 at 0.008 kimg, kept as {tmp_path / 'checkpoint-000000.008.safetensors'}" in trained.summary()
    )


def test_a_run_that_goes_on_knows_its_best(tmp_path: Path) -> None:
    train(run(tmp_path, kimg=0.012))
    origin = Origin.read(tmp_path / "checkpoint-000000.012.safetensors")
    assert train(run(tmp_path, origin=origin)) == [
        "checkpoint-000000.008.safetensors",
        "checkpoint-000000.020.safetensors",
    ]


def test_a_figure_that_grows_as_it_gets_better(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "planted", f"{HERE}:HIGHER")
    monkeypatch.setattr(f"{HERE}.given", iter([1.0, 4.0, 3.0, 2.0, 2.0]))
    assert train(run(tmp_path))[0] == "checkpoint-000000.008.safetensors"


def test_none_is_kept_unless_it_is_asked_for(tmp_path: Path) -> None:
    assert train(run(tmp_path, best=None)) == ["checkpoint-000000.020.safetensors"]


def test_a_figure_that_is_not_measured_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="best must be one of planted, got 'swd'"):
        run(tmp_path, best="swd")
    with pytest.raises(ValueError, match="best must be a figure of the metrics, of which there are none; got 'swd'"):
        run(tmp_path, best="swd", metrics=())
    with pytest.raises(ValueError, match="metrics: eqt50k_int is of generators that can move their pictures"):
        run(tmp_path, best=None, metrics=("eqt50k_int",))


def test_another_process_measures_nothing(tmp_path: Path) -> None:
    trained = run(tmp_path)
    idle = Scores(trained.config, trained.game, DEVICE, tmp_path, trained.journal, measures=False)
    assert idle.measure(1.0, None) == {} and idle.best() is None and idle.summary() == []
