"""Which implementation of an operator runs: native | triton | reference, and why.

`native` is the compiled library, `triton` the Triton kernels, for CUDA tensors, `reference` the pure-torch formula,
which serves everywhere. The default is the first entry of the table in `defaults` that can serve, else the reference;
`provider("reference")` or FASTGAN_PROVIDER names one for all operators, and a named provider that cannot serve raises.
Nothing falls back silently. What torch.jit.trace, torch.export and torch.onnx.export record is the reference unless
another is named: plain torch, which runs where no fastgan is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from fastgan.ops.defaults import default_for
from fastgan.ops.exporting import exporting
from fastgan.ops.scoped import Scoped

NAMES = ("native", "triton", "reference")

# (operator, provider) -> function(device type, dtype, detail) that says why the provider cannot serve, or None.
Refusal = Callable[[str, torch.dtype, str], "str | None"]
_refusals: dict[tuple[str, str], Refusal] = {}

_named = Scoped[str]("fastgan.provider", os.environ.get("FASTGAN_PROVIDER", ""))  # "": the table decides


@dataclass(frozen=True)
class Row:
    """One line of `report()`: can this provider serve, would it be taken, and if not, why."""

    op: str
    device: str
    dtype: str
    provider: str
    serves: bool
    default: bool
    reason: str


def register_provider(op: str, name: str, refusal: Refusal) -> None:
    """Enter a provider of an operator; `refusal` returns None where it can serve, else the reason in words."""
    _refusals[op, name] = refusal


def _check_name(name: str, where: str) -> None:
    if name not in NAMES:
        raise ValueError(f"{where} must be one of {', '.join(NAMES)}; got {name!r}")


@contextmanager
def provider(name: str) -> Iterator[None]:
    """Use one provider for every operator that the block's own thread or asynchronous task calls inside.

    The choice is made in the forward pass and its backward keeps it, wherever that runs. FASTGAN_PROVIDER names one for
    all threads.

    Args:
        name: "native", "triton" or "reference".

    Raises:
        ValueError: unknown name, at once; a provider that cannot serve a call, at that call.
    """
    _check_name(name, "provider name")
    with _named.holding(name):
        yield


def _refusal(op: str, name: str, device: str, dtype: torch.dtype, detail: str) -> str | None:
    if (op, name) not in _refusals:
        return f"{op} has no {name} form"
    if name != "reference" and exporting() and torch.onnx.is_in_onnx_export():
        return "ONNX has no operator of that kind; name 'reference', or none"
    return _refusals[op, name](device, dtype, detail)


def choose(op: str, device: str, dtype: torch.dtype, detail: str = "") -> str:
    """Name of the provider that serves this call.

    Args:
        op: operator name.
        device: device type of the input ("cpu", "cuda", ...).
        dtype: dtype of the input.
        detail: what else decides (for bias_act the activation).

    Raises:
        ValueError: the provider named by `provider()` or FASTGAN_PROVIDER is unknown or cannot serve.
    """
    if named := _named.get():
        _check_name(named, "FASTGAN_PROVIDER")
        reason = _refusal(op, named, device, dtype, detail)
        if reason is not None:
            raise ValueError(f"provider {named!r} cannot serve {op} on {device} {dtype}: {reason}")
        return named
    if exporting():
        return "reference"  # plain torch, which runs where no fastgan is
    table = default_for(op, device, dtype)
    for name in table.order if table else ():
        if _refusal(op, name, device, dtype, detail) is None:
            return name
    return "reference"


def _why_not(op: str, name: str, device: str, dtype: torch.dtype, chosen: str) -> str:
    """Why a provider that could serve is not the one that does."""
    table = default_for(op, device, dtype)
    if _named.get():
        return f"{chosen} is named by provider() or FASTGAN_PROVIDER"
    if name != "reference" and (table is None or name not in table.order):
        return f"unproven on {device}: no measurement shows that it should be the default; name it to use it"
    return f"{chosen} is preferred" + (f" ({table.provenance})" if table else "")


def report(devices: tuple[str, ...] = ("cpu", "cuda")) -> list[Row]:
    """Every operator × device × dtype × provider: who serves, who is the default, and why the others are not."""
    rows = []
    for op in sorted({op for op, _ in _refusals}):
        for device in devices:
            for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
                try:
                    chosen, why = choose(op, device, dtype), ""
                except ValueError as error:
                    chosen, why = "", str(error)
                for name in NAMES:
                    reason = _refusal(op, name, device, dtype, "")
                    text = reason or why or ("" if name == chosen else _why_not(op, name, device, dtype, chosen))
                    rows.append(Row(op, device, str(dtype)[6:], name, reason is None, name == chosen, text))
    return rows
