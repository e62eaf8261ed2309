from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fastgan.checkpoint import save_checkpoint
from fastgan.cli.main import main
from fastgan.generate import Sampler
from fastgan.generate.quantise import to_uint8
from fastgan.interop import export
from fastgan.models.registry import build
from tests.cli.test_generate import network

pytestmark = pytest.mark.thorough

SEEDS = [3, 1, 4]  # their number is no batch that was exported
OWN_WARNINGS = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def dcgan(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = {"resolution": (16, 16), "channel_base": 64, "channel_max": 8, "z_dim": 8}
    tree = {"model": {"name": "dcgan", "config": config}, "G_ema": build("dcgan", **config)[1].state_dict()}
    save_checkpoint(tmp_path / "dcgan.safetensors", tree, metadata={"kimg": 1.0})
    return tmp_path / "dcgan.safetensors"


def images(file: Path, given: list[torch.Tensor], names: tuple[str, ...]) -> torch.Tensor:
    """What the file makes of tensors, as bytes."""
    if file.suffix == ".pt2":
        return to_uint8(torch.export.load(file).module()(*given))
    session = importlib.import_module("onnxruntime").InferenceSession(str(file))
    (made,) = session.run(["images"], dict(zip(names, (value.numpy() for value in given), strict=True)))
    return to_uint8(torch.from_numpy(made))


@pytest.fixture(params=["onnx", "pt2"])
def ending(request) -> str:
    if request.param == "onnx":
        request.getfixturevalue("onnx")
    return request.param


@OWN_WARNINGS
@pytest.mark.parametrize(
    ("classes", "options", "sampled"),
    [
        ((), [], {}),
        (("a", "b", "c"), ["--trunc", "0.5"], {"truncation_psi": 0.5}),
        (
            ("a", "b", "c"),
            ["--trunc", "0.5", "--trunc-center", "all", "--noise-mode", "none", "--batch", "3"],
            {"truncation_psi": 0.5, "truncation_center": "all", "noise_mode": "none"},
        ),
    ],
    ids=["plain", "classes", "center_of_all"],
)
def test_the_file_makes_the_pictures_that_fastgan_generate_makes(
    tmp_path: Path, ending: str, classes: tuple[str, ...], options: list[str], sampled: dict
) -> None:
    path, file = network(tmp_path, *classes), tmp_path / "new" / f"G.{ending}"
    assert main(["export", "--network", str(path), "--output", str(file), *options]) == 0
    sampler = Sampler.from_checkpoint(path)
    given = [value for value in sampler.latents(SEEDS) if value is not None]
    made, expected = images(file, given, ("z", "c")[: len(given)]), sampler.images(SEEDS, batch_size=3, **sampled)
    assert np.abs(made.int() - expected.int()).max() <= 1
    assert [entry.name for entry in file.parent.iterdir()] == [file.name]


@OWN_WARNINGS
def test_ws_go_in_where_they_are_asked_for(tmp_path: Path, ending: str) -> None:
    path, file = network(tmp_path, "a", "b"), tmp_path / f"G.{ending}"
    assert main(["export", "--network", str(path), "--output", str(file), "--inputs", "ws"]) == 0
    sampler = Sampler.from_checkpoint(path)
    ws = sampler.G.mapping(*sampler.latents(SEEDS))
    ws[:, 3:] = ws[:1, 3:]  # a mixture
    expected = to_uint8(sampler.G.synthesis(ws, noise_mode="const"))
    assert (images(file, [ws], ("ws",)).int() - expected.int()).abs().max() <= 1


@OWN_WARNINGS
def test_dcgan_is_exported_too(tmp_path: Path, ending: str, capsys: pytest.CaptureFixture[str]) -> None:
    path, file = dcgan(tmp_path), tmp_path / f"G.{ending}"
    assert main(["export", "--network", str(path), "--output", str(file)]) == 0
    sampler = Sampler.from_checkpoint(path)
    expected = sampler.images(SEEDS, batch_size=3)
    assert (images(file, [sampler.latents(SEEDS)[0]], ("z",)).int() - expected.int()).abs().max() <= 1
    for options, message in (
        (["--trunc", "0.7"], "truncation_psi must be 1: a dcgan generator maps no latents to styles; got 0.7"),
        (["--inputs", "ws"], "inputs must be z: a dcgan generator maps no latents to styles"),
    ):
        assert main(["export", "--network", str(path), "--output", str(tmp_path / "no.pt2"), *options]) == 2
        assert message in capsys.readouterr().err and not (tmp_path / "no.pt2").exists()


@OWN_WARNINGS
def test_the_lines_that_are_printed_run_without_fastgan(
    tmp_path: Path, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path, file = network(tmp_path, "a", "b", "c"), tmp_path / f"G.{ending}"
    assert main(["export", "--network", str(path), "--output", str(file)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"wrote {file}: ")
    assert said[1].startswith("onnxruntime " if ending == "onnx" else "torch ") and "N = 2 and 3" in said[1]
    assert said[2:5] == [
        "input z: float32 [N, 8], drawn from N(0, 1)",
        "input c: float32 [N, 3], one-hot, a row an image",
        "output images: float32 [N, 3, 16, 16], about [-1, 1]",
    ]
    code = "\n".join(line.strip() for line in said[5:])
    check = f"{code}\nimport sys; print(list(images.shape), 'fastgan' in sys.modules)"
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", check], capture_output=True, text=True, check=False)
    assert ran.stdout == "[4, 3, 16, 16] False\n", ran.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output", "G.pth"], "--output must be a file ending in .onnx or .pt2, got G.pth"),
        (["--output", "G.pt2", "--format", "onnx"], "--output must be a file ending in .onnx, got G.pt2"),
        (["--batch", "0"], "--batch must be dynamic or a number from 1 to 65536, got '0'"),
        (["--batch", "all"], "--batch must be dynamic or a number from 1 to 65536, got 'all'"),
        (["--trunc", "nan"], "truncation_psi must be finite and within float32, got nan"),
        (["--inputs", "ws", "--trunc", "0.5"], "truncation_psi must be 1 where ws comes in"),
        (["--network", "gone.safetensors"], "checkpoint gone.safetensors does not exist"),
        (["--output", "network.safetensors/G.pt2"], "network.safetensors"),
    ],
)
def test_errors_are_worded_and_write_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    network(Path("."))
    given = ["--network", "network.safetensors"] if "--network" not in options else []
    output = ["--output", "out/G.pt2"] if "--output" not in options else []
    assert main(["export", *given, *output, *options]) == 2
    assert capsys.readouterr().err.startswith(f"fastgan: error: {message}")
    assert [entry.name for entry in Path(".").rglob("*")] == ["network.safetensors"]


def test_a_library_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert main(["export", "--network", str(network(tmp_path)), "--output", str(tmp_path / "G.onnx")]) == 2
    assert "onnxscript: pip install 'fastgan[onnx]'" in capsys.readouterr().err


def test_a_file_that_makes_other_pictures_does_not_replace_one_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "G.pt2"
    file.write_text("of before")
    load = torch.export.load

    def brighter(source) -> SimpleNamespace:
        module = load(source).module()
        return SimpleNamespace(module=lambda: lambda *given: module(*given) * 1.01)

    monkeypatch.setattr(torch.export, "load", brighter)
    with pytest.raises(ValueError, match="torch gives other images than fastgan"):
        export.export_torch(export.ImageMaker(Sampler.from_checkpoint(network(tmp_path))), file)
    assert file.read_text() == "of before" and len(list(tmp_path.iterdir())) == 2
