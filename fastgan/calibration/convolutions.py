"""Trials of the convolutions inside a layer, each of which has several forms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fastgan.bench.case import DTYPES, TAPS, Shape, leaf
from fastgan.bench.measure import distance
from fastgan.calibration.prepared import TORCH, Prepared, limit
from fastgan.ops import providers, setup_filter
from fastgan.ops.conv2d_layer.autograd import PASSES
from fastgan.ops.conv2d_layer.formulas import ResampledConvolution
from fastgan.ops.conv2d_layer.passes import Convolution, Epilogue, Passes, winograd_forms
from fastgan.ops.fir import Sampling, taps_of
from fastgan.ops.verdicts import Measured


@dataclass(frozen=True)
class ProductTrial:
    """A convolution inside a layer.

    Attributes:
        provider: whose layer.
        kernels: kind of its kernels on the device.
        what: "convolution", "input gradient", "weight gradient", or "up", which doubles the resolution, with its FIR.
        shape: of its image [N, I, H, W].
        channels: of its result.
        kernel: 1 or 3.
        stride, transposed: as `Convolution` has them.
        scaled: whether a factor goes with each channel of the image.
    """

    provider: str
    kernels: str
    what: str
    shape: Shape
    channels: int
    dtype: str
    layout: str
    kernel: int = 3
    stride: int = 1
    transposed: bool = False
    scaled: bool = False

    @property
    def subject(self) -> str:
        return f"conv2d_layer/{self.provider}"

    @property
    def name(self) -> str:
        stride = f" stride {self.stride}{' transposed' if self.transposed else ''}" if self.stride > 1 else ""
        what = f"{self.kernel}x{self.kernel} {'scaled ' if self.scaled else ''}{self.what}{stride}"
        return f"{what} {'x'.join(map(str, self.shape))} to {self.channels}"

    def served_by(self, form: str) -> bool:
        """Whether a form of the subject computes it."""
        back = self.transposed != (self.what == "input gradient")
        return self.kernels != "cpu" or form == TORCH or form in winograd_forms(self.stride, back)

    def prepared(self, device: torch.device) -> Prepared:
        return _PreparedProduct(self, device)


class _PreparedProduct:
    steps: tuple[str, ...] = ("values",)

    def __init__(self, trial: ProductTrial, device: torch.device) -> None:
        self._trial, dtype = trial, DTYPES[trial.dtype]
        (n, i, height, width), o, k = trial.shape, trial.channels, trial.kernel
        pad = 0 if trial.stride > 1 else k // 2
        self._convolution = Convolution(trial.stride, trial.transposed, (pad, pad, pad, pad), True)
        size = self._convolution.output_size((height, width), (k, k))

        def some(*shape: int, kind: torch.dtype = dtype) -> Tensor:
            return leaf(torch.randn(shape, device=device), kind, trial.layout).detach()

        self._x, self._dy, self._w = some(*trial.shape), some(n, o, *size), some(o, i, k, k) / (i * k * k) ** 0.5
        self._w = self._w.contiguous()
        self._scale = some(n, i, kind=torch.float32) + 1.5 if trial.scaled else None
        self._f = setup_filter(TAPS, device=device)
        self._passes = PASSES[trial.kernels](trial.provider)
        self._exact: tuple[dict[str, Tensor], float] | None = None

    def results(self, form: str, step: str) -> dict[str, Tensor]:
        with providers.form(form):
            return {"result": self._computed(self._passes, False)}

    def _computed(self, passes: Passes, double: bool) -> Tensor:
        x, w, dy, scale = (
            t if t is None or not double else t.double() for t in (self._x, self._w, self._dy, self._scale)
        )
        assert x is not None and w is not None and dy is not None
        if self._trial.what == "up":
            sampling = Sampling.of(2, 1, (1, 1, 1, 1), taps_of(self._f))
            resampled = ResampledConvolution(passes, sampling, (3, 3), self._f, True)
            return resampled.forward(x, w, scale, Epilogue())[0]
        if self._trial.what == "weight gradient":
            return passes.weight_gradient(x, dy, scale, w, self._convolution)
        if self._trial.what == "input gradient":
            return passes.input_gradient(dy, w, self._trial.shape[2:], self._convolution)
        return passes.convolve(x, w, scale, self._convolution, Epilogue(), False)[0]

    def truth(self, step: str) -> tuple[dict[str, Tensor], float]:
        if self._exact is None:
            with providers.form(TORCH):
                exact = {"result": self._computed(self._passes, True)}
            self._exact = exact, distance(self.results(TORCH, step), exact)
        return self._exact

    def error(self, form: str, step: str, results: dict[str, Tensor]) -> tuple[float, float]:
        exact, own = self.truth(step)
        return distance(results, exact), limit(own, self._x)

    def call(self, form: str) -> Any:
        self.results(form, self.steps[0])

    def compositions(self) -> tuple[str, ...]:
        return ()

    def take(self, composition: str) -> None:
        raise ValueError(f"a convolution has no {composition}")

    def tensors(self) -> tuple[Tensor, ...]:
        return self._x, self._dy

    def measured(self) -> tuple[Measured, str]:
        with providers.listening() as heard:
            self.results(TORCH, self.steps[0])
        if not heard:
            raise ValueError(f"{self._trial.name}: {self._trial.provider} has no choice here")
        return heard[0]
