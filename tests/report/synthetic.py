"""The folder of a run that never was, but could have been."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
from PIL import Image

# What the folder's pictures show: generated images turn from grey to this, real ones are that.
GENERATED, REAL = (40, 120, 230), (230, 140, 30)


def grid(path: Path, colour: tuple[int, ...], size: int = 136) -> None:
    """path <- 4x4 noisy squares of a colour on white."""
    noise = np.random.default_rng(0).integers(-8, 9, (size, size, 3))
    pixels = np.clip(np.array(colour) + noise, 0, 255)
    pixels[np.arange(size) % (size // 4) < 3] = 255
    pixels[:, np.arange(size) % (size // 4) < 3] = 255
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def figures(kimg: float) -> dict:
    wave = math.sin(kimg * 7.3) * math.cos(kimg * 3.1)
    found = {
        "kimg": kimg,
        "step": round(kimg * 1000 / 16),
        "images_per_second": 80 + 5 * wave,
        "seconds_per_kimg": 1000 / (80 + 5 * wave),
        "memory_gib": 0.7,
        "loss/G": 1.5 + 0.4 * math.exp(-kimg / 20) + 0.05 * wave,
        "loss/D": 0.8 - 0.001 * kimg + 0.04 * wave,
        "loss/r1": 0.05 + 0.002 * kimg,
        "score/real": 1.0 + 0.1 * wave,
        "score/fake": -1.0 - 0.1 * wave,
    }
    if kimg % 20 == 0:
        found |= {"metric/swd": 20 + 400 / kimg, "metric/swd_32": 21 + 400 / kimg, "metric/swd_images": 1000.0}
    return found


def make_run(folder: Path, kimg: int = 200, total: float = 200.0, source: str = "emoji64") -> Path:
    """A run of `kimg` thousand images, ticks of 2 and snapshots of 20, that was to have `total`."""
    folder.mkdir(parents=True)
    config = {
        "model": "stylegan2",
        "architecture": {"resolution": [32, 32], "z_dim": 128, "noise": False, "conv_clamp": None},
        "data": {"source": source, "classes": []},
        "training": {"kimg": total, "tick": 2.0, "snap": 10, "metrics": ["swd"], "betas": [0.0, 0.99]},
    }
    (folder / "config.json").write_text(json.dumps(config))
    lines = [json.dumps(figures(float(k))) for k in range(2, kimg + 1, 2)]
    (folder / "stats.jsonl").write_text("".join(f"{line}\n" for line in lines))
    record = {
        "state": "finished" if kimg >= total else "running",
        "begun": 1.7e9,
        "written": 1.7e9 + 3600,
        "environment": {"fastgan": "0.1.0", "torch": "2.13.0", "device": "cpu: a processor", "CPU threads": "2"},
        "warnings": ["--mirror flips images of flags: their mirror images are wrong"],
        "floors": {"swd": 17.07},
    }
    (folder / "run.json").write_text(json.dumps(record))
    grid(folder / "reals.png", REAL)
    for k in range(0, kimg + 1, 20):
        colour = [round(128 + (c - 128) * k / kimg) for c in GENERATED]
        grid(folder / f"grid-{k:06d}.png", tuple(colour))
    return folder
