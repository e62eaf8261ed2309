"""Times the data pipeline: python bench/data_pipeline.py [--json FILE].

Images of coloured 1/f noise, whose spectrum is that of photographs, lie in a stored zip as lossless WebP, JPEG (quality
95) and PNG, and are streamed through the batches of a training run: read, decoded by threads, shuffled, mirrored and
normalised. Printed are images a second, the processor cores that were busy, and how the process's memory grew from the
end of the first epoch to the end of the last.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fastgan.data import Batches, load_dataset
from fastgan.ops.allocation import tune_cpu_allocator

ENCODINGS = {
    "webp": {"format": "WEBP", "lossless": True, "quality": 75, "method": 0},
    "jpeg": {"format": "JPEG", "quality": 95},
    "png": {"format": "PNG"},
}
COUNTS = {64: 3000, 256: 400}
BATCH = 16


def pink_noise(side: int, random: np.random.Generator) -> Image.Image:
    """An RGB image whose amplitude falls as 1/f."""
    fy, fx = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    spectrum = np.fft.rfft2(random.standard_normal((3, side, side))) / np.maximum(np.hypot(fy, fx), 1 / side)
    image = np.fft.irfft2(spectrum, (side, side))
    image = (image - image.mean()) / image.std() * 50 + 128
    return Image.fromarray(image.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


def write_zip(path: Path, side: int, suffix: str) -> None:
    random = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(COUNTS[side]):
            buffer = io.BytesIO()
            pink_noise(side, random).save(buffer, **ENCODINGS[suffix])
            archive.writestr(f"{i:05d}.{suffix}", buffer.getvalue())


def resident() -> float:
    """Memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure(path: Path, epochs: int) -> dict[str, float]:
    dataset = load_dataset(path, stream=True)
    source = Batches(dataset, BATCH, seed=0, mirror=True, channels_last=True)
    steps = len(dataset) // BATCH
    for _ in range(steps):
        source.next()
    memory, began, busy = resident(), time.perf_counter(), time.process_time()
    for _ in range(epochs * steps):
        source.next()
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    return {
        "images_per_second": epochs * steps * BATCH / seconds,
        "cores": busy / seconds,
        "mib_per_file": path.stat().st_size / len(dataset) / 2**20,
        "memory_mib": resident(),
        "memory_growth_mib": resident() - memory,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    tune_cpu_allocator()
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "?",
    )
    machine = {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "torch": torch.__version__,
        "load": os.getloadavg()[0],
    }
    machine["python"] = platform.python_version()
    print(machine)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for side in COUNTS:
            for suffix in ENCODINGS:
                path = Path(folder) / f"{suffix}{side}.zip"
                write_zip(path, side, suffix)
                row = {"side": side, "format": suffix} | measure(path, options.epochs)
                rows.append(row)
                print(
                    f"{side:4} px {suffix:5} {row['images_per_second']:7.0f} images/s on {row['cores']:.2f} cores; "
                    f"memory {row['memory_mib']:.0f} MiB, {row['memory_growth_mib']:+.1f} over {options.epochs} epochs"
                )
                path.unlink()
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "batch": BATCH, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
