"""fastgan compare: a planted difference is told, one that is not there is not; slips and interruptions cost nothing."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fastgan.checkpoint import latest_checkpoint
from fastgan.choices import METRICS
from fastgan.cli import compare, sides
from fastgan.cli.main import main
from fastgan.cli.options.compare import CompareOptions
from fastgan.data import load_dataset
from fastgan.metrics import Metric
from fastgan.report import read_stats
from tests.metrics.test_evaluation import Brightness

COMMON = "--cfg dcgan --data emoji64 --classes smileys/face-smiling --resolution 16 --cbase 64 --cmax 8 --set z_dim=4 "
COMMON += "--batch 8 --tick 0.08 --snap 1 --ema-kimg 0.01 --threads 1 --device cpu --calibrate never --kimg "
HEALTHY, FROZEN = "--glr 0.004 --dlr 0.004", "--glr 1e-9 --dlr 1e-9"


def command(outdir: Path, a: str, b: str, kimg: str = "0.24") -> list[str]:
    arguments = ["compare", "--common", COMMON + kimg, "--a", a, "--b", b, "--outdir", str(outdir)]
    return [*arguments, "--images", "40", "--device", "cpu"]


def told(outdir: Path) -> dict[str, Any]:
    return json.loads((outdir / "compare.json").read_text(encoding="utf-8"))


def train(outdir: Path, name: str, options: str, kimg: str = "0.24") -> None:
    """A run as compare has it trained, in this process."""
    words = (COMMON + f"{kimg} {options}").split()
    assert main(["train", *words, "--outdir", str(outdir / name), "--seed", name[2:]]) == 0


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seeds of a side that learns, and of one that does not."""
    outdir = tmp_path_factory.mktemp("planted")
    for seed in range(3):
        train(outdir, f"a-{seed}", HEALTHY)
        train(outdir, f"b-{seed}", FROZEN)
    assert main(command(outdir, HEALTHY, FROZEN)) == 0
    return outdir


@pytest.fixture
def nothing_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    def begin(*_: Any, **__: Any) -> None:
        raise AssertionError("a training was begun")

    monkeypatch.setattr(sides.subprocess, "Popen", begin)


