"""fastgan train --precision: what is trained, kept and shown, and where it is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fastgan.cli.main import main
from fastgan.generate.loading import load_generator
from fastgan.nn import precision
from fastgan.train.run import Run
from tests.cli.test_train import assert_same, state_of, train


def allow(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a CPU whose units for half precision are the faster ones."""
    monkeypatch.setattr(precision, "_seconds", lambda dtype: 1.0 if dtype == torch.float32 else 0.5)


def tensors(tree: Any):
    if isinstance(tree, dict):
        for part in tree.values():
            yield from tensors(part)
    elif isinstance(tree, torch.Tensor):
        yield tree


def options_of(run: Path) -> dict[str, Any]:
    config = json.loads((run / "config.json").read_text())
    return config["architecture"] | config["training"]


@pytest.mark.parametrize("half", ["bf16", "fp16"])
def test_a_cpu_that_is_slower_in_half_precision_is_told(tmp_path: Path, monkeypatch, capsys, half) -> None:
    monkeypatch.setattr(precision, "_seconds", lambda dtype: 0.001 if dtype == torch.float32 else 0.15)
    assert train(tmp_path / "run", "--precision", half) == 2
    said = capsys.readouterr().err
    assert f"--precision {half}: {half} is slower than fp32 on this CPU" in said and "150 ms, in fp32 1 ms" in said
    assert not (tmp_path / "run").exists()
    assert train(tmp_path / "run", "--precision", half, "-n") == 0  # a plan may be of another machine
    assert f'"precision": "{half}"' in capsys.readouterr().out


def test_tf32_is_of_gpus(tmp_path: Path, capsys) -> None:
    assert train(tmp_path / "run", "--precision", "tf32") == 2
    assert "--precision tf32: tf32 is of GPUs alone" in capsys.readouterr().err


def test_a_run_in_half_precision_keeps_and_shows_float32(tmp_path: Path, monkeypatch) -> None:
    allow(monkeypatch)
    runs: list[Run] = []
    monkeypatch.setattr("fastgan.cli.train.Run", lambda *given, **named: runs.append(Run(*given, **named)) or runs[0])
    run = tmp_path / "run"
    assert train(run, "--precision", "bf16", "--num-fp16-res", "2", "--kimg", "0.008") == 0
    options = options_of(run)
    assert (options["precision"], options["half_resolutions"], options["conv_clamp"]) == ("bf16", 2, 256.0)
    tree = state_of(run)
    kept = [*tensors(tree["state"]["players"]), *tensors(tree["G_ema"])]
    assert {tensor.dtype for tensor in kept if tensor.is_floating_point()} == {torch.float32}
    networks: Any = [*runs[0].game.players[0].modules.values(), *runs[0].game.players[1].modules.values()]
    G, D = networks
    average: Any = runs[0].game.averages["G"].module
    half, wide = precision.Precision("bf16", 2), precision.Precision()
    assert (G.synthesis.precision, D.precision, average.synthesis.precision) == (half, half, wide)
    loaded: Any = load_generator(run / "checkpoint-000000.008.safetensors")[0]
    assert loaded.synthesis.precision == wide


def test_a_run_in_half_precision_goes_on_bit_for_bit(tmp_path: Path, monkeypatch, capsys) -> None:
    allow(monkeypatch)
    half = ["--precision", "fp16", "--num-fp16-res", "1"]
    assert train(tmp_path / "whole", *half, "--kimg", "0.016") == 0
    assert train(tmp_path / "parts", *half, "--kimg", "0.008") == 0
    assert main(["train", "--resume", str(tmp_path / "parts"), "--kimg", "0.016", "--threads", "1"]) == 0
    assert_same(
        state_of(tmp_path / "whole"), state_of(tmp_path / "parts") | {"config": state_of(tmp_path / "whole")["config"]}
    )
    capsys.readouterr()
    assert main(["train", "--resume", str(tmp_path / "parts"), "--precision", "fp32"]) == 2
    assert "precision is fp16, asked fp32" in capsys.readouterr().err
    assert train(tmp_path / "wide", "--kimg", "0.016") == 0
    assert any(
        not torch.equal(a, b)
        for a, b in zip(tensors(state_of(tmp_path / "whole")), tensors(state_of(tmp_path / "wide")), strict=True)
    )


def test_the_bound_on_activations_belongs_to_half_precision(tmp_path: Path, monkeypatch, capsys) -> None:
    def clamp_of(*arguments: str) -> Any:
        assert train(tmp_path / "run", "-n", *arguments) == 0
        said = capsys.readouterr().out
        return json.loads(said[: said.index("\n}") + 2])["architecture"]["conv_clamp"]

    assert clamp_of() is clamp_of("--precision", "tf32") is clamp_of("--precision", "bf16", "--half-resolutions", "0")
    assert clamp_of() is None
    assert clamp_of("--precision", "fp16") == 256
    assert clamp_of("--precision", "fp16", "--conv-clamp", "100") == 100
    assert clamp_of("--precision", "fp16", "--set", "conv_clamp=null") is None


def test_a_family_of_ones_own_that_follows_no_precision_is_told(tmp_path: Path, monkeypatch, capsys) -> None:
    allow(monkeypatch)
    data = ["--data", "emoji64", "--max-images", "8", "--resolution", "8", "--batch", "4", "--device", "cpu"]
    run = ["--cfg", "tests.models.third_family:FAMILY", "--precision", "bf16", "--outdir", str(tmp_path / "run")]
    assert main(["train", *data, *run]) == 2
    assert "precision must be fp32 or tf32 for Generator" in capsys.readouterr().err
