"""Metrics stream, share their passes, keep what they know of the reals, and are added by one file and one line."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fastgan.choices import EXTRACTORS, METRICS
from fastgan.data import ImageDataset
from fastgan.metrics import Evaluation, Metric, real_features
from fastgan.metrics.evaluation import ALL
from fastgan.metrics.samples import Rows, Streamed


class Brightness:
    """The mean of all pixels, as features: what a metric of one's own brings in its file."""

    passes = 0

    def __init__(self, images: int, extractor: None) -> None:
        self.images, self.sum, self.batches = images, torch.zeros([], dtype=torch.float64), 0
        Brightness.passes += 1

    def take(self, images: Tensor) -> None:
        self.sum += images.double().mean(dim=(1, 2, 3)).sum()
        self.batches += 1

    def result(self) -> float:
        return float(self.sum / self.images)


BRIGHTNESS = Metric(Brightness, lambda real, fake: {"brightness": abs(real - fake)}, images=6, floor=True)
CONTRAST = Metric(Brightness, lambda real, fake: {"ratio": fake / real, "ratio_of": real}, images=6)
FEWER = Metric(Brightness, lambda real, fake: {"fewer": fake}, images=2)
HERE = "tests.metrics.test_evaluation"


@pytest.fixture(autouse=True)
def _named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("brightness", "contrast", "fewer"):
        monkeypatch.setitem(METRICS, name, f"{HERE}:{name.upper()}")
    monkeypatch.setattr(Brightness, "passes", 0)


def dataset(count: int = 9) -> ImageDataset:
    values = torch.arange(count, dtype=torch.uint8)[:, None, None, None] * 10
    return ImageDataset(values.expand(-1, 4, 5, 3).contiguous())


def made(count: int, value: int = 50) -> Iterator[Tensor]:
    for size in torch.arange(count).split(4):
        yield torch.full((len(size), 3, 4, 5), value, dtype=torch.uint8)


def test_metrics_of_one_kind_of_features_share_one_pass_and_the_reals_are_taken_in_once() -> None:
    evaluation = Evaluation(["brightness", "contrast"], dataset())
    asked = []

    def sample(count: int) -> Iterator[Tensor]:
        asked.append(count)
        return made(count)

    drawn = torch.randperm(9, generator=torch.Generator().manual_seed(0))[:6]
    real = float(drawn.double().mean() * 10)
    expected = {"brightness": abs(real - 50), "ratio": 50 / real, "ratio_of": real}
    assert evaluation.evaluate(sample) == pytest.approx(expected)
    assert asked == [6] and Brightness.passes == 2  # of the reals and of what was made
    assert evaluation.evaluate(sample) == pytest.approx(expected)
    assert asked == [6, 6] and Brightness.passes == 3


def test_a_metric_of_fewer_images_takes_the_first_of_the_same_pass() -> None:
    asked = []

    def sample(count: int) -> Iterator[Tensor]:
        asked.append(count)
        yield torch.full((1, 3, 4, 5), 10, dtype=torch.uint8)
        yield torch.full((5, 3, 4, 5), 40, dtype=torch.uint8)

    figures = Evaluation(["fewer", "brightness"], dataset()).evaluate(sample)
    assert figures["fewer"] == 25 and asked == [6]


def test_a_set_of_few_images_asks_for_as_many() -> None:
    asked = []
    Evaluation(["brightness"], dataset(3)).evaluate(lambda count: asked.append(count) or made(count))
    assert asked == [3]


def test_floors_are_of_disjoint_halves_and_only_of_metrics_that_have_one() -> None:
    evaluation = Evaluation(["brightness", "contrast"], dataset(10))
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0)).double() * 10
    expected = abs(float(order[:5].mean() - order[5:].mean()))
    assert expected == 10  # halves that overlap would differ less
    assert evaluation.floors() == {"brightness": pytest.approx(expected)}
    with pytest.raises(ValueError, match="dataset must have at least 2 images to be halved, got 1"):
        Evaluation(["brightness"], dataset(1)).floors()


def test_nothing_is_sampled_without_metrics() -> None:
    assert Evaluation([], dataset()).evaluate(lambda count: pytest.fail("sampled")) == {}


