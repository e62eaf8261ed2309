"""Settings that hold inside a `with` block."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Generic, TypeVar

import torch

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
