"""Runs and configuration files of the version before penalties had names: R1's weight and interval were two fields, and
every family had the path-length penalty's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fastgan.checkpoint import load_checkpoint, save_checkpoint
from fastgan.cli.main import main
from fastgan.models.registry import family
from fastgan.models.stylegan2 import StyleGAN2Options
from fastgan.train.config import RunConfig
from fastgan.train.folder import latest_checkpoint
from tests.cli.test_train import assert_same, state_of

DATA = {
    "source": "emoji64", "path": None, "classes": ["food"], "resolution": [8, 8], "cond": False, "max_images": 8,
    "channels": None, "background": [255, 255, 255], "transform": "center-crop", "skip_broken": False, "stream": None,
}  # fmt: skip
TRAINING = {
    "batch": 4, "batch_gpu": None, "kimg": 0.008, "tick": 0.004, "snap": 1, "keep": 5, "seed": 0,
    "loss": "nonsaturating", "d_repeats": 1, "eps": 1e-08, "ema_kimg": None, "ema_rampup": 0.05, "mirror": False,
    "metrics": [],
}  # fmt: skip
OLD: dict[str, dict[str, Any]] = {
    "stylegan2": {
        "model": "stylegan2",
        "architecture": {
            "resolution": [8, 8], "img_channels": 3, "num_classes": 0, "z_dim": 4, "w_dim": 4, "mapping_layers": 1,
            "channel_base": 32, "channel_max": 4, "mbstd_group": 4, "cmap_dim": None, "noise": True,
            "style_mixing": 0.9, "w_avg_beta": 0.998, "conv_clamp": None,
        },
        "data": DATA,
        "training": TRAINING | {
            "g_lr": 0.0025, "d_lr": 0.0025, "betas": [0.0, 0.99], "channels_last": None, "r1_gamma": 3.0,
            "r1_interval": 2,
            "pl_weight": 2.0, "pl_interval": 2, "pl_batch_shrink": 2,
        },
    },
    "dcgan": {
        "model": "dcgan",
        "architecture": {
            "resolution": [8, 8], "img_channels": 3, "num_classes": 0, "z_dim": 4, "channel_base": 32, "channel_max": 4,
            "kernel_size": 5,
        },
        "data": DATA,
        "training": TRAINING | {
            "g_lr": 0.0002, "d_lr": 0.0002, "betas": [0.5, 0.999], "channels_last": True, "r1_gamma": 0.0,
            "r1_interval": 16,
            "pl_weight": 0.0, "pl_interval": 4, "pl_batch_shrink": 2,
        },
    },
}  # fmt: skip


def test_an_older_configuration_says_the_same() -> None:
    config = RunConfig.from_json(OLD["stylegan2"], "my.json")
    assert config.training == StyleGAN2Options(
        **TRAINING, g_lr=0.0025, d_lr=0.0025, channels_last=None, penalties={"r1": (3.0, 2)}, pl_interval=2
    )
    config = RunConfig.from_json(OLD["dcgan"], "my.json")
    assert config.training == family("dcgan").options(**TRAINING, channels_last=True)
    gamma = OLD["stylegan2"] | {"training": {"r1_gamma": None}}
    assert RunConfig.from_json(gamma, "my.json").training.penalties == {"r1": (None, 16)}  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="my.json: training: there is no field 'pl_weight'"):
        RunConfig.from_json(OLD["dcgan"] | {"training": {"pl_weight": 2.0}}, "my.json")


@pytest.mark.parametrize("name", OLD)
def test_an_older_run_goes_on_as_it_would_have(name: str, tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text(json.dumps(OLD[name]))
    begin = ["train", "--config", str(tmp_path / "old.json"), "--device", "cpu", "--threads", "1"]
    assert main([*begin, "--outdir", str(tmp_path / "whole"), "--kimg", "0.016"]) == 0
    assert main([*begin, "--outdir", str(tmp_path / "parts")]) == 0
    path = latest_checkpoint(tmp_path / "parts")
    assert path is not None
    tree, metadata = load_checkpoint(path)
    assert "penalties" in tree["config"]["training"]
    tree["config"] = OLD[name]
    save_checkpoint(path, tree, metadata=metadata)
    assert main(["train", "--resume", str(tmp_path / "parts"), "--kimg", "0.016", "--threads", "1"]) == 0
    whole, parts = state_of(tmp_path / "whole"), state_of(tmp_path / "parts")
    for part in ("state", "G_ema", "config"):
        assert_same(whole[part], parts[part])
