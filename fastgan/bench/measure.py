"""Measures one case: every implementation is compared with float64 first, and only what is right is timed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from fastgan.bench.case import DTYPES, Case, Function, Inputs, run
from fastgan.bench.memory import peak_bytes
from fastgan.bench.roofline import Roofs
from fastgan.bench.timing import Call, Timing, interleaved, quickest
from fastgan.ops import provider, providers

REFERENCE, COMPOSITION, COMPILED = "reference", "torch", "torch.compile"


@dataclass
class Row:
    """One implementation of one case in one direction.

    Attributes:
        op, kind, shape, dtype, layout, direction: what was measured; shape is x's.
        implementation: a provider's name, "torch" (the fastest composition) or "torch.compile" (of the reference).
        status: "timed", "wrong", "failed" (it raised, and must not) or "left out" (it cannot serve, need not run, or
            memory is short).
        detail: which composition; for the other states, why.
        error: largest of ‖result - float64‖ / ‖float64‖ over results and gradients; None where nothing was computed.
        limit: what the error may be.
        bytes: that must be read and written, whatever the implementation moves.
        flops: of the matrix products that must be made, whatever the implementation computes; 0 for none.
        floor: milliseconds that these take at the rates of the device measured in the same run: the longer of both.
        time: None unless timed.
        bytes_per_second: bytes over the median.
        flops_per_second: flops over the median.
        share: the floor over the median.
        speedup: the reference's median over this one's.
        peak_bytes: of tensors alive at once beside the inputs.
    """

    op: str
    kind: str
    shape: list[int]
    dtype: str
    layout: str
    direction: str
    implementation: str
    status: str
    bytes: int
    flops: int
    floor: float
    detail: str = ""
    error: float | None = None
    limit: float | None = None
    time: Timing | None = None
    bytes_per_second: float | None = None
    flops_per_second: float | None = None
    share: float | None = None
    speedup: float | None = None
    peak_bytes: int | None = None


@dataclass(frozen=True)
class Bench:
    """How to measure.

    Attributes:
        device: where.
        roofs: of the device.
        seconds: for the timings of one case in one direction, all implementations together.
        stopwatch: as in `interleaved`.
        compiled: whether torch.compile of the reference is measured too.
    """

    device: torch.device
    roofs: Roofs
    seconds: float = 1.0
    stopwatch: Callable[[Call], float] | None = None
    compiled: bool = True

    def measure(self, case: Case, dtype: str, layout: str, direction: str) -> list[Row]:
        """All implementations of a case, the reference first; those up to the failed one, where it took the device.

        Args:
            case: what to measure.
            dtype, layout, direction: keys of DTYPES and LAYOUTS, one of DIRECTIONS.

        Raises:
            Exception: whatever the reference itself raises, be it for want of memory.
        """
        torch.compiler.reset()  # what was compiled for other shapes, of which torch keeps but a few
        with _exact_float32():
            return self._measure(case, dtype, layout, direction)

    def row(self, case: Case, dtype: str, layout: str, direction: str, implementation: str, status: str) -> Row:
        """A row without results."""
        kind = DTYPES[dtype]
        moved, multiplied = case.moved(direction, kind), case.multiplied(direction)
        settings = (case.op, case.kind, list(case.x_shape), dtype, layout, direction)
        floor = self.roofs.floor(moved, multiplied, case.product_dtype(kind))
        return Row(*settings, implementation, status, moved, multiplied, floor)

    def _measure(self, case: Case, dtype: str, layout: str, direction: str) -> list[Row]:
        inputs = case.inputs(DTYPES[dtype], layout, self.device)
        with provider(REFERENCE):
            exact = {name: t.double() for name, t in run(case.function, inputs.double(), direction).items()}
        rows: list[Row] = []
        right: dict[str, dict[str, Call]] = {}
        own = 0.0
        for name, candidates in self._implementations(case, dtype, direction):
            row = self.row(case, dtype, layout, direction, name, "left out")
            rows.append(row)
            if isinstance(candidates, str):
                row.detail = candidates
                continue
            row.limit = 2 * own + (1e-12 if dtype == "fp64" else 1e-5)  # the noise of sums in float64 or float32
            row.limit += case.coarse if name == COMPOSITION else 0.0
            correct = self._correct(row, candidates, inputs, direction, exact)
            if name == REFERENCE:
                own = row.error or 0.0
                row.limit = None
            if correct:
                right[name] = correct
            if row.status == "failed" and lost(self.device):
                for row in rows[:-1]:
                    row.detail = row.detail or f"the device was lost to {name} before this was timed"
                return rows
        del exact
        self._time(rows, right)
        return rows

    def _implementations(
        self, case: Case, dtype: str, direction: str
    ) -> Iterator[tuple[str, dict[str, Function] | str]]:
        """(name, functions that compute it or why there are none), the reference first."""
        yield REFERENCE, {"": _provided(case.function, REFERENCE)}
        yield COMPOSITION, dict(case.compositions)
        if not self.compiled:
            pass
        elif direction == "double backward":
            yield COMPILED, "torch.compile has no double backward"
        else:
            compiled = torch.compile(case.function, fullgraph=True, dynamic=False)
            yield COMPILED, {"": _provided(compiled, REFERENCE)}
        kind = str(DTYPES[dtype]).removeprefix("torch.")
        for row in providers.report((self.device.type,)):
            if row.op == case.op and row.dtype == kind and row.provider != REFERENCE:
                yield row.provider, {"": _provided(case.function, row.provider)} if row.serves else row.reason

    def _correct(
        self, row: Row, candidates: dict[str, Function], inputs: Inputs, direction: str, exact: dict[str, Tensor]
    ) -> dict[str, Call]:
        """Calls of the candidates whose results are right; else the row says what is wrong with the nearest."""
        correct: dict[str, Call] = {}
        errors, failures = {}, {}
        for way, function in candidates.items():
            try:
                poison(inputs)
                errors[way] = distance(run(function, inputs, direction), exact, inputs.decided)
            except Exception as error:  # whatever it is, the others are measured
                if row.implementation == REFERENCE:
                    raise
                failures[way] = first_line(error)
                needed = row.implementation not in (COMPOSITION, COMPILED) and not out_of_memory(error)
                if needed or lost(self.device):
                    row.status, row.detail = "failed", failures[way]
                    return {}
                continue
            if row.implementation == REFERENCE or errors[way] <= (row.limit or 0.0):
                correct[way] = _call(function, inputs, direction)
        if errors:
            row.error = min(errors.values())
        if not correct:
            row.detail = "; ".join(dict.fromkeys(failures.values()))
            if row.error is not None:
                row.status, row.detail = "wrong", f"{row.error:.2g} from float64, at most {row.limit:.1e} is allowed"
        return correct

    def _time(self, rows: list[Row], right: dict[str, dict[str, Call]]) -> None:
        """Fills in the figures of what is right; where one raises now, all are told to have failed together."""
        try:
            chosen = {
                row.implementation: self._fastest(row, right[row.implementation])
                for row in rows
                if row.implementation in right
            }
            times = interleaved(chosen, seconds=self.seconds, stopwatch=self.stopwatch)
            peaks = {name: peak_bytes(call, self.device) for name, call in chosen.items()}
        except Exception as error:
            for row in rows:
                if row.implementation in right:
                    row.status = "left out" if out_of_memory(error) else "failed"
                    row.detail = f"while all were timed: {first_line(error)}"
            return
        for row in rows:
            if row.implementation in times:
                row.status, row.time = "timed", times[row.implementation]
                row.bytes_per_second = row.bytes / (1e-3 * row.time.median)
                row.flops_per_second = row.flops / (1e-3 * row.time.median) if row.flops else None
                row.share = row.floor / row.time.median
                row.speedup = times[REFERENCE].median / row.time.median
                row.peak_bytes = peaks[row.implementation]

    def _fastest(self, row: Row, correct: dict[str, Call]) -> Call:
        if len(correct) == 1:
            (row.detail, call), *_ = correct.items()
            return call
        row.detail = quickest(correct, seconds=self.seconds / 2, stopwatch=self.stopwatch)
        return correct[row.detail]


def first_line(error: Exception) -> str:
    """What was raised, and the first line of its message."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory is short, which is no fault of what was called."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "allocate memory" in text


