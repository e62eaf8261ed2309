"""Runs on sets that are read as they go."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from fastgan.cli.main import main

TINY = [
    "--resolution", "16", "--batch", "4", "--cbase", "64", "--cmax", "8", "--map-depth", "1", "--set", "z_dim=8",
    "w_dim=8", "--tick", "0.004", "--snap", "2", "--device", "cpu", "--threads", "1",
]  # fmt: skip


def test_a_streamed_run_that_meets_a_broken_image_can_pass_over_it(tmp_path: Path, capsys) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    for i in range(12):
        Image.new("RGB", (16, 16), (20 * i, 0, 0)).save(data / f"{i}.png")
    options = [*TINY, "--data", str(data), "--stream", "True", "--outdir", str(run)]
    assert main(["train", *options, "--kimg", "0.008"]) == 0
    (data / "3.png").write_bytes(b"broken")
    assert main(["train", "--resume", str(run), "--kimg", "0.04", "--threads", "1"]) == 2
    error = capsys.readouterr().err
    assert "in no known image format" in error and "to pass over such images: fastgan train --resume" in error
    assert main(["train", "--resume", str(run), "--kimg", "0.04", "--threads", "1", "--skip-broken"]) == 0
    assert "warning: left out: " in capsys.readouterr().out
    # In memory the image is left out, and the others would be numbered anew: other data.
    assert main(["train", "--resume", str(run), "--kimg", "0.044", "--threads", "1", "--stream", "False"]) == 2
    assert "1 image cannot be read any more" in capsys.readouterr().err
    assert main(["train", "--resume", str(run), "--kimg", "0.044", "--threads", "1"]) == 0
