"""What is tried on a device: calls of the operators as models make them, and the convolutions inside a layer.

A trial belongs to a subject: an operator, whose forms are providers, or "conv2d_layer/<provider>", whose forms are that
provider's ways to convolve.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import fastgan.ops  # noqa: F401  describes the operators
from fastgan.bench.case import DIRECTIONS, DTYPES, Case, Inputs, Shape, run
from fastgan.bench.measure import distance
from fastgan.calibration.convolutions import ProductTrial
from fastgan.calibration.prepared import TORCH, Prepared, limit
from fastgan.ops import exact_convolutions, provider, providers
from fastgan.ops.operator import OPERATORS
from fastgan.ops.verdicts import Measured

LAYOUTS = ("channels_last", "nchw")
# Channels that fill no packet, images of odd sizes (or whose halves have them), and the sizes of models.
CHECKED: list[Shape] = [(3, 5, 7, 9), (3, 5, 6, 10), (1, 20, 18, 14), (2, 32, 16, 16)]
TIMED: dict[str, list[Shape]] = {
    "cpu": [(8, 64, 32, 32), (8, 128, 8, 8)],
    "cuda": [(8, 256, 64, 64), (8, 512, 16, 16), (8, 64, 256, 256), (8, 512, 4, 4)],
}
DTYPES_OF = {"cpu": ("fp32",), "cuda": ("fp32", "bf16", "fp16")}


@dataclass(frozen=True)
class OperatorTrial:
    """A case of the benches. `exactly`: float32 convolutions term by term."""

    case: Case
    dtype: str
    layout: str
    exactly: bool = False

    @property
    def subject(self) -> str:
        return self.case.op

    @property
    def name(self) -> str:
        return f"{self.case.kind} {'x'.join(map(str, self.case.x_shape))}{' exactly' if self.exactly else ''}"

    def served_by(self, form: str) -> bool:
        """Whether a form of the subject computes it."""
        return True

    def prepared(self, device: torch.device) -> Prepared:
        return _PreparedCase(self, device)


class _PreparedCase:
    steps: tuple[str, ...] = DIRECTIONS

    def __init__(self, trial: OperatorTrial, device: torch.device) -> None:
        self._trial, self._case = trial, trial.case
        self._inputs = trial.case.inputs(DTYPES[trial.dtype], trial.layout, device)
        self._exact: dict[str, tuple[dict[str, Tensor], float]] = {}
        self._best = ""

    def results(self, form: str, step: str) -> dict[str, Tensor]:
        with provider(form), exact_convolutions() if self._trial.exactly else nullcontext():
            return self._computed(self._inputs, step)

    def _computed(self, inputs: Inputs, step: str) -> dict[str, Tensor]:
        """As `run`, with the second derivatives of everything; what does not depend on an input has 0 of it."""
        if step != DIRECTIONS[2]:
            return run(self._case.function, inputs, step)
        y = self._case.function(inputs)
        leaves = inputs.leaves("x", "b", "w", "styles", "noise", "residual")
        penalised = {name: leaf for name, leaf in leaves.items() if name in ("x", "styles")}
        first = torch.autograd.grad(y, list(penalised.values()), inputs.dy, create_graph=True)
        cotangents = list(inputs.leaves("ddx", "ddstyles").values())
        wanted = leaves | {"dy": inputs.dy}
        second = torch.autograd.grad(first, list(wanted.values()), cotangents, allow_unused=True)
        found = zip(wanted.items(), second, strict=True)
        return {"d" + name: grad.detach() for name, grad in zip(penalised, first, strict=True)} | {
            "ddy" if name == "dy" else f"d{name}2": torch.zeros_like(leaf) if grad is None else grad
            for (name, leaf), grad in found
        }

    def truth(self, step: str) -> tuple[dict[str, Tensor], float]:
        if step not in self._exact:
            with provider("reference"):
                exact = self._computed(self._inputs.double(), step)
            exact = {name: t.double() for name, t in exact.items()}
            self._exact[step] = exact, self._distance(self.results("reference", step), exact)
        return self._exact[step]

    def error(self, form: str, step: str, results: dict[str, Tensor]) -> tuple[float, float]:
        exact, own = self.truth(step)
        rounded = self._trial.subject == "conv2d_layer" and not self._trial.exactly
        return self._distance(results, exact), limit(own, self._inputs.x, rounded)

    def _distance(self, results: dict[str, Tensor], exact: dict[str, Tensor]) -> float:
        """As `distance`; what should be 0 is compared with the largest of the others."""
        naught = {name for name, truth in exact.items() if not truth.any()}
        if not naught <= set(results):
            return float("inf")
        largest = max((float(truth.norm()) for truth in exact.values()), default=0.0) or 1.0
        stray = max((float(results[name].double().norm()) / largest for name in naught), default=0.0)
        rest, true = ({n: t for n, t in some.items() if n not in naught} for some in (results, exact))
        return max(distance(rest, true, self._inputs.decided), stray if stray == stray else float("inf"))

    def call(self, form: str) -> Any:
        function = self._case.compositions[self._best] if form == TORCH else self._case.function
        with provider("reference" if form == TORCH else form):
            for step in self.steps[1:]:
                run(function, self._inputs, step)

    def compositions(self) -> tuple[str, ...]:
        return tuple(self._case.compositions)

    def tensors(self) -> tuple[Tensor, ...]:
        return self._inputs.x, self._inputs.dy

    def take(self, composition: str) -> None:
        self._best = composition

    def measured(self) -> tuple[Measured, str]:
        with providers.listening() as heard:
            self.results("reference", DIRECTIONS[0])
        return next(each for each in heard if each[0].subject == self._case.op)


Trial = OperatorTrial | ProductTrial


def _kernels(name: str, device: str) -> str | None:
    """What kernels of conv2d_layer a provider has on a device."""
    kernels = OPERATORS["conv2d_layer"].providers[name].kernels
    return next((kind for key, kind in kernels.items() if key.lower() == device), None)


def forms(subject: str, device: str) -> tuple[str, ...]:
    """Names of the forms of a subject, those that cannot serve too."""
    op, _, name = subject.partition("/")
    if name:
        return (
            ("winograd 4x4", "winograd 2x2", "winograd 3x3", TORCH)
            if _kernels(name, device) == "cpu"
            else ("own", TORCH)
        )
    here = [p.name for p in OPERATORS[op].providers.values() if device in map(str.lower, p.kernels)]
    return (*here, "reference")


def subjects(ops: tuple[str, ...], device: str) -> list[str]:
    """The subjects of some operators, convolutions before the layers that have them inside."""
    inside = [f"conv2d_layer/{name}" for name in forms("conv2d_layer", device) if name != "reference"]
    return [*(inside if "conv2d_layer" in ops else []), *ops]


def checked(subject: str, device: str, dtype: str) -> Sequence[Trial]:
    """What a form must compute as float64 does."""
    op, _, name = subject.partition("/")
    shapes = [*CHECKED, (4, 64, 64, 64), (2, 512, 8, 8)] if device == "cuda" else CHECKED
    if name:
        return list(_products(name, device, dtype, [(n, c, h, w, c + 3) for n, c, h, w in shapes]))
    modes = (False, True) if device == "cuda" and dtype == "fp32" and op == "conv2d_layer" else (False,)
    return [
        OperatorTrial(case, dtype, layout, exactly)
        for shape, layout, exactly in itertools.product(shapes, LAYOUTS, modes)
        for case in _cases(op, shape)
    ]


def timed(subject: str, device: str, dtype: str) -> Sequence[Trial]:
    """What forms are compared by, the most telling first."""
    op, _, name = subject.partition("/")
    if name:
        if device == "cpu":
            sizes = [(8, 64, 32), (8, 128, 16), (8, 16, 32), (8, 256, 8), (2, 64, 128), (8, 32, 8), (4, 256, 32)]
            sizes += [(8, 128, 4)]
        else:
            sizes = [(n, c, h) for n, c, h, _ in TIMED["cuda"]] + [(8, 128, 128), (8, 512, 32), (8, 32, 256)]
        return list(_products(name, device, dtype, [(n, c, res, res, c) for n, c, res in sizes]))
    return [
        OperatorTrial(case, dtype, layout)
        for shape, layout in itertools.product(TIMED[device], LAYOUTS)
        for case in _cases(op, shape)
        if case.quick
    ]


def _cases(op: str, shape: Shape) -> Iterator[Case]:
    """Those of the benches, and what a module has for calibration alone; at odd sizes those that keep the size."""
    module = importlib.import_module(OPERATORS[op].bench or f"fastgan.bench.{op}")
    odd = shape[2] % 2 or shape[3] % 2
    for case in itertools.chain(module.cases(shape), getattr(module, "more_cases", lambda shape: ())(shape)):
        if not odd or case.x_shape[2:] == case.y_shape[2:]:
            yield case


def _products(
    name: str, device: str, dtype: str, sizes: list[tuple[int, int, int, int, int]]
) -> Iterator[ProductTrial]:
    kernels = _kernels(name, device)
    if kernels is None:
        return
    for n, i, height, width, o in sizes:
        shape = (n, i, height, width)
        if kernels == "cpu":
            for stride, back in ((1, False), (2, False), (2, True)):
                for what in ("convolution", "input gradient", "weight gradient"):
                    yield ProductTrial(name, kernels, what, shape, o, dtype, "nchw", stride=stride, transposed=back)
            continue
        for layout in LAYOUTS if kernels == "triton" else LAYOUTS[:1]:
            settings: list[dict[str, Any]] = [
                {"scaled": scaled, "kernel": kernel} for kernel in (3, 1) for scaled in (True, False)
            ]
            settings += [{"stride": 2, "transposed": back, "scaled": back} for back in (False, True)]
            settings += [{"stride": 2, "transposed": True}]  # the gradient of the first of these two for its image
            for setting in settings:
                for what in ("convolution", "weight gradient"):
                    yield ProductTrial(name, kernels, what, shape, o, dtype, layout, **setting)
            if kernels == "cuda":
                yield ProductTrial(name, kernels, "up", shape, o, dtype, layout, scaled=True)
