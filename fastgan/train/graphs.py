"""Updates as CUDA graphs: recorded once, then started by one launch from the host."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

# Calls that run as they are before one is recorded: they make the optimizer's state, statistics and workspaces.
_WARM_UP = 3


class Recorder(Protocol):
    """What records the work of a device."""

    def run(self, work: Callable[[], object]) -> None:
        """Do the work under the conditions under which it will be recorded."""
        ...

    def record(self, work: Callable[[], object]) -> Callable[[], None]:
        """Do the work once; what does it again, on the same memory."""
        ...


class CudaGraphs:
    """Records what is launched on one CUDA device, in graphs that share a pool of memory.

    All of it runs on one stream beside the current one: nodes of autograd keep to the stream on which they were made,
    and a graph may not wait for another. Random numbers of torch's global generator go on from replay to replay.
    """

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)
        self.pool = torch.cuda.graph_pool_handle()

    def run(self, work: Callable[[], object]) -> None:
        current = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            work()
        current.wait_stream(self.stream)

    def record(self, work: Callable[[], object]) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        # Threads that read images ahead may allocate pinned memory meanwhile.
        with torch.cuda.graph(graph, self.pool, self.stream, capture_error_mode="thread_local"):
            work()
        graph.replay()
        return graph.replay


class _Recording(NamedTuple):
    batches: list[Any]  # that the recording works on
    given: list[Any]  # their leaves, but for what work adds
    replay: Callable[[], None]


class Graphs:
    """Does work as it stands, or from the fourth time on by replaying a recording of it.

    A recording holds addresses: what the work reads beside its batches lies where it lay, and is written in place.

    Args:
        recorder: None: nothing is recorded.

    Attributes:
        notes: a sentence for each work that could not be recorded, and is done as it stands.
    """

    def __init__(self, recorder: Recorder | None = None) -> None:
        self.recorder = recorder
        self.notes: list[str] = []
        self.forget()

    def forget(self) -> None:
        """Drop all recordings: tensors that they hold have been replaced."""
        self._calls: dict[Hashable, int] = {}
        self._constants: dict[Hashable, Any] = {}
        self._recordings: dict[Hashable, _Recording | None] = {}

    def __call__(
        self, name: Hashable, work: Callable[[list[Any]], object], batches: list[Any], constants: Any = None
    ) -> None:
        """work(batches).

        Args:
            name: of the work.
            work: does the same in each call with one name and batches of one layout, but for what the batches hold.
            batches: dicts, tuples and lists of tensors. What work adds to a dict is valid until the next call.
            constants: numbers that the host hands to the work, which a recording holds as they were: with others it is
                done as it stands, until they have been the same four times.
        """
        if self.recorder is None:
            work(batches)
            return
        given, structure = pytree.tree_flatten(batches)
        name = (name, structure, *map(_layout, given))
        if self._constants.setdefault(name, constants) != constants:
            self._constants[name] = constants
            self._calls.pop(name)
            self._recordings.pop(name, None)
        calls = self._calls[name] = self._calls.get(name, 0) + 1
        recording = self._recordings.get(name)
        if recording is not None:
            for held, each in zip(recording.given, given, strict=True):
                if isinstance(held, Tensor):
                    held.copy_(each)
            recording.replay()
        elif calls != _WARM_UP + 1:
            self.recorder.run(lambda: work(batches))
        else:
            recording = self._record(name, work, given, structure)
            if recording is None:
                self.recorder.run(lambda: work(batches))
        if recording is None:
            return
        for batch, worked_on in zip(batches, recording.batches, strict=True):
            if isinstance(batch, dict):
                batch.update({key: value for key, value in worked_on.items() if key not in batch})

    def _record(self, name: tuple, work: Any, given: list[Any], structure: Any) -> _Recording | None:
        assert self.recorder is not None
        held = [each.clone() if isinstance(each, Tensor) else each for each in given]
        batches = pytree.tree_unflatten(held, structure)
        try:
            replay = self.recorder.record(lambda: work(batches))
        except RuntimeError as error:
            self.notes.append(f"{name[0]} is not replayed as a CUDA graph: {str(error).splitlines()[0]}")
            return None
        self._recordings[name] = _Recording(batches, held, replay)
        return self._recordings[name]


def _layout(value: Any) -> Any:
    return (value.shape, value.stride(), value.dtype, value.device) if isinstance(value, Tensor) else value


def graphs_on(device: torch.device, wanted: bool = True) -> Graphs:
    """Graphs that record where the device can: on CUDA."""
    return Graphs(CudaGraphs(device) if wanted and device.type == "cuda" else None)
