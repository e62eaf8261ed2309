"""Providers of bias_act by the native library, each with one fault; and small trials, for stand-ins are slow.

Imported by the processes of a calibration; see tests.calibration.test_planted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import torch

from fastgan.calibration import trials
from fastgan.ops.operator import OPERATORS, Provider, add_provider
from fastgan.ops.registration import LIBRARY
from tests.ops import interpreter, shim

trials.CHECKED[:] = [(3, 5, 7, 9), (2, 4, 6, 10)]
trials.TIMED["cpu"][:] = [(2, 8, 8, 8)]
STAND_INS = [module.NAME for module in (shim, interpreter) if module.unavailable is None]
FAULTS = ("second", "large", "odd", "slow", "aborting", "hanging", "leaking", "unavailable", "greedy")
_kept: list[torch.Tensor] = []


def _native(name: str) -> Callable:
    return getattr(torch.ops.fastgan, f"{name}_native")


def _forward(fault: str) -> Callable:
    def forward(x, b, dim, act, alpha, gain, clamp, keep_mask):
        y, mask = _native("bias_act")(x, b, dim, act, alpha, gain, clamp, keep_mask)
        if fault == "odd" and x.shape[-1] % 2:
            y[..., -1].add_(0.01)
        if fault == "large" and x.shape[-1] == 8:  # the size that is timed, and not proved before
            y.mul_(1.01)
        if fault == "slow":
            time.sleep(0.05)
        if fault == "hanging":
            time.sleep(1e6)
        if fault == "leaking":
            _kept.append(torch.ones(1 << 20))
        if fault == "greedy":
            torch.empty(1 << 50)
        return y, mask

    return forward


def _backward(fault: str) -> Callable:
    def backward(dy, x, b, mask, dim, act, alpha, gain, clamp, need_db):
        if fault == "aborting":
            os.abort()
        return _native("bias_act_backward")(dy, x, b, mask, dim, act, alpha, gain, clamp, need_db)

    return backward


def _double_backward(fault: str) -> Callable:
    def double_backward(ddx, dy, x, b, dim, act, alpha, gain, clamp, need_db):
        dx, db = _native("bias_act_double_backward")(ddx, dy, x, b, dim, act, alpha, gain, clamp, need_db)
        return dx * (1.001 if fault == "second" else 1), db

    return double_backward


def _plant(fault: str) -> None:
    why = "its licence has expired" if fault == "unavailable" else None
    add_provider(Provider(fault, {"CPU": "cpu"}, lambda device, dtype: why))
    operator = OPERATORS["bias_act"].registered
    operator[fault].numbering = operator["native"].numbering
    LIBRARY.impl(f"bias_act_{fault}", _forward(fault), "CPU")
    LIBRARY.impl(f"bias_act_backward_{fault}", _backward(fault), "CPU")
    LIBRARY.impl(f"bias_act_double_backward_{fault}", _double_backward(fault), "CPU")


for _fault in FAULTS:
    _plant(_fault)
