"""Model families in the same CPU time at 32x32: python bench/families.py --fashion FOLDER [--json FILE].

FOLDER holds Fashion-MNIST's idx files. Sets: "emoji", the packaged images; "fashion", the 60,000 images; "stacked",
60,000 RGB images whose channels are three of them at random, so that there are 1000 modes, triples of classes. Told of
each run: the sliced Wasserstein distance, the metrics of METRICS with their intervals and, of "stacked", what a
classifier of ours sees in 25,600 generated images: how many modes there are, and the Kullback-Leibler divergence of
their frequencies from even ones (Metz et al. 2017, Unrolled GANs, section 3.3.1; there of MNIST). How many images a
family is shown comes from its own pace, measured once, so that all take --minutes of one thread. A run that is complete
in DIR is not repeated.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from fastgan.bench.machine import describe_machine
from fastgan.data import load_dataset
from fastgan.generate.loading import load_generator, newest_checkpoint
from fastgan.generate.quantise import to_uint8
from fastgan.report import read_stats

COMMON = ["--resolution", "32", "--batch", "16", "--cbase", "512", "--cmax", "64", "--tick", "0.4", "--keep", "1"]
FAMILIES = {
    "stylegan2": [
        "--cfg", "stylegan2", "--map-depth", "2", "--set", "z_dim=64", "w_dim=64", "style_mixing=0", "noise=false",
        "--pl-weight", "0", "--gamma", "1", "--glr", "0.008", "--dlr", "0.008",
    ],
    "stylegan3-t": [
        "--cfg", "stylegan3-t", "--set", "z_dim=64", "w_dim=64", "--gamma", "1", "--glr", "0.004", "--dlr", "0.004",
    ],
    "dcgan": ["--cfg", "dcgan", "--glr", "0.0005", "--dlr", "0.0005"],
    "r3gan": [
        "--cfg", "r3gan", "--glr", "0.001", "--dlr", "0.001", "--penalties", "r1=1/1", "r2=1/1", "--penalty-end", "0.3",
        "--burn-in", "10", "--ema-kimg", "1",
    ],
}  # fmt: skip
SETS = ("emoji", "fashion", "stacked")
METRICS = ("kid_wavelet", "pr_wavelet", "kid_effnetlite0", "pr_effnetlite0")
# Of a record of `fastgan metrics`.
KEPT = ("value", "low", "high", "floor", "real_images", "generated_images", "resize")
SAMPLES = 25_600
TICK = 0.4  # kimg


def padded(path: Path) -> np.ndarray:
    """The images of an idx file, uint8 [n, 32, 32], with the margin that MNIST's often get."""
    images = load_dataset(str(path), labelled=False)
    pixels = torch.cat([images.read(numbers) for numbers in torch.arange(len(images)).split(1000)])
    return np.pad(pixels[..., 0].numpy(), ((0, 0), (2, 2), (2, 2)))


def stack(fashion: Path, folder: Path) -> Path:
    """60,000 stacked images as a file in CIFAR-10's binary form."""
    file = folder / "data_batch_1.bin"
    if not file.exists():
        pixels = padded(fashion / "train-images-idx3-ubyte.gz")
        triples = np.random.default_rng(0).integers(len(pixels), size=(60_000, 3))
        folder.mkdir(parents=True, exist_ok=True)
        records = np.concatenate([np.zeros((60_000, 1), np.uint8), pixels[triples].reshape(60_000, -1)], axis=1)
        records.tofile(file)
    return folder


class Classifier(nn.Sequential):
    """Ten classes of grey 32x32 images in [0, 1]."""

    def __init__(self) -> None:
        super().__init__(
            *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * 8 * 8, 128), nn.ReLU(), nn.Linear(128, 10)),
        )

    def classes(self, images: Tensor) -> Tensor:
        """int64 [n] of uint8 [n, 32, 32]."""
        with torch.no_grad():
            return torch.cat([self(part[:, None].float() / 255).argmax(1) for part in images.split(500)])