@pytest.mark.usefixtures("nothing_is_trained")
def test_a_planted_difference_is_told(planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(planted)
    assert found["verdict"] == "worse" and found["difference"]["low"] > 0 and found["gate"] is None
    assert [*found["runs"]] == ["a-0", "a-1", "a-2", "b-0", "b-1", "b-2"]
    means = {side: sum(found["runs"][f"{side}-{seed}"]["value"] for seed in range(3)) / 3 for side in "ab"}
    assert found["difference"]["value"] == pytest.approx(means["b"] - means["a"])
    assert found["sides"]["b"][-4:] == FROZEN.split() and "fastgan" in found["environment"]
    ticks = [line["seconds_per_kimg"] for line in read_stats(planted / "b-1" / "stats.jsonl")]
    assert len(ticks) == 3 and found["runs"]["b-1"]["seconds_per_kimg"] == sorted(ticks)[1]
    # What is complete is not trained again, and the gate is closed.
    assert main([*command(planted, HEALTHY, FROZEN), "--gate"]) == 1
    said = capsys.readouterr().out
    assert "a-0: complete" in said and "b is worse: kid_wavelet of b less that of a is" in said
    assert "gate: closed, b is worse" in said and "0.24" in said
    again = told(planted)
    assert again["runs"] == found["runs"] and again["gate"] == "closed"


@pytest.mark.usefixtures("nothing_is_trained")
def test_one_seed_has_the_interval_of_its_images(planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = told(planted)["runs"]
    assert main([*command(planted, HEALTHY, FROZEN), "--seeds", "1"]) == 0
    found = told(planted)
    assert found["runs"] == {name: before[name] for name in ("a-0", "b-0")}
    a, b = (found["runs"][name] for name in ("a-0", "b-0"))
    assert a["low"] < a["value"] < a["high"] < b["low"]
    width = ((b["value"] - b["low"]) ** 2 + (a["high"] - a["value"]) ** 2) ** 0.5
    assert found["difference"]["low"] == pytest.approx(b["value"] - a["value"] - width)
    assert "With one seed training's own chance is not in the interval" in capsys.readouterr().out


@pytest.mark.usefixtures("nothing_is_trained")
def test_other_figures_of_the_same_runs(planted: Path) -> None:
    assert main([*command(planted, HEALTHY, FROZEN), "--metric", "spectrum"]) == 0
    found = told(planted)
    assert found["metric"] == "spectrum" and "low" not in found["runs"]["a-0"]
    assert main([*command(planted, HEALTHY, FROZEN), "--metric", "coverage_wavelet", "--gate"]) == 0
    assert told(planted)["better"] == "higher"


@pytest.mark.usefixtures("nothing_is_trained")
def test_the_folder_of_another_comparison_is_not_taken(planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(planted, HEALTHY, "--glr 0.1")) == 2
    assert f"whose side b was {' '.join((COMMON + '0.24').split())} {FROZEN}; choose" in capsys.readouterr().err


def test_the_same_options_on_both_sides_and_a_gate_with_a_tolerance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(2):
        train(tmp_path, f"a-{seed}", "", "0.08")  # those of b are trained by child processes
    options = [*command(tmp_path, "", "", "0.08"), "--seeds", "2", "--gate"]
    assert main([*options, "--tolerance", "1000"]) == 0
    found = told(tmp_path)
    assert found["verdict"] == "not shown"
    assert [found["runs"][f"a-{seed}"]["value"] for seed in range(2)] == [
        found["runs"][f"b-{seed}"]["value"] for seed in range(2)
    ]
    assert found["runs"]["a-0"]["value"] != found["runs"]["a-1"]["value"]
    said = capsys.readouterr().out
    assert "no difference beyond the interval is shown" in said and "gate: open" in said
    assert f"2 seeds would show is about {found['difference']['high']:.2g}" in said
    assert main([*options, "--tolerance", "0"]) == 1
    assert "gate: closed, b may be worse by" in capsys.readouterr().out
    # More seeds take up what is there; a run that cannot be trained ends it with its message.
    (tmp_path / "a-2").write_text("", encoding="utf-8")
    assert main([*options, "--seeds", "3"]) == 2
    assert "fastgan: error: a-2: --outdir must be a folder" in capsys.readouterr().err


def test_an_interrupted_comparison_goes_on(planted: Path, tmp_path: Path) -> None:
    outdir = tmp_path / "runs"
    arguments = [sys.executable, "-m", "fastgan", *command(outdir, HEALTHY, FROZEN), "--seeds", "1"]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    while latest_checkpoint(outdir / "a-0") is None and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[0]
    assert process.returncode == 130, said
    assert said.rstrip().endswith("stopped; the same command goes on")
    stopped = latest_checkpoint(outdir / "a-0")
    assert stopped is not None and not (outdir / "b-0").exists()
    assert "runs" not in told(outdir)
    shutil.copytree(planted / "b-0", outdir / "b-0")  # complete
    assert main([*command(outdir, HEALTHY, FROZEN), "--seeds", "1"]) == 0
    assert main([*command(planted, HEALTHY, FROZEN), "--seeds", "1"]) == 0
    assert {name: run["value"] for name, run in told(outdir)["runs"].items()} == {
        name: run["value"] for name, run in told(planted)["runs"].items()
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--b", "--seed 3"], "--b: --seed is not for a side: compare gives its runs the seeds 0, 1, ..."),
        (["--b", "--outdir=x"], "--b: --outdir is not for a side"),
        (["--common", "--resume auto"], "--common: --resume is not for a side: compare goes on"),
        (["--a", "--resume-from x"], "--a: --resume-from is not for a side: a comparison begins its runs from nothing"),
        (["--b", "--set seed=3"], "side b: seed is set among --set; leave it out"),
        (["--b", "'"], "--b: No closing quotation in "),
        (["--b", "--mirorr"], "side b: there is no option '--mirorr' .did you mean '--mirror'"),
        (["--b", "--threads 0"], "side b: --threads must be at least 1, got 0"),
        (["--b", "--metrics swd --best kid"], "side b: best must be one of swd, got 'kid'"),
        (["--b", "--max-images 5"], "both sides must be trained on the same images, .* they differ in max_images"),
        (["--b", "--data {other}"], "both sides must be trained on the same images, .* they differ in data"),
        (["--b", "--resolution 8"], "both sides must be trained on the same images, .* they differ in resolution"),
        (["--metric", "kid_wavlet"], "metric must be one of swd, .*did you mean 'kid_wavelet'"),
        (["--metric", "eqr50k"], "side a: metrics: eqr50k is of generators that can move their pictures"),
        (["--metric", "swd", "--seeds", "1"], "--metric swd has no interval of one run; .* --seeds of at least 2"),
        (["--seeds", "0"], "seeds must be an integer of at least 1, got 0"),
        (["--tolerance", "0.1"], "--tolerance is of --gate, which is not given"),
        (["--common", "--cbase"], "side a: --channel-base: a value is missing"),
        (["--images", "1"], "images must be an integer of at least 2, got 1"),
    ],
)
@pytest.mark.usefixtures("nothing_is_trained")
def test_a_slip_costs_nothing(
    tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    assert main(["dataset", "--source", "emoji64", "--classes", "smileys/face-smiling", "--dest", str(other)]) == 0
    capsys.readouterr()
    given = [word.format(other=other) for word in arguments]
    if given[0] == "--common":
        given[1] = COMMON + f"0.24 {given[1]}"
    assert main([*command(tmp_path / "runs", HEALTHY, ""), *given]) == 2
    captured = capsys.readouterr()
    assert re.match(f"fastgan: error: {message}", captured.err), captured.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("nothing_is_trained")
def test_runs_of_other_options_are_not_taken_and_runs_that_ended_early_are(tmp_path: Path, capsys) -> None:
    early = "--metrics swd --patience 1 --glr 1e-9 --dlr 1e-9"
    train(tmp_path, "a-0", early, "8")  # nothing becomes better
    shutil.copytree(tmp_path / "a-0", tmp_path / "b-0")
    assert read_stats(tmp_path / "a-0" / "stats.jsonl")[-1]["kimg"] < 2
    assert main([*command(tmp_path, early, early, "8"), "--seeds", "1"]) == 0
    (tmp_path / "compare.json").unlink()
    capsys.readouterr()
    assert main([*command(tmp_path, early, f"{early} --mirror", "8"), "--seeds", "1"]) == 2
    assert "b-0 holds a run of other options than side b; choose another --outdir" in capsys.readouterr().err


@pytest.mark.usefixtures("nothing_is_trained")
def test_translations_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = tmp_path / "pairs"
    made = ["dataset", "--source", "emoji64", "--classes", "smileys/heart", "--resolution", "16", "--pair", "grey"]
    assert main([*made, "--dest", str(pairs)]) == 0
    common = (
        f"--cfg pix2pix --data {pairs} --kimg 0.1 --device cpu --set channel_base=4 d_channel_base=4 receptive_field=16"
    )
    assert main(["compare", "--common", common, "--b", "", "--outdir", str(tmp_path / "runs")]) == 2
    assert "side a: compare is of models that make images of noise, got a pix2pix" in capsys.readouterr().err


RISING = Metric(Brightness, lambda real, fake: {"rising": next(_RISES)}, images=6)
_RISES = iter(range(10))


def test_of_a_side_that_keeps_its_best_the_best_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "rising", f"{__name__}:RISING")
    arguments = [*(COMMON + "0.24").split(), "--keep", "1", "--metrics", "rising", "--best", "rising"]
    assert main(["train", *arguments, "--outdir", str(tmp_path)]) == 0
    options = CompareOptions(b="", outdir=tmp_path, common=" ".join(arguments))
    side, _ = sides.read_sides(options, "kid_wavelet", "cpu")
    data = load_dataset("emoji64", classes=["smileys/face-smiling"], resolution=(16, 16))
    assert compare.measured_checkpoint(side, tmp_path, data).name == "checkpoint-000000.080.safetensors"
    plain = CompareOptions(b="", outdir=tmp_path, common=COMMON + "0.24")
    without, _ = sides.read_sides(plain, "kid_wavelet", "cpu")
    assert compare.measured_checkpoint(without, tmp_path, data) == latest_checkpoint(tmp_path)
