"""The course of a calibration: what is asked of child processes, what follows from their answers, the file."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import zip_longest
from statistics import median
from typing import Any

import filelock
import torch

from fastgan.bench.case import DTYPES
from fastgan.calibration.child import Answer, Child
from fastgan.calibration.prepared import TRUSTED
from fastgan.calibration.trials import DTYPES_OF, forms, subjects, timed
from fastgan.checkpoint import replacing
from fastgan.ops import providers, verdicts
from fastgan.ops.identity import identity
from fastgan.ops.operator import OPERATORS, PROVIDERS
from fastgan.ops.verdicts import FORMAT, Loss, Measured, Record, Verdict

Progress = Callable[[int, int, str], None]

_STEP_SECONDS = {"cpu": 60.0, "cuda": 120.0}  # of one call with its derivatives, which Triton compiles
_SECONDS = 0.15  # of the turns of one timing
_GAIN = 0.05  # of a call's time, below which nothing changes its place
_RECORDS = 32  # kept in the file, the newest


@dataclass(frozen=True)
class Plan:
    """What a calibration does.

    Attributes:
        checks: (subject, form, dtype), first.
        timings: (subject, dtype, number of the trial).
    """

    checks: list[tuple[str, str, str]]
    timings: list[tuple[str, str, int]]

    @property
    def steps(self) -> int:
        return len(self.checks) + len(self.timings)


def plan(device: torch.device, ops: Sequence[str] | None = None) -> Plan:
    """What there is to prove and to time on a device; nothing is run.

    Args:
        device: cpu or cuda.
        ops: names of operators; None for all.

    Raises:
        ValueError: there is no such operator.
    """
    wanted = tuple(OPERATORS) if ops is None else tuple(dict.fromkeys(ops))
    if not wanted or not set(wanted) <= set(OPERATORS):
        raise ValueError(f"op must be some of {', '.join(OPERATORS)}; got {' '.join(wanted) or 'none'}")
    kinds, of = DTYPES_OF[device.type], subjects(wanted, device.type)
    checks = [
        (subject, form, dtype)
        for dtype in kinds
        for subject in of
        for form in forms(subject, device.type)
        if form not in TRUSTED and _refusal(subject, form, device, dtype) is None
    ]
    order = list(PROVIDERS)  # one provider after another: Triton's kernels wait for their compilation
    checks.sort(key=lambda check: order.index(_provider(check[0], check[1])))
    tried = [(subject, dtype) for dtype in kinds for subject in of if (subject, dtype) in {c[::2] for c in checks}]
    trials = [[(*each, number) for number in range(len(timed(each[0], device.type, each[1])))] for each in tried]
    first_of_each = zip_longest(*trials)  # then the second of each, ...
    return Plan(checks, [timing for some in first_of_each for timing in some if timing is not None])


def _refusal(subject: str, form: str, device: torch.device, dtype: str) -> str | None:
    """Why a form cannot serve at all; of a convolution, why its layer cannot."""
    op = subject.partition("/")[0]
    return providers.refusal(op, _provider(subject, form), device.type, DTYPES[dtype])


def _provider(subject: str, form: str) -> str:
    return subject.partition("/")[2] or form


def calibrate(
    device: torch.device | str | None = None,
    *,
    minutes: float | None = None,
    ops: Sequence[str] | None = None,
    modules: Sequence[str] = (),
    progress: Progress | None = None,
    wait: float = 900.0,
    only_if_new: bool = False,
    step_seconds: float | None = None,
) -> Record:
    """Proves every form of every operator on a device, times those that are right, and lets the best serve from now on.

    A form is right where values, gradients and second gradients agree with float64 at odd sizes and at those of models.
    Each is tried in a process of its own: one that is wrong, crashes, hangs or keeps memory loses its place, and that
    is all. Of right ones another takes the place of the first only where it is faster by more than timings differ. What
    was found goes to a file in the user's cache folder, `verdicts.path()`, and counts for this device, driver, build of
    fastgan, torch and Triton; on a CPU for this number of torch's threads.

    Args:
        device: None takes the GPU if there is one, else the CPU.
        minutes: after which no further step begins, half of them at most for proofs; what is left out keeps its place.
            None: until all is done.
        ops: operators to try; None for all. What is known of others stays.
        modules: that the processes import first, of providers described outside of fastgan.
        progress: called with steps done, steps in all and what is next.
        wait: seconds to wait for another process that calibrates on this machine.
        only_if_new: return what is known where something is, as when another process has just found it.
        step_seconds: that one call with its derivatives may take; None: a minute, two on a GPU, where Triton compiles.

    Returns:
        what is known of the device now.

    Raises:
        ValueError: there is no such device or operator, or minutes is not above 0.
        TimeoutError: another process did not end its calibration in time.
        OSError: the file cannot be written.
        RuntimeError: no process can be started.
    """
    where = _checked(device, minutes)
    for name in modules:
        importlib.import_module(name)
    todo = plan(where, ops)
    with _alone(wait):
        if only_if_new:
            verdicts.forget()
            if (known := verdicts.table(where)) is not None:
                return known.record
        course = _Course(where, todo, minutes, modules, progress, step_seconds or _STEP_SECONDS[where.type])
        try:
            course.run()
        finally:
            course.child.close()
        record = _merged(course.record, todo, course.unreached)
        _write(record)
    verdicts.forget()
    return record


def _checked(device: torch.device | str | None, minutes: float | None) -> torch.device:
    if minutes is not None and not minutes > 0:
        raise ValueError(f"minutes must be above 0, got {minutes}")
    where = torch.device(device if device is not None else "cuda" if torch.cuda.is_available() else "cpu")
    if where.type not in ("cpu", "cuda"):
        raise ValueError(f"device must be cpu or cuda, got {str(device)!r}")
    if where.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda: this torch sees no GPU (fastgan doctor says more)")
    if where.type == "cuda" and where.index is None:  # the current one, for processes whose current one is another
        return torch.device("cuda", torch.cuda.current_device())
    return where


@contextmanager
def _alone(wait: float) -> Iterator[None]:
    """While no other process of this user calibrates on this machine."""
    folder = verdicts.path().parent
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / "calibration.lock"
    try:
        with filelock.FileLock(lock, timeout=wait):
            yield
    except filelock.Timeout:
        raise TimeoutError(f"another process calibrates and did not end in {wait:.0f} s ({lock})") from None


@dataclass
class _Course:
    device: torch.device
    todo: Plan
    minutes: float | None
    modules: Sequence[str]
    progress: Progress | None
    step_seconds: float
    done: int = 0
    noises: list[float] = field(default_factory=list)
    unreached: set[tuple[str, str, str]] = field(default_factory=set)  # (subject, form, full dtype)

    def __post_init__(self) -> None:
        seconds = float("inf") if self.minutes is None else 60 * self.minutes
        self.end, self.end_of_checks = time.monotonic() + seconds, time.monotonic() + seconds / 2
        self.record = Record(identity(self.device), datetime.now(timezone.utc).isoformat(timespec="seconds"))
        settings = {"device": str(self.device), "threads": torch.get_num_threads(), "modules": list(self.modules)}
        self.child = Child(settings)

    def run(self) -> None:
        """A convolution that lost its place is in no layer that is tried after it."""
        self.record.losses += self._unavailable()
        for subject, form, dtype in self.todo.checks:
            if self._begins(f"proving {form} of {subject} {dtype}") and time.monotonic() < self.end_of_checks:
                question = {"task": "check", "subject": subject, "form": form, "dtype": dtype}
                answer, why = self._ask(question)
                if answer is None and self._over():
                    self._unproved(subject, form, dtype)
                elif lost := why if answer is None else answer.get("lost"):
                    self._lose(subject, form, dtype, lost)
            else:
                self._unproved(subject, form, dtype)
        for subject, dtype, number in self.todo.timings:
            right = [form for form in forms(subject, self.device.type) if self._right(subject, form, dtype)]
            trial = timed(subject, self.device.type, dtype)[number]
            if self._begins(f"timing {trial.name} {dtype} {trial.layout}"):
                self._time(subject, dtype, number, right)
        self.record.noise = median(self.noises) if self.noises else 0.0

    def _time(self, subject: str, dtype: str, number: int, right: list[str]) -> None:
        """Asks anew without a form that took the process along; if none is known to have, which of them does alone."""
        question = {"task": "time", "subject": subject, "dtype": dtype, "trial": number, "seconds": _SECONDS}
        while len(right) > 1:
            answer, why = self._ask({**question, "forms": right})
            if answer is not None and "skipped" not in answer:
                self._rank(answer, right)
            if answer is not None:
                return
            if self._over():
                break
            lost = {form: why} if (form := self.child.at.get("form")) else self._alone_fatal(question, right)
            if not lost:  # nor can it be told which does
                break
            for form, why in lost.items():
                self._lose(subject, form, dtype, why)
            right = [form for form in right if form not in lost]
        else:
            return
        self.record.left += 1

    def _alone_fatal(self, question: Answer, right: list[str]) -> dict[str, str]:
        """Forms that take the process along when they alone are timed -> how."""
        ends = {form: self._ask({**question, "forms": [form]})[1] for form in right if form not in TRUSTED}
        return {form: why for form, why in ends.items() if why and not self._over()}

    def _rank(self, answer: Answer, right: list[str]) -> None:
        of = Measured(**{**answer["of"], "size": tuple(answer["of"]["size"])})
        times = {form: tuple(some) for form, some in answer["milliseconds"].items()}
        self.noises.append(answer["noise"])
        for form, why in answer["lost"].items():
            if form not in TRUSTED:
                self._lose(of.subject, form, _short(of.dtype), why)
        first = sorted((form for form in right if form in times), key=lambda form: form != answer["rule"])
        order = ranking({form: times[form] for form in first}, answer["noise"])
        if order:
            self.record.verdicts.append(Verdict(of, order, times, answer["case"]))

    def _right(self, subject: str, form: str, dtype: str) -> bool:
        full = str(DTYPES[dtype])[6:]
        lost = any((loss.subject, loss.form, loss.dtype) == (subject, form, full) for loss in self.record.losses)
        return not lost and (form in TRUSTED or (subject, form, dtype) in self.todo.checks)

    def _lose(self, subject: str, form: str, dtype: str, why: str) -> None:
        self.record.losses.append(Loss(subject, form, str(DTYPES[dtype])[6:], why))
        self.child.close()  # a GPU may serve the process no more

    def _unproved(self, subject: str, form: str, dtype: str) -> None:
        """What was not reached keeps the place that it has without measurements: none on a GPU."""
        full = str(DTYPES[dtype])[6:]
        self.record.left += 1
        self.unreached.add((subject, form, full))
        if self.device.type == "cuda" and "/" not in subject:
            why = "unproven: the time was over before it was tried"
            self.record.losses.append(Loss(subject, form, full, why))

    def _unavailable(self) -> Iterator[Loss]:
        for subject in {subject: None for subject, *_ in self.todo.checks} or OPERATORS:
            for form in forms(subject, self.device.type):
                for dtype in DTYPES_OF[self.device.type]:
                    if form not in TRUSTED and (why := _refusal(subject, form, self.device, dtype)):
                        yield Loss(subject, form, str(DTYPES[dtype])[6:], f"unavailable: {why}")

    def _ask(self, question: Answer) -> tuple[Answer | None, str]:
        """With what is known so far: a layer is tried with the convolutions that would be in it."""
        return self.child.ask({**question, "record": self.record.as_json()}, self.step_seconds, self.end)

    def _begins(self, what: str) -> bool:
        """Whether there is time for the next step."""
        if self.progress is not None:
            self.progress(self.done, self.todo.steps, what)
        self.done += 1
        return not self._over()

    def _over(self) -> bool:
        return time.monotonic() >= self.end


def ranking(times: dict[str, Sequence[float]], noise: float) -> tuple[str, ...]:
    """Forms by their times, the first of them, which serves without measurements, beaten only clearly.

    Args:
        times: form -> [median, 20th percentile, 80th percentile] in milliseconds.
        noise: how far apart two timings of one form were, as a share.
    """
    if not times:
        return ()
    first = next(iter(times))
    order = sorted(times, key=lambda form: times[form][0])
    best = order[0]
    gain = 1 - times[best][0] / times[first][0]
    if gain <= max(_GAIN, 2 * noise) or times[best][2] >= times[first][1]:
        order = [first, *(form for form in order if form != first)]
    return tuple(order)


def _short(dtype: str) -> str:
    return next(short for short, kind in DTYPES.items() if str(kind)[6:] == dtype)


def _merged(record: Record, todo: Plan, unreached: set[tuple[str, str, str]]) -> Record:
    """With what was known before of what was not tried now: a short calibration takes nothing from a long one."""
    old = next((old for old in _records() if old.identity == record.identity), None)
    if old is None:
        return record
    now = {verdict.of for verdict in record.verdicts}
    proved = {(v.of.subject, form, v.of.dtype) for v in old.verdicts for form in v.ranking} & unreached
    record.verdicts += [verdict for verdict in old.verdicts if verdict.of not in now]
    record.losses = [loss for loss in record.losses if (loss.subject, loss.form, loss.dtype) not in proved]
    known = {(loss.subject, loss.form, loss.dtype) for loss in record.losses}
    planned = {(subject, form, str(DTYPES[dtype])[6:]) for subject, form, dtype in todo.checks}
    for loss in old.losses:
        key = (loss.subject, loss.form, loss.dtype)
        if key not in known and (key in unreached or key not in planned):
            record.losses.append(loss)
    return record


def _records() -> list[Record]:
    """Those of the file; none if it is damaged, for it is written anew."""
    try:
        return verdicts.read_records()
    except (ValueError, OSError):
        return []


def _write(record: Record) -> None:
    """Into the file, whole at every instant, in place of the record that was for the same identity."""
    others = [old for old in _records() if old.identity != record.identity]
    kept = sorted([*others, record], key=lambda each: each.date)[-_RECORDS:]
    data: dict[str, Any] = {"format": FORMAT, "records": [each.as_json() for each in kept]}
    with replacing(verdicts.path()) as partial:
        partial.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")