def labels(fashion: Path, part: str) -> Tensor:
    found = load_dataset(str(fashion / f"{part}-images-idx3-ubyte.gz"), labelled=True).labels
    assert found is not None, "the idx files of labels lie beside those of images"
    return found


def classifier(fashion: Path, file: Path) -> tuple[Classifier, float]:
    """The classifier, trained for three epochs unless a file has it, and its accuracy on the 10,000 of the test."""
    torch.manual_seed(0)
    network = Classifier()
    if file.exists():
        network.load_state_dict(torch.load(file, weights_only=True))
    else:
        images = torch.from_numpy(padded(fashion / "train-images-idx3-ubyte.gz"))
        classes, optimiser = labels(fashion, "train"), torch.optim.Adam(network.parameters(), 1e-3)
        for _ in range(3):
            for numbers in torch.randperm(len(images)).split(64):
                loss = F.cross_entropy(network(images[numbers][:, None].float() / 255), classes[numbers])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        torch.save(network.state_dict(), file)
    network.eval()
    test = torch.from_numpy(padded(fashion / "t10k-images-idx3-ubyte.gz"))
    return network, (network.classes(test) == labels(fashion, "t10k")).double().mean().item()


def modes(network: Classifier, images: Tensor) -> dict[str, float]:
    """Modes seen, and the divergence of their frequencies from even ones, in nats, of uint8 [n, 3, 32, 32]."""
    a, b, c = (network.classes(images[:, channel]) for channel in range(3))
    shares = torch.bincount(100 * a + 10 * b + c, minlength=1000).double() / len(images)
    return {"modes": (shares > 0).sum().item(), "kl": torch.special.xlogy(shares, 1000 * shares).sum().item()}