def lost(device: torch.device) -> bool:
    """Whether a CUDA device serves this process no more, as after an access beyond its memory."""
    if device.type != "cuda":
        return False
    try:
        torch.cuda.synchronize(device)
    except Exception:
        return True
    return False


def poison(inputs: Inputs) -> None:
    """Leaves NaN in the memory that the next results will get, which may hold right ones of the call before."""
    copies = 3 if inputs.x.nbytes > 1 << 20 else 32  # there are many places for a small one
    held = [torch.full_like(t, float("nan")) for t in (inputs.x, inputs.dy) for _ in range(copies)]
    del held


def distance(results: dict[str, Tensor], exact: dict[str, Tensor], decided: Tensor | None = None) -> float:
    """Largest of ‖result - exact‖ / ‖exact‖; infinite where a shape differs, a value is missing or not finite.

    ddy, which jumps at a kink, is compared where `decided` only.
    """
    if set(results) != set(exact) or any(results[name].shape != exact[name].shape for name in exact):
        return float("inf")
    worst = 0.0
    for name, truth in exact.items():
        result = results[name].double()
        if name == "ddy" and decided is not None:
            result, truth = (torch.where(decided, t, 0) for t in (result, truth))
        error = float((result - truth).norm() / truth.norm().clamp_min(1e-30))
        worst = max(worst, error if error == error else float("inf"))
    return worst


def _provided(function: Function, name: str) -> Function:
    def call(inputs: Inputs) -> Tensor:
        with provider(name):
            return function(inputs)

    return call


def _call(function: Function, inputs: Inputs, direction: str) -> Call:
    return lambda: run(function, inputs, direction)


@contextmanager
def _exact_float32() -> Iterator[None]:
    """float32 convolutions in float32, not in the matrix units' shorter form."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
