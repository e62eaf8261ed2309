"""fastgan train as a user runs it: files of a run, resume, signals, errors before anything starts."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from fastgan.checkpoint import load_checkpoint, save_checkpoint
from fastgan.choices import METRICS
from fastgan.cli.main import main
from fastgan.models.registry import MODELS
from fastgan.report import read_stats
from fastgan.train.folder import latest_checkpoint

TINY = [
    "--data", "emoji64", "--classes", "smileys/faces", "food", "--max-images", "12", "--resolution", "16",
    "--batch", "4", "--cbase", "64", "--cmax", "8", "--map-depth", "1", "--set", "z_dim=8", "w_dim=8",
    "--tick", "0.004", "--snap", "2", "--device", "cpu", "--threads", "1",
]  # fmt: skip


def train(outdir: Path, *arguments: str) -> int:
    return main(["train", "--outdir", str(outdir), *TINY, *arguments])


def state_of(outdir: Path) -> dict:
    path = latest_checkpoint(outdir)
    assert path is not None
    return load_checkpoint(path)[0]


def assert_same(a, b, where=""):
    assert type(a) is type(b), where
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_same(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), where
        for number, (mine, theirs) in enumerate(zip(a, b, strict=True)):
            assert_same(mine, theirs, f"{where}/{number}")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    else:
        assert a == b, where


def test_a_run_leaves_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path / "run", "--kimg", "0.016", "--metrics", "swd", "--mirror", "--cond") == 0
    names = {path.name for path in (tmp_path / "run").iterdir()}
    snapshots = {f"{what}-000000.{images}" for images in ("008", "016") for what in ("grid", "checkpoint")}
    files = {f"{name}.{'png' if name.startswith('grid') else 'safetensors'}" for name in snapshots}
    assert names == files | {
        "config.json",
        "stats.jsonl",
        "reals.png",
        "grid-000000.png",
        "run.json",
        "report.html",
        ".lock",
    }
    lines = read_stats(tmp_path / "run" / "stats.jsonl")
    assert [line["kimg"] for line in lines] == [0.004, 0.008, 0.012, 0.016]
    assert {"loss/G", "loss/D", "loss/r1", "loss/path_length", "score/real", "images_per_second"} <= lines[0].keys()
    assert "metric/swd" in lines[1] and "metric/swd" not in lines[2]
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["architecture"]["num_classes"] == 2 and config["training"]["mirror"] is True
    said = capsys.readouterr().out
    assert "swd:" in said and "between two halves of the real set" in said


def test_the_report_follows_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert train(run, "--kimg", "0.016", "--metrics", "swd", "--classes", "flags", "--mirror") == 0
    assert "warning: --mirror flips images of flags" in " ".join(capsys.readouterr().out.split())
    record = json.loads((run / "run.json").read_text())
    assert record["state"] == "finished" and record["floors"]["swd"] > 0
    assert record["warnings"] == ["--mirror flips images of flags: their mirror images are wrong"]
    begun, page = record["begun"], (run / "report.html").read_text()
    assert '"kimg":0.016' in page and "--mirror flips" in page and torch.__version__ in page
    assert main(["train", "--resume", str(run), "--kimg", "0.02", "--threads", "1"]) == 0
    assert json.loads((run / "run.json").read_text())["begun"] == begun
    assert '"kimg":0.02,' in (run / "report.html").read_text()


def test_a_report_that_cannot_be_written_does_not_end_the_run(tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    (run / "report.html").mkdir(parents=True)
    assert train(run, "--kimg", "0.008") == 0
    assert latest_checkpoint(run) is not None
    assert "warning: the report could not be written: IsADirectoryError" in " ".join(capsys.readouterr().out.split())


def test_events_for_tensorboard_are_not_told_twice(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = tmp_path / "run"
    assert train(run, "--kimg", "0.02", "--snap", "3", "--tensorboard") == 0
    older = str(run / "checkpoint-000000.012.safetensors")  # older than the last events, as after a crash
    assert main(["train", "--resume", older, "--kimg", "0.024", "--tensorboard", "--threads", "1"]) == 0
    events = accumulator.EventAccumulator(str(run / "tensorboard")).Reload()
    lines = read_stats(run / "stats.jsonl")
    told = {event.step: event.value for event in events.Scalars("loss/G")}
    assert len(told) == len(events.Scalars("loss/G")) == len(lines) == 6
    for line in lines:
        assert told[round(line["kimg"] * 1000)] == pytest.approx(line["loss/G"])
    assert [event.step for event in events.Images("grid")] == [0, 12, 24]


def test_tensorboard_without_its_package_is_refused(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert train(tmp_path / "run", "--tensorboard") == 2
    assert "pip install 'fastgan[tensorboard]'" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_resume_continues_exactly_and_completely(tmp_path: Path) -> None:
    assert train(tmp_path / "whole", "--kimg", "0.024") == 0
    assert train(tmp_path / "parts", "--kimg", "0.008") == 0
    assert main(["train", "--resume", str(tmp_path / "parts"), "--kimg", "0.024", "--threads", "1"]) == 0
    whole, parts = state_of(tmp_path / "whole"), state_of(tmp_path / "parts")
    assert_same(whole["state"], parts["state"])
    assert_same(whole["G_ema"], parts["G_ema"])
    timed = ("images_per_second", "seconds_per_kimg", "memory_gib")
    both = [read_stats(tmp_path / name / "stats.jsonl") for name in ("whole", "parts")]
    untimed = [[{k: v for k, v in line.items() if k not in timed} for line in lines] for lines in both]
    assert untimed[0] == untimed[1]


def test_resume_auto_starts_goes_on_and_ends(tmp_path: Path) -> None:
    arguments = ["--resume", "auto", "--kimg", "0.008"]
    assert train(tmp_path / "run", *arguments) == 0
    before = state_of(tmp_path / "run")
    assert train(tmp_path / "run", *arguments) == 0  # complete: nothing changes
    assert_same(before, state_of(tmp_path / "run"))


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_saves_and_says_how_to_go_on(tmp_path: Path, signum: int) -> None:
    run = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "fastgan",
        "train",
        "--outdir",
        str(run),
        *TINY,
        "--kimg",
        "1000",
        "--snap",
        "1000000",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (run / "stats.jsonl").exists() or not (run / "stats.jsonl").read_text().count("\n"):
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signum)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signum, err
    assert f"fastgan train --resume {run}" in " ".join(out.split())
    tree = state_of(run)
    assert tree["state"]["progress"]["images"] == tree["state"]["progress"]["step"] * 4 > 0
    more = tree["state"]["progress"]["images"] / 1000 + 0.004
    assert main(["train", "--resume", str(run), "--kimg", str(more), "--threads", "1"]) == 0


def test_dry_run_prints_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path / "run", "-n") == 0
    said = capsys.readouterr().out
    assert '"channel_base": 64' in said and "12 images, 16×16" in said and "parameters" in said
    assert not (tmp_path / "run").exists()


def test_a_dry_run_needs_no_folder_and_shows_the_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "-n", *TINY]) == 0
    said = capsys.readouterr().out
    assert '"channel_base": 64' in said and "12 images, 16×16" in said
    assert main(["train", *TINY]) == 2
    assert "--outdir is needed: the folder of the run; -n shows its plan without one" in capsys.readouterr().err
    assert train(tmp_path / "run", "--kimg", "0.004") == 0
    before = sorted(path.name for path in (tmp_path / "run").iterdir())
    capsys.readouterr()
    assert main(["train", "-n", "--resume", str(tmp_path / "run"), "--kimg", "0.008", "--threads", "1"]) == 0
    said = capsys.readouterr().out
    assert '"channel_base": 64' in said and '"kimg": 0.008' in said and "12 images, 16×16" in said
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == before


def test_old_checkpoints_are_removed(tmp_path: Path) -> None:
    assert train(tmp_path / "run", "--kimg", "4", "--batch", "500", "--tick", "1", "--snap", "1", "--keep", "2") == 0
    kept = sorted(path.name for path in (tmp_path / "run").glob("*.safetensors"))
    assert kept == ["checkpoint-000003.safetensors", "checkpoint-000004.safetensors"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--cfg", "stylegan9"],
            "model must be one of cyclegan, dcgan, pix2pix, r3gan, stylegan2, stylegan3-r, stylegan3-t; got "
            "'stylegan9'",
        ),
        (
            ["--cfg", "dcgan"],
            "--map-depth is an option of stylegan2 and stylegan3-t and stylegan3-r, not of dcgan; `fastgan train --cfg "
            "dcgan --help`",
        ),
        (["--set", "zdim=8"], "got 'zdim' (did you mean 'z_dim'?)"),
        (["--set", "z_dim"], "--set takes name=value, got 'z_dim'"),
        (["--data", "nowhere"], "nowhere"),
        (["--resolution", "16by16"], "--resolution must be pixels, 64 for a square or WxH as in 640x480; got '16by16'"),
        (["--resolution", "17"], "resolution"),
        (["--kimg", "-1"], "kimg must be a number of at least 0.001, got -1.0"),
        (["--loss", "hing"], "loss must be one of"),
        (["--metrics", "fid"], f"metrics must be one of {', '.join(METRICS)}, got 'fid'"),
        (["--classes", "smiley"], "smiley"),
        (["--threads", "0"], "--threads must be at least 1, got 0"),
        (["--resume", "nowhere"], "--resume: nowhere does not exist"),
        (["--set", "z_dim=1" + "0" * 5000], "z_dim must be an integer of at least 1, got '1000"),
        (["--set", "name=3"], "got 'name'"),
        (["--set", "style_mixing=NaN"], "style_mixing must be a number in [0, 1], got nan"),
        (["--set", "mapping_layers=1000000000"], "mapping_layers must be at most 64, got 1000000000"),
        (["--device", "tpu"], "--device must be cpu or cuda, got 'tpu'"),
    ],
)
def test_errors_come_before_anything_starts(tmp_path, capsys, arguments, message) -> None:
    assert train(tmp_path / "run", *arguments) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_an_existing_run_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path / "run", "--kimg", "0.004") == 0
    assert train(tmp_path / "run", "--kimg", "0.004") == 2
    assert "already holds a run; go on with it by --resume" in capsys.readouterr().err


def test_resume_with_other_options_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path / "run", "--kimg", "0.004") == 0
    assert main(["train", "--resume", str(tmp_path / "run"), "--glr", "0.1"]) == 2
    assert "is of another run: g_lr is 0.0025, asked 0.1" in capsys.readouterr().err


def test_a_tampered_configuration_in_a_checkpoint_is_named(tmp_path, capsys) -> None:
    assert train(tmp_path / "run", "--kimg", "0.004") == 0
    path = latest_checkpoint(tmp_path / "run")
    assert path is not None
    tree, metadata = load_checkpoint(path)
    tree["config"]["training"]["batch"] = float("nan")
    save_checkpoint(path, tree, metadata=metadata)
    assert main(["train", "--resume", str(path)]) == 2
    assert f"checkpoint {path}: training: batch must be an integer of at least 1, got nan" in capsys.readouterr().err


def test_a_model_of_ones_own_needs_its_file_and_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "dense", "tests.models.third_family:FAMILY")
    data = ["--data", "emoji64", "--max-images", "8", "--resolution", "8", "--cond", "--batch", "4", "--device", "cpu"]
    run = ["--cfg", "dense", "--set", "width=5", "--kimg", "0.02", "--tick", "0.004", "--outdir", str(tmp_path / "run")]
    assert main(["train", *data, *run, "--threads", "1"]) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["training"]["loss"] == "hinge" and config["architecture"]["width"] == 5
    pictures = [
        "--network",
        str(tmp_path / "run"),
        "--seeds",
        "0-3",
        "--class",
        "flags",
        "--outdir",
        str(tmp_path / "out"),
    ]
    assert main(["generate", *pictures]) == 0
    assert len(list((tmp_path / "out").glob("*.png"))) == 4
