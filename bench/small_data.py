"""What augmentation does on small data: python bench/small_data.py --fashion FOLDER [--json FILE] [--outdir DIR].

StyleGAN2 at 32x32 on the packaged emoji's faces (82 images, 15 held out) and on 500 images of Fashion-MNIST (FOLDER
holds its idx files; held out are the 10,000 of its test), with ADA, with DiffAugment and without, each with the same
seeds and the same number of images. Told of each: swd to the images that it was trained on and, where there are enough,
to those held out; r_v, how far D takes held-out images for generated; r_t and p at the end. A run that is complete in
DIR is not repeated.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from fastgan.bench.machine import describe_machine
from fastgan.data import load_dataset
from fastgan.generate.loading import load_generator, newest_checkpoint
from fastgan.generate.quantise import to_uint8
from fastgan.metrics import Evaluation
from fastgan.report import read_stats

MODEL = [
    "--cfg", "stylegan2", "--resolution", "32", "--cbase", "512", "--cmax", "64", "--map-depth", "2",
    "--set", "z_dim=64", "w_dim=64", "style_mixing=0", "noise=false", "--batch", "16", "--pl-weight", "0",
    "--gamma", "1", "--glr", "0.008", "--dlr", "0.008", "--tick", "0.4",
    "--snap", "5", "--keep", "1", "--metrics", "swd",
]  # fmt: skip
AUGMENTATIONS = {
    "none": ["--aug", "none"],
    "diffaug": ["--aug", "diffaug"],
    "ada": ["--aug", "ada", "--ada-kimg", "10"],  # p has as far to go as in 500 of 25,000 kimg, and fewer to go in
}
SETS = ("faces", "fashion")
ENOUGH = 200  # images held out, of which a distance says something


def sets(fashion: Path, work: Path) -> dict[str, list[str]]:
    """Name -> the options that give the set and the images held out."""
    faces, held = work / "faces.zip", work / "faces-held-out.zip"
    if not held.exists():
        making = ["--source", "emoji64", "--classes", "smileys/faces", "--resolution", "32", "--hold-out", "0.15"]
        subprocess.run([sys.executable, "-m", "fastgan", "dataset", *making, "--dest", str(faces)], check=True)
    trained, test = (str(fashion / f"{part}-images-idx3-ubyte.gz") for part in ("train", "t10k"))
    return {
        "faces": ["--data", str(faces), "--held-out", str(held), "--mirror"],
        "fashion": ["--data", trained, "--held-out", test, "--max-images", "500", "--mirror"],
    }


def train(options: list[str], outdir: Path, kimg: float, seed: int, threads: int) -> list[dict[str, Any]]:
    """The statistics of a run, trained unless it is complete."""
    stats = outdir / "stats.jsonl"
    if not stats.exists() or read_stats(stats)[-1]["kimg"] < kimg:
        command = [sys.executable, "-m", "fastgan", "train", *MODEL, *options, "--kimg", str(kimg), "--seed", str(seed)]
        command += ["--outdir", str(outdir), "--resume", "auto", "--threads", str(threads), "--device", "cpu"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return read_stats(stats)


def distance(outdir: Path, place: str) -> float | None:
    """swd of a run's generator to the images at a place; None where they are few."""
    images = load_dataset(place, resolution=(32, 32), labelled=False)
    if len(images) < ENOUGH:
        return None
    G: Any = load_generator(newest_checkpoint(outdir))[0]

    def sample(count: int) -> Iterator[torch.Tensor]:
        z = torch.randn(count, G.z_dim, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            yield from (to_uint8(G(piece, None, noise_mode="const")) for piece in z.split(50))

    return Evaluation(["swd"], images).evaluate(sample)["swd"]


def measured(options: list[str], outdir: Path, kimg: float, seed: int, threads: int) -> dict[str, float | None]:
    """The figures of one run at its end."""
    records = train(options, outdir, kimg, seed, threads)
    snapshots = [record for record in records if "metric/swd" in record]
    last = snapshots[-1]
    return {
        "swd": last["metric/swd"],
        "swd_best": min(record["metric/swd"] for record in snapshots),
        "swd_held_out": distance(outdir, options[options.index("--held-out") + 1]),
        "r_v": statistics.mean(record["overfit/r_v"] for record in snapshots[-3:]),
        "r_t": statistics.mean(record["overfit/r_t"] for record in records[-5:]),
        "p": last.get("augment/p"),
    }


def shown(values: list[float | None]) -> str:
    """Mean and range of the seeds."""
    known = [value for value in values if value is not None]
    return f"{statistics.mean(known):.3g} ({min(known):.3g}-{max(known):.3g})" if known else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--fashion", type=Path, required=True)
    parser.add_argument("--outdir", type=Path, default=Path("runs/small-data"))
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--kimg", type=float, default=16)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    given.outdir.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(given.threads)
    places = sets(given.fashion, given.outdir)
    found: dict[tuple[str, str], list[dict[str, float | None]]] = {}
    for seed in range(given.seeds):
        for name in given.sets:
            options = places[name]
            for how, augmentation in AUGMENTATIONS.items():
                outdir = given.outdir / f"{name}-{how}-{seed}"
                figures = measured([*options, *augmentation], outdir, given.kimg, seed, given.threads)
                found.setdefault((name, how), []).append(figures)
                print(name, how, seed, json.dumps(figures), flush=True)
    table = Table(title=f"after {given.kimg:g} kimg: mean of {given.seeds} seeds, and their range")
    columns = ("swd", "swd_best", "swd_held_out", "r_v", "r_t", "p")
    for column in ("set", "augmentation", *columns):
        table.add_column(column)
    for key, runs in found.items():
        table.add_row(*key, *(shown([run[column] for run in runs]) for column in columns))
    Console(width=140).print(table)
    if given.json:
        runs = [{"set": name, "augmentation": how, "runs": each} for (name, how), each in found.items()]
        about = {"command": "python bench/small_data.py --fashion FOLDER", "kimg": given.kimg, "model": MODEL}
        given.json.write_text(
            json.dumps({"machine": describe_machine(torch.device("cpu")), **about, "results": runs}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
