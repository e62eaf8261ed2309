"""Tensors of which there are shapes alone, on any device, and the bytes they would take: training without memory."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

_CPU, _META = torch.device("cpu"), torch.device("meta")
# They write into what they are given and make nothing; the meta device does not know them.
_FUSED = ("_fused_adam_", "_fused_adamw_", "_fused_sgd_", "_fused_adagrad_")
_READS = ("_local_scalar_dense", "is_nonzero", "equal")


class _Shadow(Tensor):
    """A tensor that says of itself to be on a device, and has shape, strides and dtype there, but no values.

    torch's fake tensors do the same, at ten times the price an operator, and take real memory for the fused steps of
    optimizers.

    Attributes:
        inner: the same on the meta device, which knows how large its storage is and who else looks at it.
    """

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, inner: Tensor, device: torch.device) -> _Shadow:
        made = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=device,
        )
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func}: tensors without values are known inside of `Shadows` alone")

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if id(self) not in memo:
            copy = self.detach().clone()
            memo[id(self)] = nn.Parameter(copy, self.requires_grad) if isinstance(self, nn.Parameter) else copy
        return memo[id(self)]


class Shadows(TorchDispatchMode):
    """Inside, tensors made of nothing are shadows, and so is what is computed of them; their bytes are counted.

    Tensors of the meta device become shadows where they are moved to another, tensors with values where they meet one.
    Random draws leave the generators as they are. A convolution works on copies, which oneDNN and our layers make of
    its operands and its result: each counts twice as long as it runs.

    Args:
        known: what earlier ones have learnt of operators, to be shared: call -> layouts of what it makes.

    Attributes:
        now: bytes of the storages that are alive.
        peak: the most that were at once.

    Raises:
        RuntimeError: inside, where a number of a tensor without values is asked for.
    """

    def __init__(self, known: dict[Any, Any] | None = None) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._alive: dict[int, weakref.ref] = {}
        self._known = {} if known is None else known

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = func.overloadpacket.__name__, kwargs or {}
        if name in _FUSED:
            return None
        call = _Call(func, args, kwargs)
        if not call.shadowy:
            return func(*args, **kwargs)
        if name in _READS:
            raise RuntimeError("a number of a tensor without values is asked for")
        layouts = self._known.get(call.key)
        if layouts is not None:
            made = _of(layouts)
        else:
            made = func(*call.args, **call.kwargs)
            if call.key is not None and all(value.alias_info is None for value in func._schema.returns):
                self._known[call.key] = _layouts(made)
        wrapped = self._wrapped(made, call)
        if name.startswith("conv"):
            self.peak = max(self.peak, self.now + _bytes(call.args) + _bytes(made))
        return wrapped

    def _wrapped(self, made: Any, call: _Call) -> Any:
        if isinstance(made, Tensor):
            known = call.shadows.get(id(made))  # what was written into is given back
            return self._shadow(made, call.device) if known is None else known
        return type(made)(self._wrapped(each, call) for each in made) if isinstance(made, (tuple, list)) else made

    def _shadow(self, inner: Tensor, device: torch.device) -> Tensor:
        if device.type == "meta":
            return inner
        storage = inner.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key not in self._alive:

            def gone(_: weakref.ref) -> None:
                self.now -= size
                del self._alive[key]

            self._alive[key] = weakref.ref(storage, gone)
            self.now += size
            self.peak = max(self.peak, self.now)
        return _Shadow(inner, device)


class _Call:
    """A call of an operator, with tensors of the meta device in place of shadows.

    Attributes:
        args, kwargs: for the meta device.
        device: of what it makes.
        shadows: among the arguments, by the identity of what took their place.
        shadowy: whether it makes shadows.
        key: what decides the layouts of what it makes; None where a call must be made to know.
    """

    def __init__(self, func: Any, args: Any, kwargs: dict[str, Any]) -> None:
        self.shadows: dict[int, _Shadow] = {}
        self.device: torch.device = _CPU
        self._settled = self._meta = self._real = False
        parts: list[Any] = [func, tuple(kwargs)]
        self.args = [self._inner(arg, parts.append) for arg in args]
        self.kwargs = {name: self._inner(arg, parts.append) for name, arg in kwargs.items() if name != "pin_memory"}
        places = any(argument.name == "device" for argument in func._schema.arguments)
        makes = places and not (self.shadows or self._meta or self._real)
        self.shadowy = bool(self.shadows or self._meta or makes)
        if kwargs.get("device") is not None:
            self.device = torch.device(kwargs["device"])
        if places and (makes or kwargs.get("device") is not None):
            self.kwargs["device"] = _META
        try:
            hash(key := tuple(parts))
        except TypeError:  # a number that is known symbolically
            key = None
        self.key = None if func._schema.is_mutable else key

    def _inner(self, arg: Any, note: Callable[[Any], None]) -> Any:
        if isinstance(arg, Tensor):
            note((arg.size(), arg.stride(), arg.storage_offset(), arg.dtype))
            if not isinstance(arg, _Shadow):
                return self._of_values(arg)
            if not self._settled:  # a tensor without axes goes with any device
                self.device, self._settled = arg.device, arg.ndim > 0
            self.shadows[id(arg.inner)] = arg
            return arg.inner
        if isinstance(arg, (list, tuple)):
            note(len(arg))
            return type(arg)([self._inner(each, note) for each in arg])
        note((type(arg), arg))
        return arg

    def _of_values(self, tensor: Tensor) -> Tensor:
        if tensor.is_meta:
            if not self.shadows:
                self.device = _META
            self._meta = True
            return tensor
        self._real = True
        return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=_META)


def _layouts(made: Any) -> Any:
    if isinstance(made, Tensor):
        return made.size(), made.stride(), made.dtype
    return [_layouts(each) for each in made] if isinstance(made, (tuple, list)) else made


def _of(layouts: Any) -> Any:
    if isinstance(layouts, tuple):
        size, stride, dtype = layouts
        return torch.empty_strided(size, stride, dtype=dtype, device=_META)
    return [_of(each) for each in layouts] if isinstance(layouts, list) else layouts


def _bytes(values: Any) -> int:
    if isinstance(values, Tensor):
        return values.numel() * values.itemsize
    return sum(map(_bytes, values)) if isinstance(values, (tuple, list)) else 0
