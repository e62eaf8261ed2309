"""`fastgan export`: a generator as a file that runs without fastgan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from fastgan.cli.families import bring
from fastgan.cli.options.export import ExportOptions
from fastgan.generate import Sampler
from fastgan.interop.export import Exported, ImageMaker, export_onnx, export_torch
from fastgan.literal import literal

_FORMATS = {".onnx": "onnx", ".pt2": "torch"}


def run(options: ExportOptions) -> int:
    """Writes the file, checks it, and prints its inputs and outputs and how it is run.

    Args:
        options: the command line.

    Returns:
        0, the exit status.

    Raises:
        ValueError: a bad batch or ending, what the model cannot do, a library that is missing, a check that failed.
        OSError: a file could not be read or written.
    """
    kind = _kind(options)
    batch = _batch(options.batch)
    if options.cfg is not None:
        bring(options.cfg, options.network)
    sampler = Sampler.from_checkpoint(options.network)
    maker = ImageMaker(sampler, options.inputs, options.trunc, options.trunc_center, options.noise_mode)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    exported = (export_onnx if kind == "onnx" else export_torch)(maker, options.output, batch)
    console = Console(highlight=False, markup=False)
    for line in _description(options.output, kind, exported, sampler):
        console.print(line, soft_wrap=True)
    return 0


def _kind(options: ExportOptions) -> str:
    expected = _FORMATS.get(options.output.suffix)
    if expected is None or (options.format is not None and options.format != expected):
        endings = " or ".join(ending for ending, kind in _FORMATS.items() if options.format in (None, kind))
        raise ValueError(f"--output must be a file ending in {endings}, got {options.output}")
    return expected


def _batch(text: str) -> int | None:
    if text == "dynamic":
        return None
    if not text.isdecimal() or not 1 <= int(text) <= 2**16:
        raise ValueError(f"--batch must be dynamic or a number from 1 to {2**16}, got {text!r}")
    return int(text)


def _description(path: Path, kind: str, exported: Exported, sampler: Sampler) -> list[str]:
    meanings = {
        "z": "drawn from N(0, 1)",
        "c": "a label vector a row" if sampler.labels is not None else "one-hot, a row an image",
        "ws": "a row of w for each layer",
    }
    lines = [f"wrote {literal(str(path))}: {path.stat().st_size / 2**20:.1f} MiB", exported.checked]
    for name, shape in exported.inputs.items():
        lines.append(f"input {name}: float32 [{', '.join(map(str, shape))}], {meanings[name]}")
    lines.append(f"output images: float32 [{', '.join(map(str, exported.images))}], about [-1, 1]")
    shapes = {name: [4 if shape[0] == "N" else shape[0], *shape[1:]] for name, shape in exported.inputs.items()}
    if kind == "onnx":
        feed = ", ".join(f'"{name}": {_values(name, shape, "np")}' for name, shape in shapes.items())
        snippet = [
            "import numpy as np, onnxruntime",
            f"images = onnxruntime.InferenceSession({str(path)!r}).run(None, {{{feed}}})[0]",
        ]
    else:
        given = ", ".join(_values(name, shape, "torch") for name, shape in shapes.items())
        snippet = ["import torch", f"images = torch.export.load({str(path)!r}).module()({given})"]
    return [*lines, *(f"    {line}" for line in snippet)]


def _values(name: str, shape: Sequence[int | str], library: str) -> str:
    """Code for an input: the latents are random, the label is the first class."""
    if name == "c":
        one_hot = f"eye({shape[1]})[[0] * {shape[0]}]"
        return f"torch.{one_hot}" if library == "torch" else f'np.{one_hot}.astype("float32")'
    drawn = ", ".join(map(str, shape))
    return f"torch.randn({drawn})" if library == "torch" else f'np.random.randn({drawn}).astype("float32")'