def train(options: list[str], outdir: Path, kimg: float, seed: int) -> dict[str, float]:
    """The last statistics of a run, trained unless it is complete, and the CPU seconds that it took."""
    file = outdir / "trained.json"
    if not file.exists():
        command = [sys.executable, "-m", "fastgan", "train", *COMMON, *options, "--kimg", str(kimg)]
        command += ["--seed", str(seed), "--outdir", str(outdir), "--threads", "1", "--device", "cpu"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        file.write_text(json.dumps({**read_stats(outdir / "stats.jsonl")[-1], "cpu_s": spent}))
    return json.loads(file.read_text())


def measured(outdir: Path) -> dict[str, dict[str, Any]]:
    """Figure -> its record, of 1000 images of a run's averaged generator beside the training set."""
    file = outdir / "measured.json"
    if not file.exists():
        command = [sys.executable, "-m", "fastgan", "metrics", "--network", str(newest_checkpoint(outdir))]
        command += ["--metrics", *METRICS, "--nearest", "0", "--outdir", str(outdir), "--device", "cpu"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        lines = (outdir / "metrics.jsonl").read_text().splitlines()[-len(METRICS) - 2 :]
        file.write_text(json.dumps({line["figure"]: line for line in map(json.loads, lines)}))
    records = json.loads(file.read_text())
    return {name: {key: line[key] for key in KEPT if key in line} for name, line in records.items()}


def length(options: list[str], outdir: Path, minutes: float) -> float:
    """Thousands of images, in whole ticks, that training takes so many minutes of one thread for, by a short run."""
    train(options, outdir, 4 * TICK, 0)
    pace = min(line["seconds_per_kimg"] for line in read_stats(outdir / "stats.jsonl"))  # of the least disturbed tick
    return round(max(round(minutes * 60 / pace / TICK), 1) * TICK, 1)


def images_of(outdir: Path, count: int) -> Iterator[Tensor]:
    """Images of a run's averaged generator, uint8."""
    G: Any = load_generator(newest_checkpoint(outdir))[0]
    z = torch.randn(count, G.z_dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        yield from (to_uint8(G(piece, None)) for piece in z.split(64))


def shown(values: list[float]) -> str:
    """Mean and range of the seeds."""
    return f"{statistics.mean(values):.4g} ({min(values):.4g} to {max(values):.4g})"


def interval(records: list[dict[str, Any]]) -> str:
    """Mean of the seeds, and between which values the intervals of all lie."""
    low, high = min(each["low"] for each in records), max(each["high"] for each in records)
    return f"{statistics.mean(each['value'] for each in records):.3g} ({low:.3g} to {high:.3g})"


def tables(results: list[dict[str, Any]]) -> Iterator[Table]:
    """What was found, a row a set and family."""
    columns = ("swd", "modes", "kl", "s_per_kimg")
    figures = [f"{figure}_{name}" for name in ("wavelet", "effnetlite0") for figure in ("kid", "precision", "recall")]
    table = Table(title="mean of the seeds, and their range")
    more = Table(title="mean of the seeds, and the intervals of all")
    for column in ("set", "family", "kimg", *columns):
        table.add_column(column)
    for column in ("set", "family", *figures):
        more.add_column(column)
    for result in results:
        runs, about = result["runs"], (result["set"], result["family"])
        found = [[run[column] for run in runs if column in run] for column in columns]
        table.add_row(*about, f"{result['kimg']:g}", *(shown(each) if each else "" for each in found))
        more.add_row(*about, *(interval([run["measured"][figure] for run in runs]) for figure in figures))
    yield from (table, more)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--fashion", type=Path, required=True)
    parser.add_argument("--outdir", type=Path, default=Path("runs/families"))
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=FAMILIES)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--seeds", type=int, default=2, help="of each set and family, from 0 on")
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.outdir.mkdir(parents=True, exist_ok=True)
    places = {
        "emoji": Path("emoji64"),
        "fashion": given.fashion / "train-images-idx3-ubyte.gz",
        "stacked": stack(given.fashion, given.outdir / "stacked"),
    }
    network, accuracy = classifier(given.fashion, given.outdir / "classifier.pt")
    results = []
    for name in given.sets:
        for family in given.families:
            options = FAMILIES[family]
            all_options = [*options, "--data", str(places[name])]
            kimg = length(all_options, given.outdir / f"{name}-{family}-pace", given.minutes)
            runs = []
            for seed in range(given.seeds):
                outdir = given.outdir / f"{name}-{family}-{seed}"
                file = outdir / "figures.json"
                if not file.exists():
                    kept = ["--metrics", "swd", "--snap", str(max(round(kimg / TICK / 5), 1))]
                    last = train([*all_options, *kept], outdir, kimg, seed)
                    figures = {"swd": last["metric/swd"], "cpu_s": last["cpu_s"]}
                    if name == "stacked":
                        figures |= modes(network, torch.cat([*images_of(outdir, SAMPLES)]))
                    file.write_text(json.dumps(figures))
                figures = json.loads(file.read_text())
                figures |= {"measured": measured(outdir), "s_per_kimg": figures["cpu_s"] / kimg}
                print(name, family, seed, kimg, json.dumps(figures), flush=True)
                runs.append(figures)
            results.append({"set": name, "family": family, "kimg": kimg, "options": options, "runs": runs})
    real = modes(
        network, load_dataset(str(places["stacked"]), labelled=False).read(torch.arange(SAMPLES)).movedim(3, 1)
    )
    for table in tables(results):
        Console(width=150).print(table)
    print(f"the classifier names {accuracy:.2%} of the test's images rightly; {SAMPLES} real images: {real}")
    if given.json:
        chosen = f"--sets {' '.join(given.sets)} --families {' '.join(given.families)} --seeds {given.seeds}"
        command = f"python bench/families.py --fashion FOLDER {chosen} --minutes {given.minutes:g}"
        about = {"command": command, "minutes": given.minutes, "common": COMMON}
        about |= {"accuracy": accuracy, "real": real, "results": results}
        given.json.write_text(json.dumps({"machine": describe_machine(torch.device("cpu")), **about}, indent=1) + "\n")


if __name__ == "__main__":
    main()
