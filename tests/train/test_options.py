"""Training options: every impossible value is refused by name."""

from __future__ import annotations

import pytest

from fastgan.config.options import AdversarialOptions, StyledOptions, TrainingOptions, replace
from fastgan.models.registry import MODELS, family
from fastgan.train.config import RunConfig


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 0}, "batch must be an integer of at least 1, got 0"),
        ({"batch": 2.5}, "batch must be an integer of at least 1, got 2.5"),
        ({"batch": True}, "batch must be an integer of at least 1, got True"),
        ({"batch": 6, "batch_gpu": 4}, "batch must be a multiple of batch_gpu=4, got 6"),
        ({"kimg": 0}, "kimg must be a number of at least 0.001, got 0"),
        ({"kimg": float("nan")}, "kimg must be a number of at least 0.001, got nan"),
        ({"r1_gamma": -1.0}, "r1_gamma must be a number of at least 0, got -1.0"),
        ({"seed": -1}, "seed must be an integer of at least 0, got -1"),
        ({"betas": (0.5, 1.0)}, r"betas must be two numbers in \[0, 1\), got \(0.5, 1.0\)"),
        ({"loss": "hing"}, "loss must be one of .*hinge.*, got 'hing'"),
        ({"kimg": 1e300}, r"kimg must be at most 1e\+09, got 1e\+300"),
        ({"tick": 10**400}, r"tick must be a number of at least 0.001, got 1000+\.\.\."),
        ({"batch": 10**12}, "batch must be at most 1000000000, got 1000000000000"),
        ({"batch": "32"}, "batch must be an integer of at least 1, got '32'"),
        ({"g_lr": float("inf")}, "g_lr must be a number above 0, got inf"),
        ({"pl_weight": None}, "pl_weight must be a number of at least 0, got None"),
        ({"loss": ["hinge"]}, r"loss must be one of .*, got \['hinge'\]"),
        ({"mirror": 1}, "mirror must be one of False, True, got 1"),
        ({"metrics": "swd"}, "metrics must be a list of names, got 'swd'"),
        ({"metrics": ["swd", "fid"]}, "metrics must be one of .*swd.*, got 'fid'"),
        ({"metrics": [["swd_floor"]]}, "metrics must be a list of names"),
        ({"betas": 0.5}, r"betas must be two numbers in \[0, 1\), got 0.5"),
        ({"betas": [0.5, "0.9"]}, r"betas must be two numbers in \[0, 1\), got \[0.5, '0.9'\]"),
        ({"options": 1}, "training has no option 'options'"),
        ({"glr": 1}, "training has no option 'glr'; did you mean 'g_lr'?"),
    ],
)
def test_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(StyledOptions(), "training", **changes)


def test_derived_values():
    options = AdversarialOptions(batch=32, penalties={"r1": (None, 16)})
    assert options.penalty_weight("r1", (256, 128)) == pytest.approx(0.0002 * 256**2 / 32)
    assert options.penalty_weight("r2", (256, 128)) == 0
    assert options.half_life() == 10_000
    assert AdversarialOptions(penalties={"r1": (3.0, 4)}).penalty_weight("r1", (64, 64)) == 3.0
    assert TrainingOptions(batch=8, batch_gpu=2).micro_batch == 2


@pytest.mark.parametrize("name", MODELS)
def test_family_defaults_are_training_options(name):
    assert isinstance(family(name).options(), TrainingOptions)


def test_r1_by_its_short_names_and_what_other_families_recorded():
    options = AdversarialOptions()
    given = replace(options, "training", r1_gamma=3.0)
    assert given.penalties == {"r1": (3.0, 16)}
    assert replace(given, "training", r1_interval=2).penalties == {"r1": (3.0, 2)}
    assert replace(given, "training", r1_gamma=0).penalties == {}
    assert replace(given, "training", r1_gamma=None, penalties={"r2": [1, 1]}).penalties == {
        "r2": (1, 1),
        "r1": (None, 16),
    }
    assert replace(options, "training", pl_weight=0.0, pl_interval=4, pl_batch_shrink=2) == options
    with pytest.raises(ValueError, match="training has no option 'pl_weight'"):
        replace(options, "training", pl_weight=2.0)


@pytest.mark.parametrize("recorded", [["swd", "swd_floor"], ["swd_floor", "swd"], ["swd_floor"]])
def test_a_floor_that_earlier_versions_recorded_as_a_metric_stands_for_its_metric(recorded):
    assert replace(AdversarialOptions(), "training", metrics=recorded).metrics == ("swd",)
    tree = {"model": "dcgan", "training": {"metrics": recorded}}
    assert RunConfig.from_json(tree, "config.json").training.metrics == ("swd",)
    with pytest.raises(ValueError, match="metrics must be one of .*swd.*, got 'swd_floor'"):
        TrainingOptions(metrics=("swd_floor",))


@pytest.mark.parametrize(
    ("penalties", "message"),
    [
        ([("r1", (1, 1))], "penalties must be an object such as .*, got "),
        ({"r3": (1, 1)}, "penalties must be one of r1, r2, .*, got 'r3'"),
        ({"r1": 3.0}, r"penalties: r1 must be \[weight, interval\], got 3.0"),
        ({"r2": (None, 1)}, "penalties: weight of r2 must be a number of at least 0, got None"),
        ({"r1": (1, 0)}, "penalties: interval of r1 must be an integer of at least 1, got 0"),
    ],
)
def test_impossible_penalties(penalties, message):
    with pytest.raises(ValueError, match=message):
        AdversarialOptions(penalties=penalties)