@pytest.mark.parametrize(
    ("batches", "error", "message"),
    [
        (lambda count: made(count - 1), ValueError, "sample must give 6 images, got 5"),
        (lambda count: made(count + 2), ValueError, "sample must give 6 images, got at least 8"),
        (lambda count: itertools.repeat(next(made(count))), ValueError, "sample must give 6 images, got at least 8"),
        (lambda count: iter(()), ValueError, "sample must give 6 images, got 0"),
        (lambda count: [torch.zeros(6, 3, 4, 5)], TypeError, "batches of uint8 images, got torch.float32"),
        (lambda count: [None], TypeError, "batches of uint8 images, got <class 'NoneType'>"),
        (
            lambda count: [torch.zeros(6, 4, 5, 3, dtype=torch.uint8)],
            ValueError,
            r"batches \[n, 3, 4, 5\] to match the reals, got \[6, 4, 5, 3\]",
        ),
    ],
)
def test_what_a_sampler_gives_is_checked(batches: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Evaluation(["brightness"], dataset()).evaluate(batches)


class Seen:
    """An extractor of one feature, the mean, that tells the sizes of its batches."""

    name, resize, identity = "seen", "none", None
    sizes: list[int]

    def __init__(self, device: torch.device, weights: Path | None) -> None:
        Seen.sizes = []

    def __call__(self, images: Tensor) -> Tensor:
        Seen.sizes.append(len(images))
        return images.float().flatten(1)[:, :2]


def _resampled(real: Tensor, fake: Tensor, w: Tensor, v: Tensor) -> dict[str, Tensor]:
    means = [(weights @ rows.double()[:, 0]) / weights.sum(dim=1) for rows, weights in ((real, w), (fake, v))]
    return {"seen": means[1] - means[0]}


SEEN = Metric(Rows, resampled=_resampled, images=70, reals=40, extractor="seen", floor=True)
MOMENTS = Metric(Streamed, lambda real, fake: {"n": fake.count}, images=50, reals=ALL, extractor="seen")


@pytest.fixture
def _seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRACTORS, "seen", f"{HERE}:Seen")
    monkeypatch.setitem(METRICS, "seen", f"{HERE}:SEEN")
    monkeypatch.setitem(METRICS, "moments", f"{HERE}:MOMENTS")


@pytest.mark.usefixtures("_seen")
def test_an_extractor_sees_each_image_once_in_batches_of_one_size() -> None:
    evaluation = Evaluation(["seen", "moments"], dataset(9))
    figures = evaluation.evaluate(made)
    assert figures == {"seen": 50 - 40, "n": 50}
    assert Seen.sizes == [32, 32, 32, 32]  # 9 reals, then 70 made, each filled up
    evaluation.evaluate(made)
    assert Seen.sizes == [32] * 7
    assert evaluation.counts("seen") == (9, 70) and evaluation.counts("moments") == (9, 50)
    assert evaluation.floors().keys() == {"seen"} and evaluation.halves("seen") == 4


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_the_sampler_s_batches_and_the_order_of_images_change_nothing(batch: int) -> None:
    names = ["kid_wavelet", "fd_wavelet", "pr_wavelet", "dc_wavelet", "copies_wavelet", "spectrum"]
    reals = ImageDataset(torch.randint(0, 256, (60, 16, 16, 3), dtype=torch.uint8))
    images = torch.randint(0, 256, (100, 3, 16, 16), dtype=torch.uint8)
    evaluation = Evaluation(names, reals, images=100)
    known = evaluation.evaluate(lambda count: [images[:count]])
    moved = images[torch.cat([torch.randperm(60), torch.arange(60, 100)])]  # the spectrum takes the first 60
    found = evaluation.evaluate(lambda count: moved[:count].split(batch))
    assert found == pytest.approx(known, rel=1e-10, abs=1e-12)


@pytest.mark.usefixtures("_seen")
def test_intervals_are_told_where_they_are_asked_for_and_known() -> None:
    evaluation = Evaluation(["seen", "moments"], dataset(9))
    figures = evaluation.evaluate(made, intervals=True)
    assert figures.keys() == {"seen", "seen_low", "seen_high", "n"}
    deviation = 10 * (torch.arange(9.0).std(correction=0) / 3).item()  # of a mean of 9
    assert figures["seen_high"] - figures["seen"] == pytest.approx(1.96 * deviation, rel=0.2)
    assert evaluation.evaluate(made, intervals=True) == figures


@pytest.mark.usefixtures("_seen")
def test_features_of_reals_with_an_identity_are_kept_on_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Seen, "identity", "seen 1")
    monkeypatch.setattr(real_features, "folder", lambda: tmp_path)
    known = Evaluation(["seen"], dataset(9)).evaluate(made)
    assert not list(tmp_path.iterdir())  # nobody said what the images are known by
    for sizes in ([32] * 4, [32] * 3):
        evaluation = Evaluation(["seen"], dataset(9), fingerprint="nine greys")
        assert evaluation.evaluate(made) == known
        assert Seen.sizes == sizes
    assert evaluation.floors() == Evaluation(["seen"], dataset(9)).floors()


def test_an_unknown_metric_is_named() -> None:
    with pytest.raises(ValueError, match="metrics must be one of .*swd, .*brightness, .*, got 'fid'"):
        Evaluation(["fid"], dataset())


def test_images_that_are_too_small_for_patches_are_told_of() -> None:
    with pytest.raises(ValueError, match=r"images must be at least 7x7 pixels, got \[4, 5\]"):
        Evaluation(["swd"], dataset()).evaluate(made)
