"""Slips in what follows a verb: each is one sentence that names the option and what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastgan.cli.arguments import read_arguments
from fastgan.cli.families import options_of
from fastgan.cli.main import main
from fastgan.cli.options.bench import BenchOptions
from fastgan.cli.options.compare import CompareOptions
from fastgan.cli.options.dataset import DatasetOptions
from fastgan.cli.options.doctor import DoctorOptions
from fastgan.cli.options.export import ExportOptions
from fastgan.cli.options.generate import GenerateOptions
from fastgan.cli.options.report import ReportOptions
from fastgan.cli.options.video import VideoOptions
from fastgan.models.registry import family

STYLEGAN2 = options_of(family("stylegan2"))
OPTIONS = {
    "train": STYLEGAN2,
    "generate": GenerateOptions,
    "video": VideoOptions,
    "export": ExportOptions,
    "compare": CompareOptions,
    "dataset": DatasetOptions,
    "report": ReportOptions,
    "bench": BenchOptions,
    "doctor": DoctorOptions,
}


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("train --bach 4", "there is no option '--bach' (did you mean '--batch'?)"),
        ("train --batchgpu=4", "there is no option '--batchgpu' (did you mean '--batch-gpu'?)"),
        ("train --seeds 1..5", "there is no option '--seeds' (did you mean '--seed'?)"),
        ("train -x", "there is no option '-x'"),
        ("train --no-mirror", "there is no option '--no-mirror' (did you mean '--mirror'?)"),
        ("train --mirror true", "--mirror is a switch: give it without 'true', or leave it out"),
        ("train --mirror no", "--mirror is a switch: give it without 'no', or leave it out"),
        ("train --cond=yes", "--cond is a switch: give it without 'yes', or leave it out"),
        ("train --stream", "--stream: a value is missing"),
        ("train --stream true", "--stream must be one of True, False; got 'true' (did you mean 'True'?)"),
        ("train --batch 1e3", "--batch must be an integer, got '1e3'"),
        ("train --batch 16.0", "--batch must be an integer, got '16.0'"),
        ("train --batch_gpu x", "--batch-gpu must be an integer, got 'x'"),
        ("train --kimg 1,000", "--kimg must be a number, got '1,000'"),
        ("train --kimg", "--kimg: a value is missing"),
        ("train --kimg --batch 4", "--kimg: a value is missing"),
        ("train --channels 4", "--channels must be one of 1, 3; got '4'"),
        ("train photos", "'photos' belongs to no option"),
        ("train --data photos more", "--data takes one value, but after 'photos' comes 'more'"),
        ("compare --outdir o --b", "--b: a value is missing"),
        ("compare --outdir o --b --mirror --cond", "there is no option '--cond'"),
        ("generate", "--network and --outdir must be given"),
        ("generate --network a", "--outdir must be given"),
        ("generate runs/mine", "'runs/mine' belongs to no option; did you mean --network runs/mine?"),
        ("generate --network a --outdir b --translate 1", "--translate takes 2 values, got 1"),
        ("generate --network a --outdir b --translate 1 x", "--translate must be a number, got 'x'"),
        ("video --network a --shot zoom", "--shot must be one of walk, pan, rotate; got 'zoom'"),
        ("generate --network a --outdir b --device tpu", "--device must be one of cpu, cuda; got 'tpu'"),
        ("generate --network a --outdir b --trunc half", "--trunc must be a number, got 'half'"),
        ("dataset photos", "'photos' belongs to no option; did you mean --source photos?"),
        ("dataset --source a --format jpg", "--format must be one of webp, png; got 'jpg'"),
        ("dataset --source a --preview", "--preview: a value is missing"),
        ("report", "RUN must be given"),
        ("report a b", "RUN takes one value, but after 'a' comes 'b'"),
        ("bench", "WHAT (ops, roofline) must be given"),
        ("bench op", "WHAT must be one of ops, roofline; got 'op' (did you mean 'ops'?)"),
        (
            "bench ops --dtype fp32 bf61",
            "--dtype must be one of bf16, fp16, fp32, fp64; got 'bf61' (did you mean 'bf16'?)",
        ),
        ("doctor now", "'now' belongs to no option"),
        ("doctor --jsn", "there is no option '--jsn' (did you mean '--json'?)"),
    ],
)
def test_a_slip_is_told_in_one_sentence(command: str, sentence: str) -> None:
    verb, *arguments = command.split()
    with pytest.raises(ValueError) as told:
        read_arguments(OPTIONS[verb], verb, arguments)
    words, advice = str(told.value).rsplit("; ", 1)
    shown = "train --cfg stylegan2" if verb == "train" else verb
    assert words.startswith(sentence) and advice == f"`fastgan {shown} --help` shows all options"


def test_files_that_the_shell_made_of_a_pattern_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    with pytest.raises(
        ValueError, match=r"after 'a.png' comes 'b.png'; if the shell made several of a pattern such as"
    ):
        read_arguments(STYLEGAN2, "train", ["--data", "a.png", "b.png"])


def test_what_is_right_is_read() -> None:
    options = read_arguments(
        STYLEGAN2,
        "train",
        ["--kimg", "1e3", "--batch_gpu=4", "--mirror", "-n", "--classes", "a", "b", "--stream", "True"],
    )
    training, images = options.training, options.images
    assert (training.kimg, training.batch_gpu, training.mirror, options.dry_run) == (1000, 4, True, True)
    assert (images.classes, images.stream, training.batch) == (("a", "b"), True, None)
    assert read_arguments(ReportOptions, "report", ["--out", "x.html", "run"]).run == Path("run")
    assert (
        read_arguments(
            GenerateOptions, "generate", ["--network", "a", "--outdir", "b", "--class", "all", "--trunc", "-1"]
        ).trunc
        == -1
    )


def test_options_of_another_verb_are_taken_whatever_they_begin_with() -> None:
    words = ["--b", "--mirror", "--a=--seed 3", "--common", "-n", "--outdir", "o", "--gate"]
    options = read_arguments(CompareOptions, "compare", words)
    assert (options.b, options.a, options.common, options.gate) == ("--mirror", "--seed 3", "-n", True)


def test_set_given_twice_adds_up() -> None:
    options = read_arguments(STYLEGAN2, "train", ["--set", "a=1", "b=2", "--set", "c=3"])
    assert options.set == (("a=1", "b=2"), ("c=3",))


def test_the_help_of_a_verb_is_shown_whatever_stands_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["help", "report"], ["report", "--nonsense", "-h"], ["report", "-h", "run"]):
        assert main(arguments) == 0
        assert "usage: fastgan report" in capsys.readouterr().out
    assert main(["help", "nothing"]) == 2


@pytest.mark.parametrize("written", ["-v", "-V", "--version", "version"])
def test_the_version_is_told_however_it_is_asked_for(written: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([written]) == 0
    assert capsys.readouterr().out.startswith("fastgan ")


@pytest.mark.parametrize("written", [["--data", "~/photos"], ["--data=~/photos"]])
def test_a_home_that_the_shell_left_alone_is_found(written: list[str], tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["train", "-n", *written]) == 2
    assert f"{tmp_path}/photos: no such file or folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("item", "advice"),
    [("resolution=32", "--resolution"), ("img_channels=1", "--channels"), ("num_classes=3", "--cond and --classes")],
)
def test_a_field_that_the_data_decide_is_not_set(item: str, advice: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "-n", "--set", item]) == 2
    name = item.partition("=")[0]
    assert capsys.readouterr().err == f"fastgan: error: --set {name}: the data decide it; use {advice}\n"


def test_options_that_would_do_nothing_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dataset", "--source", "emoji64", "--resolution", "8", "--shard-size", "3"]) == 2
    assert capsys.readouterr().err == (
        "fastgan: error: --resolution, --shard-size: nothing is written without --dest, which names what to write\n"
    )
    assert main(["dataset", "--source", "emoji64", "--preview", "grid.jpg"]) == 2
    assert capsys.readouterr().err == "fastgan: error: --preview must be a file ending in .png, got grid.jpg\n"
