"""How operators compute: which provider (native | triton | reference) and how exactly, named by a block or by default.

`native` is the compiled library, `triton` the Triton kernels, for CUDA tensors, `reference` the pure-torch formula,
which serves everywhere. The default is what `fastgan calibrate` measured on this device of such calls (`verdicts`),
else the first of the operator's `defaults` that can serve, else the reference; `provider("reference")` or
FASTGAN_PROVIDER names one for all operators, and a named provider that cannot serve raises. Nothing falls back
silently. What torch.jit.trace, torch.export and torch.onnx.export record is the reference unless another is named:
plain torch, which runs where no fastgan is.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from fastgan.ops import gpu_images, native, tf32, triton_provider, verdicts
from fastgan.ops.arguments import exporting
from fastgan.ops.operator import OPERATORS, PROVIDERS, Operator, Provider, add_provider
from fastgan.ops.verdicts import Measured, Size

NAMES = ("native", "triton", "reference")
NEAR = {"cpu": 2.0, "cuda": 8.0}  # factors between sizes within which what was measured goes before a default
T = TypeVar("T")


class Scoped(Generic[T]):
    """A value that a block sets for what its own thread or asynchronous task does inside.

    torch.compile cannot read a ContextVar: what it compiles depends on a copy for the thread, so that there, and there
    alone, a block counts for all tasks of its thread.

    Args:
        name: for the debugger.
        default: the value outside of all blocks.
    """

    def __init__(self, name: str, default: T) -> None:
        self.default = default
        self._value: ContextVar[T | None] = ContextVar(name, default=None)
        self._thread = threading.local()  # value: of the block that began last; blocks: all that have not ended

    def get(self) -> T:
        """The value that holds here."""
        value: T | None = self._of_thread() if torch.compiler.is_dynamo_compiling() else self._value.get()
        return self.default if value is None else value

    def _of_thread(self) -> T | None:
        return getattr(self._thread, "value", None)

    @contextmanager
    def holding(self, value: T) -> Iterator[None]:
        """Inside, `get` returns the value."""
        if torch.compiler.is_dynamo_compiling():  # blocks of a compiled function nest
            before = self._of_thread()
            self._thread.value = value
            try:
                yield
            finally:
                self._thread.value = before
            return
        before, block = self._value.get(), object()
        blocks: dict[object, T] = self._thread.__dict__.setdefault("blocks", {})  # those of several tasks do not nest
        blocks[block] = self._thread.value = value
        self._value.set(value)
        try:
            yield
        finally:
            self._value.set(before)
            blocks.pop(block, None)
            self._thread.value = next(reversed(blocks.values()), None)


_named = Scoped[str]("fastgan.provider", os.environ.get("FASTGAN_PROVIDER", ""))  # "": the defaults decide
_exact = Scoped[bool]("fastgan.exact_convolutions", False)
_form = Scoped[str]("fastgan.form", "")  # "": what was measured decides, or a rule
_heard = Scoped[list[tuple[Measured, str]] | None]("fastgan.listening", None)


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


def _native_refusal(device: str, dtype: torch.dtype) -> str | None:
    """Why the library cannot serve tensors of this device type and dtype, or None where it can.

    Tensors of the device "meta" have shapes alone, which Python knows.
    """
    if native.unavailable is not None and device != "meta":
        return native.unavailable
    if device == "cuda" and not native.info["cuda"]:
        reason = native.build_record().get("cuda_reason") or "no reason is known"
        return f"the native library was built without CUDA: {reason}"
    if device not in ("cpu", "cuda", "meta"):
        return f"the native library has no {device} code"
    if dtype not in _DTYPES:
        return f"the native library has no {dtype} form"
    return gpu_images.refusal("native") if device == "cuda" else None


def _triton_refusal(device: str, dtype: torch.dtype) -> str | None:
    """Why no Triton kernel can serve tensors of this device type and dtype; None where one can."""
    if triton_provider.unavailable is not None:
        return triton_provider.unavailable
    if device != "cuda":
        return f"x is on {device}, Triton kernels need a CUDA tensor"
    if dtype not in _DTYPES:
        return f"the Triton kernels have no {dtype} form"
    return gpu_images.refusal("triton")


_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
add_provider(Provider("native", {"CPU": "cpu", "CUDA": "cuda"}, _native_refusal))
add_provider(Provider("triton", {"CUDA": "triton"}, _triton_refusal))


def _check_name(name: str, where: str) -> None:
    if name not in NAMES and name not in PROVIDERS:
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


@contextmanager
def exact_convolutions() -> Iterator[None]:
    """Compute the float32 convolutions of layers called inside term by term: neither Winograd's algorithm nor tf32.

    Outside, 3×3 convolutions of float32 images on a CPU may be Winograd's, which rounds more (docs/kernels.md has its
    error) and lets NaN, infinity or an outlier in one pixel reach results up to 3 pixels away instead of 1; and those
    on a GPU follow `torch.backends.cudnn.conv.fp32_precision`. The choice is made in the forward pass and its backward
    keeps it, wherever that runs: what the compiled providers leave to cuDNN (native: contiguous images) turns tf32 off
    for the length of each such call, for convolutions that other threads start meanwhile too.

    Not covered is the reference, which is plain torch, its derivatives too: on a GPU it follows torch's setting inside
    as well.
    """
    with _exact.holding(True):
        yield


def fast_products(x: Tensor) -> bool:
    """Whether a layer of x may round more than its formula needs."""
    if _exact.get() or x.dtype != torch.float32:
        return False
    if not x.is_cuda:
        return True
    return tf32.allowed()


def _refusal(operator: Operator, name: str, device: str, dtype: torch.dtype, detail: str) -> str | None:
    if name == "reference":
        return None
    provider = operator.providers.get(name)
    if provider is None:
        return f"{operator.name} has no {name} form"
    if exporting() and torch.onnx.is_in_onnx_export():
        return "ONNX has no operator of that kind; name 'reference', or none"
    if reason := operator.lacking.get((name, device)) or provider.refusal(device, dtype):
        return reason
    return operator.refusal(operator.registered[name], detail) if operator.refusal is not None else None


def refusal(op: str, name: str, device: str, dtype: torch.dtype) -> str | None:
    """Why a provider cannot serve an operator on a device type in a dtype; None where it can.

    Args:
        op: name of the operator.
        name: of the provider.
        device: "cpu", "cuda", ...
        dtype: of the input.
    """
    return _refusal(OPERATORS[op], name, device, dtype, "")


@contextmanager
def listening() -> Iterator[list[tuple[Measured, str]]]:
    """Yields a list to which every call inside adds what a calibration would know it by, and who serves it without."""
    heard: list[tuple[Measured, str]] = []
    with _heard.holding(heard):
        yield heard


def choose(
    op: str,
    device: str | torch.device,
    dtype: torch.dtype,
    detail: str = "",
    call: Callable[[], tuple[str, str, Size]] | None = None,
) -> str:
    """Name of the provider that serves this call.

    Args:
        op: operator name.
        device: of the input, or its type alone ("cpu", "cuda", ...), of which nothing was measured.
        dtype: dtype of the input.
        detail: what else decides (for bias_act the activation).
        call: makes the layout, kind and size by which measurements are looked up; see `verdicts.Measured`.

    Raises:
        ValueError: the provider named by `provider()` or FASTGAN_PROVIDER is unknown or cannot serve.
    """
    operator, where = OPERATORS[op], device if isinstance(device, str) else device.type
    if call is not None and (heard := _heard.get()) is not None:
        default = operator.rows.get((where, str(dtype)[6:]))
        rule = next(iter(default.order if default is not None else ()), "reference")
        heard.append((Measured(op, str(dtype)[6:], *call()), rule))
    if named := _named.get():
        _check_name(named, "FASTGAN_PROVIDER")
        reason = _refusal(operator, named, where, dtype, detail)
        if reason is not None:
            raise ValueError(f"provider {named!r} cannot serve {op} on {where} {dtype}: {reason}")
        return named
    if exporting():
        return "reference"  # plain torch, which runs where no fastgan is
    for name in _order(operator, device, dtype, call):
        if _refusal(operator, name, where, dtype, detail) is None:
            return name
    return "reference"


def _order(
    operator: Operator,
    device: str | torch.device,
    dtype: torch.dtype,
    call: Callable[[], tuple[str, str, Size]] | None,
) -> tuple[str, ...]:
    """Providers from the one that should serve, what lost its place left out."""
    kind = str(dtype)[6:]
    default = operator.rows.get((device if isinstance(device, str) else device.type, kind))
    order = default.order if default is not None else ()
    if isinstance(device, str):
        return order
    if torch.compiler.is_dynamo_compiling():
        layout, of, _ = call() if call is not None else ("", "", ())
        ranking, lost = verdicts.ranking_while_compiling(operator.name, str(device), kind, layout, of)
        return tuple(name for name in ranking or order if name not in lost)
    table = None if verdicts.silent else verdicts.table(device)
    if table is None:
        unproved = default is None and device.type == "cuda"
        if unproved and not all(_refusal(operator, name, "cuda", dtype, "") for name in operator.providers):
            verdicts.warn_once(device)
        return order
    # Where nothing is a default, what was measured of quite other sizes is the best that is known.
    within = math.inf if default is None else NEAR[device.type]
    ranking = table.ranking(Measured(operator.name, kind, *call()), within) if call is not None else ()
    return tuple(name for name in ranking or order if table.loss(operator.name, name, kind) is None)


@contextmanager
def form(name: str) -> Iterator[None]:
    """Inside, providers that have several ways to compute a part of an operator take this one, where it can serve."""
    with _form.holding(name):
        yield


def choose_form(
    subject: str, x: Tensor, forms: tuple[str, ...], rule: str, call: Callable[[], tuple[str, str, Size]]
) -> str:
    """The way in which a provider computes a part of an operator.

    Args:
        subject: "operator/provider".
        x: the image.
        forms: that compute it, the rule's among them.
        rule: the form where nothing was measured.
        call: as for `choose`.
    """
    if (heard := _heard.get()) is not None:
        heard.append((Measured(subject, str(x.dtype)[6:], *call()), rule))
    if named := _form.get():
        return named if named in forms else rule
    table = None if verdicts.silent else verdicts.table(x.device)
    if table is None:
        return rule
    of = Measured(subject, str(x.dtype)[6:], *call())
    proved = [form for form in forms if table.loss(subject, form, of.dtype) is None]
    order = [form for form in table.ranking(of, NEAR[x.device.type]) if form in proved]
    return next(iter(order), rule if rule in proved else next(iter(proved), rule))


def _why_not(operator: Operator, name: str, device: str, dtype: torch.dtype, chosen: str) -> str:
    """Why a provider that could serve is not the one that does, where no measurement decides."""
    default = operator.rows.get((device, str(dtype)[6:]))
    if _named.get():
        return f"{chosen} is named by provider() or FASTGAN_PROVIDER"
    if name != "reference" and (default is None or name not in default.order):
        return f"unproven on {device}: no measurement shows that it should be the default; name it to use it"
    return f"{chosen} is preferred" + (f" ({default.provenance})" if default else "")


def report(devices: tuple[str, ...] = ("cpu", "cuda")) -> list[Row]:
    """Every operator × device × dtype × provider: who serves, who is the default, and why the others are not."""
    rows = []
    for op, operator in sorted(OPERATORS.items()):
        for device in devices:
            for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
                try:
                    chosen, why = choose(op, device, dtype), ""
                except ValueError as error:
                    chosen, why = "", str(error)
                for name in NAMES:
                    reason = _refusal(operator, name, device, dtype, "")
                    text = reason or why or ("" if name == chosen else _why_not(operator, name, device, dtype, chosen))
                    rows.append(Row(op, device, str(dtype)[6:], name, reason is None, name == chosen, text))
    return rows
