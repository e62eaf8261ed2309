"""The child process: proves or times what its parent asks for, a JSON object a line, and answers likewise.

python -m fastgan.calibration.worker DESCRIPTOR: questions come by standard input, answers go to the file descriptor, so
that nothing that a library prints is taken for one. Before each step it says what it is at, {"at": ...}: when it dies
or hangs, the parent knows where.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from fastgan.bench.measure import first_line, out_of_memory
from fastgan.bench.measure import lost as device_lost
from fastgan.bench.timing import CudaStopwatch, interleaved
from fastgan.calibration.prepared import TORCH, TRUSTED, Prepared
from fastgan.calibration.trials import Trial, checked, timed
from fastgan.ops import verdicts
from fastgan.ops.allocation import tune_cpu_allocator

_CALLS = 12  # of a look for memory that is not given back
_COMPOSITIONS_SECONDS = 1.0
_MEMORY = "out of memory"
_FIRST_GRADIENTS = slice(0, 2)  # of the steps: what is proved again at each size that is timed
_TOO_SLOW = 20  # times as long as the quickest form: not timed again


class Worker:
    """Answers on one device.

    Args:
        settings: {"device", "threads", "modules": to import first}.
        say: sends an answer.
    """

    def __init__(self, settings: dict[str, Any], say: Callable[[dict[str, Any]], None]) -> None:
        for name in settings["modules"]:
            importlib.import_module(name)
        self._device, self._say = torch.device(settings["device"]), say
        self._stopwatch = CudaStopwatch(self._device) if self._device.type == "cuda" else None
        if self._device.type == "cuda":
            torch.cuda.set_device(self._device)
        else:
            tune_cpu_allocator()
            torch.set_num_threads(settings["threads"])
        torch.manual_seed(0)

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """What is found.

        Args:
            question: {"task": "check", "subject", "form", "dtype", "record": what is known already}, or {"task":
                "time", "subject", "dtype", "trial": its number, "forms", "seconds", "record"}.

        Returns:
            {"lost": why}, {} where it is right; or {"of", "rule": the form that serves without measurements, "case",
            "milliseconds": {form: [median, 20th percentile, 80th percentile]}, "noise", "lost": {form: why}}; or
            {"skipped": why nothing can be told, for which no form is to blame}.
        """
        verdicts.assume(self._device, verdicts.Record.of_json(question["record"]))
        if question["task"] == "check":
            return self._check(question["subject"], question["form"], question["dtype"])
        trials = timed(question["subject"], self._device.type, question["dtype"])
        return self._time(trials[question["trial"]], question["forms"], question["seconds"])

    def _check(self, subject: str, form: str, dtype: str) -> dict[str, Any]:
        prepared, cannot = None, "there is no such call"
        for trial in checked(subject, self._device.type, dtype):
            if not trial.served_by(form):
                continue
            made = self._prepared(trial, slice(None))
            if isinstance(made, str):
                cannot = made
                if cannot.startswith(_MEMORY):  # others of its calls are smaller
                    continue
                return {"lost": f"cannot be judged: the reference {cannot}"}
            prepared = made
            try:
                lost = self._wrong(trial, prepared, form, slice(None))
            except Exception as error:  # whatever it is: the form has raised it
                lost = _reason(error, _at(trial))
            if lost:
                return {"lost": lost}
        if prepared is None:
            return {"lost": f"cannot be judged: the reference {cannot}"}
        self._say({"at": "the look for memory that is not given back"})
        grown = self._leak(prepared, form)
        return {"lost": f"leaks memory: {grown / 2**20:.1f} MiB more after {_CALLS} calls"} if grown else {}

    def _prepared(self, trial: Trial, steps: slice) -> Prepared | str:
        """With what float64 gives at steps; or why that cannot be had, as for want of memory."""
        self._say({"at": f"the reference of {_at(trial)}"})
        try:
            prepared = trial.prepared(self._device)
            for step in prepared.steps[steps]:
                prepared.truth(step)
        except Exception as error:  # whatever it is: no form is to blame
            return _reason(error, _at(trial))
        return prepared

    def _wrong(self, trial: Trial, prepared: Prepared, form: str, steps: slice) -> str | None:
        for step in prepared.steps[steps]:
            self._say({"at": f"{step} of {_at(trial)}", "form": form})
            self._poison(prepared)
            error, limit = prepared.error(form, step, prepared.results(form, step))
            if not error <= limit < math.inf:  # nor can it be judged where the reference itself overflows
                return f"wrong: {step} of {_at(trial)} is {error:.2g} from float64, at most {limit:.1e} is allowed"
        return None

    def _poison(self, prepared: Prepared) -> None:
        """Leaves NaN in the memory that the next results will get."""
        held = [torch.full_like(t, float("nan")) for t in prepared.tensors() for _ in range(3)]
        del held

    def _leak(self, prepared: Prepared, form: str) -> int:
        """Bytes that calls keep, 0 where what they keep may be chance: less than a quarter of an image each."""
        size = max(t.numel() * t.element_size() for t in prepared.tensors())
        grown = []
        for _ in range(3):  # the first rounds fill caches
            prepared.call(form)
            before = self._in_use()
            for _ in range(_CALLS):
                prepared.call(form)
            grown.append(self._in_use() - before)
        return min(grown) if min(grown) > max(_CALLS * size // 4, 1 << 20 if self._device.type == "cpu" else 0) else 0

    def _in_use(self) -> int:
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            free, total = torch.cuda.mem_get_info(self._device)  # what no allocator of torch's knows of, too
            return total - free - torch.cuda.memory_reserved(self._device) + torch.cuda.memory_allocated(self._device)
        try:
            with open("/proc/self/statm", encoding="ascii") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:  # a system that does not tell
            return 0

    def _time(self, trial: Trial, forms: list[str], seconds: float) -> dict[str, Any]:
        at, prepared = f"the timing of {_at(trial)}", self._prepared(trial, _FIRST_GRADIENTS)
        if isinstance(prepared, str):
            return {"skipped": prepared}
        forms = [form for form in forms if trial.served_by(form)]
        calls = {form: partial(prepared.call, form) for form in forms}
        lost: dict[str, str] = {}
        once: dict[str, float] = {}
        for form in forms:
            self._say({"at": at, "form": form})
            try:
                if form not in TRUSTED and (wrong := self._wrong(trial, prepared, form, _FIRST_GRADIENTS)):
                    lost[form] = wrong  # at a size at which it was not tried before
                    continue
                self._say({"at": at, "form": form})
                calls[form]()
                once[form] = min(self._once(calls[form]) for _ in range(3))
            except Exception as error:  # whatever it is: the form has raised it
                if device_lost(self._device):  # not for the others: ends the process, which tells the form
                    raise
                lost[form] = _reason(error, at)
        slow = {form: took for form, took in once.items() if took > _TOO_SLOW * min(once.values())}
        calls: dict[str, Callable[[], Any]] = {form: calls[form] for form in once if form not in slow}
        if composition := self._composition(prepared, at):
            calls["torch's best"] = composition
        self._say({"at": at})
        times: dict[str, tuple[float, float, float]] = {}
        noise = 0.0
        if calls:
            first = next(iter(calls))
            turns = interleaved({**calls, "again": calls[first]}, seconds=seconds, stopwatch=self._stopwatch)
            times = {name: (turn.median, turn.low, turn.high) for name, turn in turns.items() if name != "again"}
            noise = abs(turns["again"].median / turns[first].median - 1)
        times |= {form: (took, took, took) for form, took in slow.items()}
        of, rule = prepared.measured()
        found = {"of": vars(of), "rule": rule, "case": _at(trial)}
        return {**found, "milliseconds": times, "noise": noise, "lost": lost}

    def _composition(self, prepared: Prepared, at: str) -> Callable[[], Any] | None:
        """The best of torch's own ways, of those that a short time is enough to try; None where there is none."""
        best, least, begin = "", float("inf"), time.monotonic()
        for name in prepared.compositions():
            if time.monotonic() - begin > _COMPOSITIONS_SECONDS:
                break
            self._say({"at": at})
            prepared.take(name)
            try:
                prepared.call(TORCH)
                took = self._once(partial(prepared.call, TORCH))
            except Exception:  # a way that this dtype or device has not
                continue
            best, least = (name, took) if took < least else (best, least)
        if not best:
            return None
        prepared.take(best)
        return partial(prepared.call, TORCH)

    def _once(self, call: Callable[[], Any]) -> float:
        """Milliseconds of one call."""
        if self._stopwatch is not None:
            return self._stopwatch(call)
        before = time.perf_counter()
        call()
        return 1e3 * (time.perf_counter() - before)


def _at(trial: Trial) -> str:
    return f"{trial.name} {trial.dtype} {trial.layout}"


def _reason(error: Exception, at: str) -> str:
    return f"{_MEMORY if out_of_memory(error) else 'fails'} at {at}: {first_line(error)}"


def main(descriptor: int) -> None:
    """Reads the settings, then questions until there are no more."""
    if sys.platform == "linux":  # not to outlive a parent that was killed
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    answers = os.fdopen(descriptor, "w", encoding="utf-8", buffering=1)

    def say(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=answers, flush=True)

    worker = Worker(json.loads(sys.stdin.readline()), say)
    say({"ready": True})
    for line in sys.stdin:
        say({"answer": worker.answer(json.loads(line))})


if __name__ == "__main__":
    main(int(sys.argv[1]))
