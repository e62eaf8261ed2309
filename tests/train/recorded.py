"""A CUDA graph's likeness on a CPU: what is dispatched once is done again, on the same memory, without Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


class _Tape(TorchDispatchMode):
    """Every operator with what it was given and gave, in order; what only looks at memory is left out.

    A value that Python asks for would be the same for ever: it is refused, as a capturing CUDA stream refuses it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple, dict, Any]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
            raise RuntimeError(f"{func} waits for the device")
        result = func(*args, **kwargs)
        memory = {t.untyped_storage()._cdata for t in _tensors((args, kwargs))}
        views = all(t.untyped_storage()._cdata in memory for t in _tensors(result))
        if func._schema.is_mutable or not views:
            self.calls.append((func, args, kwargs, None if views else result))
        return result

    @torch.no_grad()
    def play(self) -> None:
        """Do it all again."""
        for func, args, kwargs, result in self.calls:
            again = func(*args, **kwargs)
            if result is not None and "empty" not in func._schema.name:
                for held, fresh in zip(_tensors(result), _tensors(again), strict=True):
                    held.copy_(fresh)


class Tapes:
    """A `fastgan.train.graphs.Recorder` of a CPU."""

    def __init__(self) -> None:
        self.recorded = 0

    def run(self, work: Callable[[], object]) -> None:
        work()

    def record(self, work: Callable[[], object]) -> Callable[[], None]:
        tape = _Tape()
        with tape:
            work()
        self.recorded += 1
        return tape.play
