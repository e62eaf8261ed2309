"""fastgan train, generate and export of any family: its own flags, and families in a module of the user's own."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
from PIL import Image
from torch import nn

from fastgan.choices import MODELS
from fastgan.cli.arguments import read_arguments
from fastgan.cli.families import options_of
from fastgan.cli.flags import descriptions
from fastgan.cli.main import main
from fastgan.config.data import DataOptions
from fastgan.config.options import AdversarialOptions
from fastgan.config.penalties import read_penalties
from fastgan.models import Family
from fastgan.models.registry import family
from fastgan.train import folder
from fastgan.train.folder import latest_checkpoint
from fastgan.train.resuming import Origin
from tests.cli.test_train import state_of, train
from tests.models import third_family

DATA = [
    "--data",
    "emoji64",
    "--max-images",
    "8",
    "--resolution",
    "8",
    "--batch",
    "4",
    "--device",
    "cpu",
    "--threads",
    "1",
]


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """The text of both streams without the frames of tyro and rich."""
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).replace("│", " ").split())


def plan(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    """The configuration of a dry run."""
    assert main(["train", "-n", *arguments]) == 0
    text = capsys.readouterr().out
    return json.JSONDecoder().raw_decode(text[text.index("{") :])[0]


@pytest.mark.parametrize("name", MODELS)
def test_every_field_of_a_family_is_a_flag_with_a_text(name: str) -> None:
    of = family(name)
    made = options_of(of)()
    flags = {each.name for part in (made.training, made.architecture) for each in fields(part)}
    decided = {"resolution", "img_channels", "num_classes", "in_channels", "out_channels"}
    of_the_family = {each.name for kind in (of.options, of.config) for each in fields(kind)}
    assert of_the_family - flags <= decided and not flags & decided
    for kind in (of.options, of.config, DataOptions):
        assert {each.name for each in fields(kind)} <= set(descriptions(kind))


def test_the_help_of_a_family_shows_its_own_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--cfg", "dcgan", "--help"]) == 0
    text = said(capsys)
    assert "learning rate of G (Adam) (default: 0.0002)" in text and "(default: 0.5 0.999)" in text
    assert "--kernel-size INT side of the strided kernels, 5 as in the paper's networks, or 4 (default: 5)" in text
    assert "--pl-weight" not in text and "--num-classes" not in text and "--img-channels" not in text
    assert main(["train", "--help", "--cfg=stylegan2"]) == 0
    text = said(capsys)
    assert "weight of the path-length penalty; 0 for none (default: 2)" in text and "(default: r1=auto/16)" in text
    assert "--map-depth INT, --mapping-layers INT layers of G's mapping network (default: 8)" in text
    assert "half-life of the averaged generator, kimg; default: batch·10/32" in text
    assert main(["train", "--help"]) == 0
    text = said(capsys)
    assert "`fastgan train --cfg FAMILY --help` shows all of a family" in text and "--z-dim" not in text
    assert main(["train", "--cfg", "dcgam", "--help"]) == 2
    text = said(capsys)
    assert "model must be one of cyclegan, dcgan, pix2pix, r3gan, stylegan2, stylegan3-r, stylegan3-t; got" in text
    assert "got 'dcgam' (did you mean 'dcgan'?)" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--cfg", "dcgan", "--pl-weight", "2"],
            "--pl-weight is an option of stylegan2 and stylegan3-t and stylegan3-r, not of dcgan; `fastgan train ",
        ),
        (
            ["--cfg", "dcgan", "--map_depth", "2"],
            "--map-depth is an option of stylegan2 and stylegan3-t and stylegan3-r, not of dcgan",
        ),
        (
            ["--kernel-size", "4"],
            "--kernel-size is an option of dcgan, not of stylegan2; `fastgan train --cfg stylegan2",
        ),
        (["--cfg", "dcgan", "--kernel", "4"], "there is no option '--kernel' (did you mean '--kernel-size'?)"),
        (["--betas", "0.5"], "--betas takes 2 values, got 1"),
        (["--betas", "0.5", "x"], "--betas must be a number, got 'x'"),
        (["--cfg", "dcgan", "--set", "w_dim=8"], "--set: field of dcgan must be one of resolution, img_channels, "),
        (["--num-classes", "3"], "there is no option '--num-classes'"),
        (["--noise"], "--noise: a value is missing"),
        (["--penalties", "r1"], "penalties must be NAME=WEIGHT or NAME=WEIGHT/INTERVAL, each name once; got 'r1'"),
        (["--penalties", "r1=1", "r1=2"], "each name once; got 'r1=2'"),
        (["--penalties", "r1=many"], "got 'r1=many'"),
        (["--penalties", "r3=1"], "penalties must be one of r1, r2, wgan-gp, wgan-lp, zero-gp, dragan, got 'r3'"),
        (["--penalties", "wgan-gp=auto"], "penalties: weight of wgan-gp must be a number of at least 0, got None"),
        (["--penalties", "r1=1/0"], "penalties: interval of r1 must be an integer of at least 1, got 0"),
        (["--cfg", "nowhere:FAMILY"], "model 'nowhere:FAMILY': there is no module 'nowhere' here or among those"),
        (
            ["--cfg", "my_gan.py:FAMILY"],
            "or MODULE:NAME, my_gan:FAMILY for FAMILY of my_gan.py; got 'my_gan.py:FAMILY'",
        ),
        (["--cfg", ":FAMILY"], "or MODULE:NAME, my_gan:FAMILY for FAMILY of my_gan.py; got ':FAMILY'"),
        (["--cfg", "tests.models.third_family:GAN"], "has no `fastgan.models.Family` called 'GAN'"),
    ],
)
def test_slips_in_options_of_a_family_are_named(capsys, arguments: list[str], message: str) -> None:
    assert main(["train", "-n", *DATA, *arguments]) == 2
    assert message in said(capsys)


def test_old_names_of_options_are_those_of_the_fields(capsys: pytest.CaptureFixture[str]) -> None:
    old = ["--gamma", "3", "--glr", "0.1", "--dlr", "0.2", "--cbase", "64", "--cmax", "8", "--map_depth", "1"]
    now = ["--penalties", "r1=3", "--g-lr", "0.1", "--d-lr", "0.2", "--channel-base", "64", "--channel_max", "8",
           "--mapping-layers=1"]  # fmt: skip
    told = [plan(capsys, *DATA, "--w-dim", "8", *each) for each in (old, now)]
    assert told[0] == told[1]
    assert told[0]["training"]["penalties"] == {"r1": [3, 16]} and told[0]["training"]["d_lr"] == 0.2


def test_penalties_are_those_that_are_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert read_penalties(["r1=auto/4", "r2=1/1", "wgan-gp=10", "zero-gp=2"]) == {
        "r1": (None, 4), "r2": (1, 1), "wgan-gp": (10, 1), "zero-gp": (2, 1),
    }  # fmt: skip
    small = [*DATA, "--cbase", "32", "--w-dim", "4"]
    assert plan(capsys, *small, "--penalties", "r2=1/2", "--gamma", "5")["training"]["penalties"] == {
        "r2": [1, 2], "r1": [5, 16],
    }  # fmt: skip
    assert plan(capsys, *small, "--penalties")["training"]["penalties"] == {}


def test_a_run_and_a_file_know_their_family(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    small = ["--cfg", "dcgan", *DATA, "--cbase", "32", "--z-dim", "4", "--kernel-size", "4"]
    assert main(["train", *small, "--kimg", "0.004", "--tick", "0.004", "--outdir", str(run)]) == 0
    capsys.readouterr()
    for begins in (["--resume", str(run)], ["--config", str(run)], ["--outdir", str(run), "--resume=auto"]):
        assert plan(capsys, *begins, "--kernel-size", "4", "--threads", "1")["architecture"]["kernel_size"] == 4
        assert main(["train", "-n", *begins, "--pl-weight", "1"]) == 2
        assert "--pl-weight is an option of stylegan2 and stylegan3-t and stylegan3-r, not of dcgan" in said(capsys)
        assert main(["train", *begins, "--help"]) == 0
        assert "--kernel-size" in said(capsys)
    assert main(["train", "--resume", "nowhere", "--help"]) == 0
    assert "all of a family" in said(capsys)
    assert main(["train", "-n", "--resume", "nowhere", "--kernel-size", "4"]) == 2
    assert "--resume: nowhere does not exist" in said(capsys)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a family in a file of its own, which nothing has imported."""
    shutil.copy(third_family.__file__, tmp_path / "my_gan.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "my_gan", raising=False)
    return tmp_path


def forget() -> None:
    """As another process would know of the module."""
    del sys.modules["my_gan"]
    sys.path.pop()


def test_a_family_of_ones_own_is_trained_resumed_and_shown(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, run = ["--cfg", "my_gan:FAMILY"], str(own / "run")
    assert main(["train", *name, "--help"]) == 0
    text = said(capsys)
    assert "--ttur FLOAT D's learning rate is g_lr times this, whatever d_lr says. Source: Heusel et al. 2017" in text
    assert "--width INT units of the hidden layer (default: 16)" in text and "(default: r1=1/2)" in text
    given = [*DATA, "--cond", "--width", "5", "--ttur", "2", "--tick", "0.004"]
    assert main(["train", *name, *given, "--threads", "1", "--kimg", "0.008", "--outdir", run]) == 0
    rate = state_of(own / "run")["state"]["players"]["D"]["optimizer"]
    assert state_of(own / "run")["config"]["training"]["ttur"] == 2 and rate
    forget()
    capsys.readouterr()
    for begins in (["--resume", run], ["--config", run]):
        assert main(["train", *begins, "--kimg", "0.016"]) == 2
        text = said(capsys)
        assert "is a family of a module that is not imported" in text and "--cfg my_gan:FAMILY" in text
        assert "my_gan" not in sys.modules
    assert main(["train", "--resume", run, *name, "--kimg", "0.016", "--threads", "1"]) == 0
    assert state_of(own / "run")["state"]["progress"]["images"] == 16
    capsys.readouterr()
    assert main(["train", "--resume", run, *name, "--width", "6"]) == 2
    assert "width is 5, asked 6" in (text := said(capsys)) and "--outdir NEW --cfg my_gan:FAMILY" in text
    forget()
    pictures = ["generate", "--network", run, "--seeds", "0-1", "--class", "flags", "--outdir", str(own / "out")]
    assert main(pictures) == 2
    assert "--cfg my_gan:FAMILY" in said(capsys)
    assert main([*pictures, *name]) == 0
    assert len(list((own / "out").glob("*.png"))) == 2
    assert main(["export", "--network", run, *name, "--output", str(own / "g.pt2")]) == 0
    assert (own / "g.pt2").is_file()
    assert main([*pictures, "--cfg", "stylegan2"]) == 2
    assert "--cfg stylegan2: " in (text := said(capsys)) and "is of a my_gan:FAMILY" in text


def test_a_family_whose_names_collide_is_refused() -> None:
    @dataclass(frozen=True)
    class Doubled(AdversarialOptions):
        width: int = 3

    doubled = Family("doubled", third_family.DenseConfig, third_family.FAMILY.networks, Doubled)
    with pytest.raises(ValueError, match="doubled: architecture has a field 'width', which is another option"):
        options_of(doubled)


@dataclass(frozen=True)
class TranslationConfig:
    """Convolutions from images to images.

    Args:
        resolution, in_channels, out_channels: of the data.
        width: channels between.
    """

    resolution: tuple[int, int] = (8, 8)
    in_channels: int = 3
    out_channels: int = 3
    width: int = 4


def translator(cfg: TranslationConfig) -> nn.Module:
    return nn.Sequential(nn.Conv2d(cfg.in_channels, cfg.width, 1), nn.Conv2d(cfg.width, cfg.out_channels, 1))


TRANSLATION = Family(
    "translation",
    TranslationConfig,
    dict.fromkeys(("G_ab", "G_ba", "D_a"), translator),
    AdversarialOptions,
    data="two-sets",
)


def test_the_plan_of_several_networks_and_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side, count in (("a", 2), ("b", 3)):
        (tmp_path / side).mkdir()
        for i in range(count):
            Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / side / f"{i}.png")
    given = ["train", "--cfg", f"{__name__}:TRANSLATION", "--data", str(tmp_path), "--device", "cpu"]
    assert main([*given, "-n", "--width", "5"]) == 0
    text = said(capsys)
    assert text.count(" 38 ") == 3 and all(name in text for name in ("G_ab", "G_ba", "D_a"))  # 3·5 + 5 + 5·3 + 3
    assert "a: 2 images, 8×8" in text and "b: 3 images, 8×8" in text and '"in_channels": 3' in text
    assert main([*given, "--help"]) == 0
    text = said(capsys)
    assert "--max-images" in text and "--cond" not in text and "--in-channels" not in text
    assert main([*given, "-n", "--set", "out_channels=1"]) == 2
    assert "--set out_channels: the data decide it; use --channels" in said(capsys)


def test_a_resume_reads_the_checkpoint_once_and_lets_go_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    assert train(run, "--kimg", "0.004") == 0
    read, seen = [], []
    load, take = folder.load_checkpoint, Origin.take

    def counted(path: Path):
        read.append(path)
        return load(path)

    def taken(origin):
        tree = take(origin)
        seen.append(origin)
        return tree

    monkeypatch.setattr(folder, "load_checkpoint", counted)
    monkeypatch.setattr(Origin, "take", taken)
    newest = latest_checkpoint(run)
    assert main(["train", "--resume", str(run), "--kimg", "0.008", "--threads", "1"]) == 0
    assert read == [newest]
    assert len(seen) == 1 and seen[0]._tree == {}


def test_fields_that_no_words_can_write_are_no_flags_and_unknown_types_are_told() -> None:
    @dataclass(frozen=True)
    class Options(AdversarialOptions):
        """More.

        Args:
            ratios, shares: of sizes.
        """

        ratios: tuple[float, ...] = ()
        shares: dict[str, list[int]] | tuple[int, int] | None = None
        limit: int | None = None

    made = options_of(Family("more", third_family.DenseConfig, third_family.FAMILY.networks, Options))
    training = made().training
    assert {"ratios", "limit"} <= {each.name for each in fields(training)} and not hasattr(training, "shares")
    assert descriptions(Options)["ratios"] == descriptions(Options)["shares"] == "of sizes."
    read = read_arguments(made, "train", ["--ratios", "0.5", "2", "--limit", "3"]).training
    assert (read.ratios, read.limit, read.batch) == ((0.5, 2.0), 3, None)

    body = {"__annotations__": {"scale": "Elsewhere"}, "scale": 1}
    unknown = dataclass(frozen=True)(type("Unknown", (AdversarialOptions,), body))
    with pytest.raises(ValueError, match="types of the fields of Unknown must be found when .*Elsewhere"):
        options_of(Family("unknown", third_family.DenseConfig, third_family.FAMILY.networks, unknown))
