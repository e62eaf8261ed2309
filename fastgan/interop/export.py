"""Generators as files that run without this package: ONNX, and programs of torch.export."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastgan.checkpoint import replacing
from fastgan.generate import Sampler
from fastgan.generate.centers import LabelCenters
from fastgan.generate.latents import CENTERS, no_styles
from fastgan.models.protocols import Styled
from fastgan.nn import evaluation_view
from fastgan.ops import provider
from fastgan.ops.arguments import as_int, number

INPUTS = ("z", "ws")
REPEATABLE_NOISE_MODES = ("const", "none")  # of nn.modulated.NOISE_MODES: a file has no random numbers
# A file holds as much of one message; weights beside the file would be no single file, nor replaced whole.
_LARGEST_ONNX = 2**31 - 2**20
_DIFFERENCE = 1e-3  # of the largest value: what another library's order of adding may change, with room


class ImageMaker(nn.Module):
    """images = G.synthesis(lerp(center, w(z, c), psi)), or G.synthesis(ws): what `Sampler` shows, from tensors alone.

    Args:
        sampler: holds the generator, in float32 on the CPU; its weights are shared, so casting or moving this module
            casts or moves them too.
        inputs: "z": of z [N, z_dim], and c [N, num_classes] where there are classes; "ws": of ws [N, num_ws, w_dim].
        truncation_psi: 1 leaves w as it is, 0 gives the average image; must be 1 for "ws".
        truncation_center: "class": the mean w of c's class, of a mixture of classes the mixture of their means (where
            `Sampler` takes the mean w at the mixed label); or "all": the mean of all classes.
        noise_mode: "const", the layers' own noise, or "none".

    Attributes:
        names: of the inputs, in order.

    Raises:
        ValueError: the generator has no ws, cannot be truncated so, or is not in float32 on the CPU.
    """

    centers: Tensor | None

    def __init__(
        self,
        sampler: Sampler,
        inputs: str = "z",
        truncation_psi: float = 1.0,
        truncation_center: str = "class",
        noise_mode: str = "const",
    ) -> None:
        super().__init__()
        for name, value, choices in (
            ("inputs", inputs, INPUTS),
            ("noise_mode", noise_mode, REPEATABLE_NOISE_MODES),
            ("truncation_center", truncation_center, CENTERS),
        ):
            if value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}")
        self.G: Any = evaluation_view(sampler.G)
        self.psi, self.noise_mode = number("truncation_psi", truncation_psi), noise_mode
        if any(p.dtype != torch.float32 or p.device.type != "cpu" for p in self.G.parameters()):
            raise ValueError("sampler must hold a generator in float32 on the CPU: G.float().cpu()")
        self.names = ("ws",) if inputs == "ws" else ("z", "c") if self.G.num_classes else ("z",)
        styled = isinstance(self.G, Styled)
        if inputs == "ws" and not styled:
            raise ValueError(f"inputs must be z: {no_styles(self.G)}")
        if self.psi != 1 and not styled:
            raise ValueError(f"truncation_psi must be 1: {no_styles(self.G)}; got {self.psi:g}")
        if inputs == "ws" and self.psi != 1:
            raise ValueError(
                f"truncation_psi must be 1 where ws comes in, which can be truncated before; got {self.psi}"
            )
        of_class = self.psi != 1 and truncation_center == "class" and "c" in self.names
        if of_class and sampler.labels is not None:
            raise ValueError("truncation_center must be all: labels are vectors, of which each has its own center")
        with torch.no_grad():
            centers = self._of_classes() if of_class else None
            self.register_buffer("centers", centers)
            self.example = sampler.latents(range(4))
            self(*self.inputs(1))  # what it cannot do is refused here, not while exporting

    def _of_classes(self) -> Tensor:
        """[num_classes, w_dim]"""
        like = next(self.G.parameters())
        one_hot = torch.eye(self.G.num_classes, dtype=like.dtype, device=like.device)
        return LabelCenters().of(self.G.mapping, self.G.z_dim, one_hot)[:, 0]

    def forward(self, first: Tensor, c: Tensor | None = None) -> Tensor:
        """first: z [N, z_dim] or ws [N, num_ws, w_dim]; c [N, num_classes] -> images [N, C, H, W], about [-1, 1]."""
        if self.names == ("ws",):
            return self.G.synthesis(first, noise_mode=self.noise_mode)
        if not isinstance(self.G, Styled):
            return self.G(first, c)
        if self.centers is None or c is None:
            return self.G(first, c, truncation_psi=self.psi, noise_mode=self.noise_mode)
        ws = torch.lerp((c @ self.centers)[:, None], self.G.mapping(first, c), self.psi)
        return self.G.synthesis(ws, noise_mode=self.noise_mode)

    def inputs(self, n: int) -> tuple[Tensor, ...]:
        """What goes in for n images: those of four seeds, in turn."""
        rows = torch.arange(n) % len(self.example[0])
        given = tuple(value[rows] for value in self.example if value is not None)
        with torch.no_grad():
            return (self.G.mapping(*given),) if self.names == ("ws",) else given


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        inputs: name -> shape, its first axis "N" where any batch is taken.
        images: shape of the output "images".
        checked: by what, and how far its values are from torch's; or why they were not checked.
    """

    inputs: dict[str, tuple[int | str, ...]]
    images: tuple[int | str, ...]
    checked: str


