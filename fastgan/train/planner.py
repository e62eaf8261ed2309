"""How much memory a training step will take at its peak, before there is one, and which batch would fit."""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from fastgan.config.options import replace
from fastgan.data import Dataset
from fastgan.models.registry import configure, family, layout
from fastgan.train.available import free_bytes, held_bytes
from fastgan.train.config import RunConfig
from fastgan.train.game import Game
from fastgan.train.loop import step
from fastgan.train.shadows import Shadows
from fastgan.train.shares import Place
from fastgan.train.state import TrainState

_SIMULATED = 256  # images of a micro-batch; the peak of more follows in a straight line
_PARTS = 3  # micro-batches of an update; further ones only wait for their turn
# Device type -> what a process takes beside the tensors: a share of them that the allocator splits and keeps, and a
# constant. Of a CPU as bench/planner.py measured it; of a GPU not measured yet.
_BESIDE = {"cpu": (0.25, 25 << 20), "cuda": (0.25, 256 << 20)}
_OUT_OF_MEMORY = re.compile(
    r"not enough memory|can't allocate memory|cannot allocate memory|out of memory|bad_alloc", re.I
)


class Planner:
    """What training of a configuration takes, by batch and micro-batch, and what there is.

    One step of the training loop is run with tensors that have shapes alone (`Shadows`): all stages of all players,
    with the optimizers' state, the averages and the gradients that the step before left in place. What the process
    holds already (torch, the data), and what allocators and libraries take beside the tensors, is added.

    Args:
        config: what is to be trained.
        sets: its data.
        device: where.
        play: makes the game, as `train.game.game_of` does.
        held: bytes that the process holds before training; None: what it holds now.
        place: of the process among those of the training: they divide each batch, and without GPUs those of a machine
            share its memory.

    Attributes:
        limit: bytes that the process can have in all; None where that is not known.
    """

    def __init__(
        self,
        config: RunConfig,
        sets: Mapping[str, Dataset],
        device: torch.device,
        play: Callable[..., Game],
        held: int | None = None,
        place: Place | None = None,
    ) -> None:
        self.device, self.play, self._asked, self._place = device, play, config.training, place or Place()
        own = replace(config.training, "training", batch=config.training.batch // self._place.world)
        self.config = dataclasses.replace(config, training=own)  # of this process
        self._sharing = self._place.local_world if device.type == "cpu" else 1
        self.sets = {name: _Shapes(dataset, device) for name, dataset in sets.items()}
        self._layouts: dict[Any, Any] = {}  # of what operators make, the same in every simulation
        self._known: dict[tuple[int, int], int] = {}
        with contextlib.suppress(Exception):  # asked again, it tells
            self.tensors(config.training.micro_batch, config.training.accumulate)
        now, free = held_bytes(device), free_bytes(device)  # after torch has loaded what it takes to train
        self.held = now if held is None else held
        self.limit = None if free is None else now + free // self._sharing

    def needed(self, micro_batch: int | None = None, accumulate: int = 1) -> int:
        """Bytes of the process at its peak; of the configuration as it is, or of updates of other sizes."""
        if micro_batch is None:
            micro_batch, accumulate = self.config.training.micro_batch, self.config.training.accumulate
        share, constant = _BESIDE[self.device.type]
        return self.held + round(self.tensors(micro_batch, accumulate) * (1 + share)) + constant

    def sentence(self) -> str:
        """What it takes, and of what: one line."""
        of = "" if self.limit is None else f" of {shown_bytes(self.limit)}"
        return f"memory: about {shown_bytes(self.needed())}{of}{self._each()}"

    def refusal(self) -> str | None:
        """Why it does not fit, and what would; None where it fits, or nobody knows."""
        if self.limit is None or self.needed() <= self.limit:
            return None
        return (
            f"--batch {self._sizes()} takes about {shown_bytes(self.needed())} of memory, and there are "
            f"{shown_bytes(self.limit)}{self._each()}: {self.advice(self.limit)}"
        )

    def exhausted(self, error: BaseException) -> str | None:
        """What to say of an error of a step: None of one that is not about memory.

        The estimate may have said that it fits; then what fits is looked for below what did not, by a fifth of what the
        batch adds.
        """
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and not _OUT_OF_MEMORY.search(str(error)):
            return None
        try:
            least = self.needed() - max(1, (self.needed() - self.needed(1)) // 5)
            advice = self.advice(least if self.limit is None else min(least, self.limit))
        except Exception:  # of a game that reads numbers
            advice = "what would fit cannot be told of this game; halve --batch or --batch-gpu"
        return f"memory ran out with --batch {self._sizes()}: {advice}"

    def advice(self, limit: int) -> str:
        """The largest batches that fit into `limit` bytes, in words."""
        batch = self.config.training.batch
        whole = self.largest(limit)
        if not whole:
            return "not even one image at a time fits; lower --resolution or the networks' channels"
        parts = [part for part in range(1, min(whole, batch // 2) + 1) if batch % part == 0]
        fits = bisect.bisect_left(parts, True, key=lambda part: self.needed(part, batch // part) > limit)
        fitting = parts[fits - 1] if fits else 0
        at_once = f"--batch {whole * self._place.world} is the largest that fits at once"
        if fitting < min(2, whole):
            return at_once
        return f"--batch-gpu {fitting} trains the same batch in parts that fit, and {at_once}"

    def largest(self, limit: int) -> int:
        """The largest batch that fits into `limit` bytes at once, up to the configuration's and, above 32 images,
        to one in 32; 0 for none.
        """
        low, high = 1, self.config.training.batch
        if self.needed(low) > limit:
            return 0
        if self.needed(high) <= limit:
            return high
        while high - low > max(1, low // 32):
            rise = (self.needed(high) - self.needed(low)) / (high - low)
            guess = low + int((limit - self.needed(low)) / max(rise, 1))
            guess = min(max(guess, low + 1), high - 1)
            if self.needed(guess) <= limit:
                low = guess
                high = high if self.needed(low + 1) <= limit else low + 1
            else:
                high = guess
        return low

    def _each(self) -> str:
        return f" for each of {self._sharing} processes" if self._sharing > 1 else ""

    def _sizes(self) -> str:
        return f"{self._asked.batch}" + (f" --batch-gpu {self._asked.batch_gpu}" if self._asked.batch_gpu else "")

    def tensors(self, micro_batch: int, accumulate: int = 1) -> int:
        """Bytes of tensors at the peak of a step.

        Args:
            micro_batch: images of a micro-batch.
            accumulate: micro-batches of an update.

        Raises:
            RuntimeError: a step asks for values of tensors, which there are none of.
        """
        small = _SIMULATED // 2
        if micro_batch > _SIMULATED:
            return _line(micro_batch, small, _SIMULATED, lambda size: self.tensors(size, accumulate))
        if accumulate > _PARTS:
            return _line(accumulate, _PARTS - 1, _PARTS, lambda parts: self.tensors(micro_batch, parts))
        key = (micro_batch, accumulate)
        if key not in self._known:
            self._known[key] = self._simulated(*key)
        return self._known[key]

    def _simulated(self, micro_batch: int, accumulate: int) -> int:
        sizes = {"batch": micro_batch * accumulate, "batch_gpu": micro_batch}
        training = self.config.training
        if getattr(training, "buffer", 0):  # of images, which holds a micro-batch at least
            sizes["buffer"] = max(micro_batch, training.buffer)  # type: ignore[attr-defined]
        config = dataclasses.replace(self.config, training=replace(training, "training", **sizes))
        kept = torch.__future__.get_overwrite_module_params_on_conversion()
        torch.__future__.set_overwrite_module_params_on_conversion(True)  # writing into a shadow moves no bytes
        shadows = Shadows(self._layouts)
        try:
            with torch.random.fork_rng(devices=[]), shadows:
                state = TrainState(self.play(config, self.sets, self.device, _laid_out))
                for player in state.game.players:  # as a step leaves them
                    for p in player.parameters:
                        p.grad = torch.zeros_like(p)
                    player.optimizer.step()
                step(state)  # the first, in which all stages are due
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(kept)
        return shadows.peak


def shown_bytes(count: int) -> str:
    """A number of bytes in words.

    >>> shown_bytes(3 << 29), shown_bytes(25 << 30), shown_bytes(700 << 20)
    ('1.5 GiB', '25 GiB', '700 MiB')
    """
    for unit, size in (("TiB", 1 << 40), ("GiB", 1 << 30)):
        if count >= size:
            return f"{count / size:.{1 if count < 10 * size else 0}f} {unit}"
    return f"{count / 2**20:.0f} MiB"


def _laid_out(name: str, /, **architecture: Any) -> tuple[Any, ...]:
    """As `models.build`, on the meta device."""
    config = configure(name, **architecture)
    return (config, *(layout(network, config) for network in family(name).networks.values()))


def _line(at: int, low: int, high: int, values: Callable[[int], int]) -> int:
    """The value at `at` on the straight line through those at `low` and `high`."""
    first, second = values(low), values(high)
    return first + (second - first) * (at - low) // (high - low)


class _Shapes(Dataset):
    """Images of the size of another set's, without values."""

    broken, name = (), "images"

    def __init__(self, dataset: Dataset, device: torch.device) -> None:
        self._size, self._channels, self.device = dataset.resolution, dataset.channels, device
        self.labels, self.class_names = dataset.labels, dataset.class_names

    def __len__(self) -> int:
        return 4 * _SIMULATED

    @property
    def resolution(self) -> tuple[int, int]:
        return self._size

    @property
    def channels(self) -> int:
        return self._channels

    def read(self, indices: Tensor) -> Tensor:
        return torch.empty(len(indices), *self._size, self._channels, dtype=torch.uint8)

    def unlabelled(self) -> _Shapes:
        other = _Shapes(self, self.device)
        other.labels, other.class_names = None, ()
        return other

    def batch(
        self,
        indices: Tensor,
        mirror: Tensor | None,
        channels_last: bool,
        crop_xy: Tensor | None = None,
        size: tuple[int, int] | None = None,
    ) -> Tensor:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        shape = (len(indices), self._channels, *(size or self._size))
        return torch.empty(shape, device=self.device, memory_format=layout)

    def conditions(self, indices: Tensor) -> Tensor:
        return torch.empty(len(indices), self.label_dim, device=self.device)
