"""What is said of a run in trouble, since when, and that nothing is said of a healthy one over its whole length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from fastgan.metrics.sliced_wasserstein import SWD
from fastgan.report.diagnosis import Finding, diagnosis

# Measured: DCGAN on all of emoji64 at 32x32, and StyleGAN2 as `make demo` trains it, a snapshot each 0.3 kimg.
DCGAN = {
    "diversity__ratio": [
        0.13,
        0.15,
        0.13,
        0.13,
        0.14,
        0.16,
        0.16,
        0.22,
        0.32,
        0.31,
        0.37,
        0.32,
        0.40,
        0.46,
        0.48,
        0.52,
    ],
    "diversity__alike": [1.0, 0.99, 1.0, 1.0, 1.0, 1.0, 0.99, 0.92, 0.51, 0.39, 0.28, 0.62, 0.33, 0.14, 0.03, 0.0],
    "score__real": [2.0, 1.4, 1.3, 2.2, 2.2, 2.6, 3.6, 3.3, 3.5, 2.5, 2.0, 3.0, 3.5, 3.4, 2.2, 2.4],
    "score__fake": [-0.8, -1.2, -1.4, -2.1, -2.6, -2.7, -3.3, -3.2, -3.2, -4.1, -2.9, -3.6, -2.9, -2.8, -1.8, -1.9],
    "gradient__G": [22.5, 30.8, 28.8, 27.6, 22.9, 23.5, 25.6, 33.5, 32.7, 33.4, 44.3, 28.6, 31.8, 28.6, 27.2, 23.1],
    "loss__D": [0.58, 0.57, 0.56, 0.31, 0.51, 0.17, 0.098, 0.14, 0.11, 0.54, 0.40, 0.19, 0.14, 0.36, 0.62, 0.61],
    "overfit__r_t": [0.98, 0.85, 0.88, 0.96, 0.71, 1.0, 1.0, 1.0, 1.0, 0.75, 0.83, 0.96, 1.0, 0.92, 0.88, 0.77],
    "passes": [0.16 * k for k in range(1, 17)],
}
STYLEGAN2 = {
    "diversity__ratio": [1.07, 0.94, 0.78, 0.75, 0.74, 0.79, 0.84, 0.81, 0.76, 0.80, 0.79, 0.76, 0.74, 0.68],
    "diversity__alike": [0.0] * 14,
    "score__real": [0.6, 0.9, 0.8, 0.7, 1.4, 1.0, 0.9, 0.9, 1.5, 1.3, 1.7, 1.9, 1.3, 1.1],
    "score__fake": [-1.0, -0.8, -0.9, -1.5, -1.4, -1.5, -0.9, -0.8, -1.4, -1.0, -2.2, -2.1, -1.5, -1.0],
    "gradient__G": [4.3, 10.0, 3.9, 9.6, 3.5, 5.7, 5.4, 9.0, 7.7, 4.5, 12.9, 12.0, 3.9, 5.3],
    "loss__D": [0.85, 1.2, 1.0, 0.93, 0.62, 0.83, 1.0, 0.99, 0.64, 0.7, 0.43, 0.39, 0.72, 0.72],
    "metric__swd": [140.9, 130.4, 118.5, 121.0, 124.1, 130.0, 141.0, 132.0, 128.0, 125.0, 122.1, 115.0, 107.7, 93.7],
    "overfit__r_t": [0.56, 0.63, 0.45, 0.48, 0.73, 0.57, 0.61, 0.52, 0.90, 0.82, 0.93, 0.94, 0.69, 0.77],
    "passes": [7.5 * k for k in range(1, 15)],
}
CALM = [1.0 + 0.1 * (k % 3) for k in range(12)]


def course(**figures: Sequence[float | None]) -> list[dict[str, Any]]:
    names = [name.replace("__", "/") for name in figures]
    lines = zip(*figures.values(), strict=True)
    return [
        {"kimg": kimg, "step": 60 * kimg} | dict(zip(names, values, strict=True)) for kimg, values in enumerate(lines)
    ]


def only(records: list[dict[str, Any]]) -> Finding:
    (finding,) = diagnosis(records)
    return finding


def since(records: list[dict[str, Any]]) -> list[float | None]:
    """Of every beginning of the records, the kimg since when there is trouble."""
    found = [diagnosis(records[:count]) for count in range(1, len(records) + 1)]
    assert all(len(each) < 2 for each in found)
    return [each[0].since if each else None for each in found]


@pytest.mark.parametrize("figures", [DCGAN, STYLEGAN2], ids=["dcgan", "stylegan2"])
def test_nothing_is_said_of_a_healthy_run_over_its_whole_length(figures: dict[str, list[float]]) -> None:
    assert not any(value is not None for value in since(course(**figures)))


def test_images_that_become_less_different_than_they_were() -> None:
    records = course(diversity__ratio=[0.2, 0.5, 0.8, 0.31, 0.7, 0.31, 0.2, 0.1], diversity__alike=[0.0] * 8)
    assert since(records) == [None] * 6 + [5, 5]  # once is nothing
    finding = only(records)
    said = "mode collapse since 5 kimg: generated images differ 0.10 times as much as real ones (0.80 at its best); 0%"
    assert finding.sentence.startswith(said)
    assert "--glr" in finding.sentence and finding.chance


def test_a_diversity_above_that_of_real_images_is_noise_and_no_measure() -> None:
    assert not diagnosis(course(diversity__ratio=[1.6, 1.1, 0.45, 0.45, 0.5], diversity__alike=[0.0] * 5))


def test_some_images_made_again_and_again() -> None:
    twins = [1.0, 1.0, 0.3, 0.1, 0.0, 0.6, 0.9]
    records = course(diversity__ratio=[0.1, 0.2, 0.5, 0.7, 0.7, 0.6, 0.6], diversity__alike=twins)
    assert since(records) == [None] * 6 + [5]
    assert "90% have a near twin" in only(records).sentence


def test_images_that_are_alike_from_the_first_on_fool_a_weak_d() -> None:
    twins = {"diversity__ratio": [0.15, 0.15, 0.18, 0.2], "diversity__alike": [1.0] * 4}
    records = course(**twins, score__real=[0.5, 0.1, -0.2, -0.2], score__fake=[2.5, 2.1, 1.4, 0.8])
    assert since(records) == [None, 0, 0, 0]
    assert "and D takes them for real ones rather than real ones themselves; 100% have" in only(records).sentence
    assert not diagnosis(
        course(**twins, score__real=[0.5, 1.0, 1.2, 1.4], score__fake=[-1.0] * 4)
    )  # they may still part


def test_images_that_are_alike_for_thousands_of_steps() -> None:
    records = course(diversity__ratio=[0.15] * 40, diversity__alike=[1.0] * 40)
    assert since(records) == [None] * 35 + [34] * 5  # 60 steps each


def test_modes_that_are_lost() -> None:
    records = course(metric__coverage_wavelet=[0.1, 0.02, 0.4, 0.7, 0.3, 0.6, 0.34, 0.2, 0.1])
    assert since(records) == [None] * 7 + [6, 6]  # below 0.3 it has not grown yet, and once is nothing
    said = "modes are lost since 6 kimg: 10% of the real images have generated ones near them (coverage_wavelet), after"
    assert only(records).sentence.startswith(said)


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([], None),
        (course(overfit__r_v=[0.0] * 8 + [0.6, 0.7] * 3), "held out 65% of the way for generated ones (r_v 0.65"),
        (course(overfit__r_v=[0.9] * 8 + [0.4] * 5), None),  # late in the run it does not
        (course(overfit__r_v=[1.0, 1.8]), "held out 100% of the way for generated ones (r_v 1.40"),
        (course(overfit__r_t=[0.2] * 8 + [0.95, 0.97] * 6), "D is sure of nearly every real image since 17 kimg"),
        (course(overfit__r_t_a=[0.5] * 5, overfit__r_t_b=[0.99] * 5), "D_b is sure of nearly every real image since 0"),
        (course(overfit__r_t=[0.8] * 10), None),
        (course(overfit__r_t=[0.95] * 10, augment__p=[0.1] * 10), None),  # p is on its way
        (course(overfit__r_t=[0.95] * 10, overfit__r_v=[0.1] * 10), None),  # images held out know better
        (course(overfit__r_v=[None, 0.7]), "r_v 0.70"),
        (course(overfit__r_t=[0.7, 0.6, 0.6, 0.9, 0.95, 0.7]), None),  # for a moment
        (course(overfit__r_t=[1.0] * 10, passes=[1.9 * k for k in range(10)]), None),  # seen too seldom to be known
        (course(overfit__r_t=[1.0] * 10, passes=[5.0 * k for k in range(10)]), "real image since 4 kimg"),
    ],
)  # fmt: skip
def test_a_d_that_knows_its_images_by_heart(records: list[dict[str, Any]], said: str | None) -> None:
    found = diagnosis(records)
    assert [said in finding.sentence and not finding.chance for finding in found] == [True] if said else found == []


def test_gradients_that_vanish() -> None:
    assert not diagnosis(course(gradient__G=[*CALM, *[0.019] * 4]))
    assert not diagnosis(course(gradient__G=[*CALM, *[0.03] * 9]))  # smaller, and not nothing
    assert not diagnosis(course(gradient__G=[*CALM[:8], *[0.001] * 5]))  # nobody knows yet what is usual
    assert not diagnosis(course(gradient__D=[*CALM, *[0.001] * 9]))  # D has won, which is no fault of its own
    finding = only(course(gradient__G=[*CALM, *[0.019] * 5]))
    assert (finding.name, finding.since) == ("vanishing gradients of G", 12)
    assert "the norm of its gradients is 0.019, where 1.1 was usual" in finding.sentence


def test_logits_that_part_without_end() -> None:
    fakes = [-1.0] * 12 + [-30.0, -40.0, -80.0, -160.0, -320.0]
    finding = only(course(score__real=[*CALM, *[1.0] * 5], score__fake=fakes))
    assert finding.since == 12
    assert "distance between D's mean logits of real and generated images is 321, where 2.1 was" in finding.sentence
    assert not diagnosis(course(score__real=[*CALM, *[1.0] * 5], score__fake=[*fakes[:-1], -1.0]))  # it came back
    slow = [1.3**k for k in range(5)] * 4  # from one tick to the next it is three times as much
    assert not diagnosis(course(score__real=slow, score__fake=[-each for each in slow]))
    # A critic without bounds may be anywhere, if both are.
    drift = [10.0 * k for k in range(30)]
    assert not diagnosis(course(score__real=drift, score__fake=[each - 2 for each in drift]))


def test_a_loss_of_d_that_grows_without_end() -> None:
    records = course(loss__D_a=CALM + [-25.0 * 2**k for k in range(5)], loss__G=[float(k) for k in range(17)])
    finding = only(records)
    assert (finding.name, finding.since) == ("divergence: loss of D_a", 12)
    assert "the loss of D_a is -400, where 1.1 was usual" in finding.sentence


def test_a_metric_that_gets_worse() -> None:
    finding = only(course(metric__swd=[140.0, 60.0, 50.0, 110.0, 120.0]))
    assert (finding.name, finding.since) == ("worse swd", 3)
    assert "swd is 120, after 50 at 2 kimg. Take the checkpoint of then" in finding.sentence
    assert not diagnosis(course(metric__swd=[140.0, 60.0, 50.0, 110.0, 60.0]))
    assert not diagnosis(course(metric__swd=[140.0, 60.0, 50.0, 74.0, 74.0]))  # within a half
    assert not diagnosis(course(metric__swd=[4.0, 1.0, 2.0, 2.0]))  # most of what was won stands


def test_a_metric_of_which_more_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastgan.metrics.sliced_wasserstein.SWD", replace(SWD, better="higher"))
    assert "swd is 0.2, after 0.9 at 2 kimg" in only(course(metric__swd=[0.1, 0.5, 0.9, 0.2, 0.2])).sentence
    assert not diagnosis(course(metric__swd=[0.5, 0.1, 0.9, 0.9, 0.9]))


def test_what_is_no_number_is_passed_over() -> None:
    records = course(diversity__ratio=[0.8, None, 0.1, 0.1], diversity__alike=[0.0, None, 0.0, 0.0],
                     score__real=[None, 1.0, None, 1.0], score__fake=[0.0, None, None, 0.0])  # fmt: skip
    assert only(records).since == 2