def export_onnx(maker: ImageMaker, path: str | Path, batch: int | None = None) -> Exported:
    """Writes an ONNX file, float32, with inputs named as `maker.names` and the output "images".

    Args:
        maker: what to write.
        path: the file; replaced whole, and where onnxruntime is installed only by one that gives torch's values in it.
        batch: N of every call; None: any.

    Raises:
        ValueError: onnx or onnxscript is missing, the weights do not fit into one ONNX file, or the check failed.
        OSError: the file could not be written.
    """
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"ONNX is written with {' and '.join(missing)}: pip install 'fastgan[onnx]'")
    held = sum(value.nbytes for value in (*maker.parameters(), *maker.buffers()))
    if held > _LARGEST_ONNX:
        raise ValueError(f"the weights take {held:,} bytes, an ONNX file holds 2 GiB: export it for torch")

    def write(partial: Path, given: tuple[Tensor, ...], shapes: tuple | None) -> None:
        with _quiet():
            torch.onnx.export(
                maker, given, str(partial), dynamo=True, external_data=False, verbose=False,
                input_names=list(maker.names), output_names=["images"], dynamic_shapes=shapes,
            )  # fmt: skip

    def load(partial: Path) -> Callable[..., Tensor] | None:
        if importlib.util.find_spec("onnxruntime") is None:
            return None
        import onnxruntime

        session = onnxruntime.InferenceSession(str(partial), providers=["CPUExecutionProvider"])
        return lambda *given: torch.from_numpy(
            session.run(["images"], dict(zip(maker.names, (each.numpy() for each in given), strict=True)))[0]
        )

    return _export(maker, Path(path), batch, write, load, "onnxruntime")


def export_torch(maker: ImageMaker, path: str | Path, batch: int | None = None) -> Exported:
    """Writes a program of torch.export, which `torch.export.load(path).module()` reads.

    Args:
        maker: what to write.
        path: the file (.pt2); replaced whole, and only by one that gives torch's values when it is loaded.
        batch: N of every call; None: any.

    Raises:
        ValueError: the check failed.
        OSError: the file could not be written.
    """

    def write(partial: Path, given: tuple[Tensor, ...], shapes: tuple | None) -> None:
        program = torch.export.export(maker, given, dynamic_shapes=shapes)
        with partial.open("wb") as file:
            torch.export.save(program, file)

    def load(partial: Path) -> Callable[..., Tensor]:
        with partial.open("rb") as file:
            return torch.export.load(file).module()

    return _export(maker, Path(path), batch, write, load, "torch")


def _export(
    maker: ImageMaker, path: Path, batch: int | None, write: Callable, load: Callable, library: str
) -> Exported:
    """write(file, example, dynamic shapes), then compare load(file) with the maker at two batches."""
    if batch is not None and ((count := as_int(batch)) is None or count < 1):
        raise ValueError(f"batch must be an int of at least 1, or None for any, got {batch!r}")
    batch = as_int(batch)
    given = maker.inputs(batch or 2)
    shapes = None if batch else tuple({0: torch.export.Dim("batch")} for _ in given)
    with torch.no_grad(), replacing(path) as partial:
        with provider("reference"):
            write(partial, given, shapes)
        loaded, checked = load(partial), f"not checked: {library} is not installed"
        if loaded is not None:
            counts = (batch,) if batch else (2, 3)
            far = max(_difference(loaded, maker, maker.inputs(n)) for n in counts)
            if not far <= _DIFFERENCE:
                raise ValueError(f"{path}: {library} gives other images than fastgan ({far:.1g} of the largest value)")
            batches = " and ".join(map(str, counts))
            checked = (
                f"{library} {version(library)} gives these images to {far:.1g} of the largest value, N = {batches}"
            )
    images = (maker.G.img_channels, *maker.G.resolution)
    first: Any = batch or "N"
    named = {name: (first, *value.shape[1:]) for name, value in zip(maker.names, given, strict=True)}
    return Exported(named, (first, *images), checked)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporter says about itself and about libraries that are not there."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _difference(loaded: Callable[..., Tensor], maker: ImageMaker, given: tuple[Tensor, ...]) -> float:
    expected = maker(*given)
    return float((loaded(*given) - expected).abs().max() / expected.abs().max().clamp_min(1e-6))
