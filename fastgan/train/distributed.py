"""Training on several devices and machines: a process each, a rank, whose networks are the same after every step.

The micro-batches of a step are divided among the ranks. Gradients are averaged (`reduction`), and so are, once a step
and in one tensor, floating-point buffers (w_avg, the magnitudes of StyleGAN3, statistics of batch normalisation) and
the tensors of extras that are `Averaged`: the mean over ranks of an exponential moving average is the average of the
whole batch. Buffers of more than 65,536 elements are averaged before a checkpoint, where they differ. Whatever else
a rank has, it has alone: random numbers, its part of the data, buffers of earlier images. Minibatch statistics see one
micro-batch of one rank. Rank 0 alone writes, measures and speaks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore

from fastgan.data import Dataset
from fastgan.train.game import Game
from fastgan.train.players import Player
from fastgan.train.reduction import Reduction
from fastgan.train.shares import Averaged, Place, own_part, summed
from fastgan.train.state import TrainState
from fastgan.train.watch import TO_COME, Watch

_T = TypeVar("_T")
_SMALL = 1 << 16  # elements of a buffer that is averaged after every step
_EVER = timedelta(days=365)  # who waits too long is found by the watch


class Ranks:
    """The processes of a training, from one of them; there are at least two.

    Args:
        place: of this process.
        device: where it trains.

    Attributes:
        watch: of the others.
        broken: messages on images of streamed sets that any rank could not read.

    Raises:
        TimeoutError: not all have come within ten minutes.
    """

    def __init__(self, place: Place, device: torch.device) -> None:
        self.place, self.rank, self.world, self.device = place, place.rank, place.world, device
        store = next(dist.rendezvous("env://", timeout=TO_COME))[0]  # type: ignore[operator]
        watched = store.clone()  # type: ignore[attr-defined]
        self.watch = Watch(PrefixStore(meeting(), watched), self.rank, self.world)
        if device.type != "cpu":
            torch.cuda.set_device(device)
        backend = "gloo" if device.type == "cpu" else f"cpu:gloo,{device.type}:nccl"
        store = PrefixStore(f"{meeting()}/group", store)
        dist.init_process_group(backend, store=store, rank=self.rank, world_size=self.world, timeout=_EVER)
        self.broken: list[str] = []
        self._reductions: dict[str, Reduction] = {}

    def __enter__(self) -> Ranks:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None:
            with self.watch.waiting():
                dist.barrier()
            self.watch.leave()
            dist.destroy_process_group()
        elif not self.watch.fail(str(error) or type(error).__name__):
            raise SystemExit(2) from None  # the rank that had failed before tells why

    # What one rank knows, for all.

    def from_first(self, value: _T) -> _T:
        """The value that rank 0 has."""
        box = [value]
        with self.watch.waiting():
            dist.broadcast_object_list(box, device=torch.device("cpu"))
        return box[0]

    def gathered(self, value: _T) -> list[_T]:
        """The values of all ranks, by rank."""
        values: list[Any] = [None] * self.world
        with self.watch.waiting():
            dist.all_gather_object(values, value)
        return values

    def highest(self, values: list[int]) -> list[int]:
        """The highest of each of the values of all ranks."""
        numbers = torch.tensor(values, dtype=torch.int64)
        with self.watch.waiting():
            dist.all_reduce(numbers, dist.ReduceOp.MAX)
        return numbers.tolist()

    def agreed(self, should_stop: Callable[[], bool]) -> Callable[[], bool]:
        """should_stop() of any rank, the same answer on all."""
        return lambda: bool(self.highest([int(should_stop())])[0])

    # Updates and steps.

    def overlap(self, player: Player, terms: Sequence[Any]) -> None:
        """Begin to average the gradients of a player's parameters while the next backward pass makes them."""
        if player.name not in self._reductions:
            self._reductions[player.name] = Reduction(player.parameters, self.world, self.highest, self.watch.waiting)
        self._reductions[player.name].overlap(tuple(term.name for term in terms))

    def reduce(self, player: Player) -> None:
        """The gradients of a player's parameters <- their means over ranks."""
        self._reductions[player.name].finish()

    def begin_step(self) -> None:
        """A step begins."""
        self.watch.step(begins=True)

    def end_step(self, game: Game) -> None:
        """What follows the batch <- its mean over ranks."""
        _, buffers = _named_tensors(game)
        self._average([*(buffer for buffer in buffers.values() if buffer.numel() <= _SMALL), *_averaged(game)])
        self.watch.step(begins=False)

    @torch.no_grad()
    def _average(self, tensors: Sequence[Tensor]) -> None:
        if not tensors:
            return
        # In float64 the mean of equal numbers is that number: what is constant stays so.
        flat = torch.cat([tensor.flatten().double() for tensor in tensors])
        with self.watch.waiting():
            dist.all_reduce(flat)
        for tensor, mean in zip(tensors, (flat / self.world).split([each.numel() for each in tensors]), strict=True):
            tensor.copy_(mean.view(tensor.shape))

    def compare(self, game: Game) -> None:
        """Check that parameters are the same on all ranks; large buffers that are not <- their mean.

        Raises:
            RuntimeError: parameters differ; names the first and a rank.
        """
        parameters, buffers = _named_tensors(game)
        large = {name: buffer for name, buffer in buffers.items() if buffer.numel() > _SMALL}
        digests = self.gathered(_digests([*parameters.values(), *large.values()]))
        differing = []
        for name, each in zip([*parameters, *large], zip(*digests, strict=True), strict=True):
            others = [rank for rank, digest in enumerate(each) if digest != each[0]]
            if others and name in parameters:
                raise RuntimeError(f"{name} of rank {others[0]} is not that of rank 0 any more: the ranks have drifted")
            if others:
                differing.append(large[name])
        self._average(differing)

    @torch.no_grad()
    def equalise(self, game: Game) -> None:
        """Before the first step of a game: parameters, buffers, averages and optimizers <- those of rank 0."""
        parameters, buffers = _named_tensors(game)
        averages = [
            each for ema in game.averages.values() for each in (*ema.module.parameters(), *ema.module.buffers())
        ]
        moments = [
            each
            for player in game.players
            for state in player.optimizer.state.values()
            for each in state.values()
            if isinstance(each, Tensor)
        ]
        for tensor in (*parameters.values(), *buffers.values(), *_averaged(game), *averages, *moments):
            with self.watch.waiting():
                sent = tensor.detach().to(self.device).contiguous()
                dist.broadcast(sent, 0)
            tensor.copy_(sent)
        self.compare(game)
        self._reductions = {}

    # Ticks and checkpoints.

    def means(self, state: TrainState, sets: Mapping[str, Dataset]) -> dict[str, float]:
        """Means of what has been reported on all ranks since the last tick; they also tell each other what they have
        read of the sets.
        """
        self._learn(sets)
        return state.statistics.means(lambda sums: summed(self.gathered(sums)))

    def _learn(self, sets: Mapping[str, Dataset]) -> None:
        """Checksums of streamed sets <- as far as any rank has read them."""
        streamed = [each for each in sets.values() if each.lookahead and each.checksums is not None]
        if not streamed:
            return
        found = self.gathered([(each.checksums, each.broken) for each in streamed])
        for number, dataset in enumerate(streamed):
            for each in found:
                dataset.checksums = torch.maximum(dataset.checksums, each[number][0])  # type: ignore[type-var]
        self.broken = [message for each in found for _, broken in each for message in broken]

    def capture(self, state: TrainState) -> dict[str, Any]:
        """`TrainState.capture` of rank 0, and under "ranks" what the others have alone. Parameters must be the same.

        Raises:
            RuntimeError: they are not.
        """
        self.compare(state.game)
        captured, game = state.capture(), state.game
        parts: list[Any] = [None] * self.world
        with self.watch.waiting():
            dist.gather_object(own_part(captured, game), None if self.rank else parts)
        return captured | {"ranks": parts[1:]}


def _averaged(game: Game) -> list[Tensor]:
    extras = [extra for player in game.players for extra in player.extras.values()]
    return [tensor for extra in extras if isinstance(extra, Averaged) for tensor in extra.averaged()]


def _named_tensors(game: Game) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
    """Parameters and floating-point buffers of all networks that are trained, by name."""
    modules = {f"{player.name}/{name}": module for player in game.players for name, module in player.modules.items()}
    parameters = {f"{name}.{each}": p for name, m in modules.items() for each, p in m.named_parameters()}
    buffers = {f"{name}.{each}": b for name, m in modules.items() for each, b in m.named_buffers()}
    return parameters, {name: buffer for name, buffer in buffers.items() if buffer.is_floating_point()}


def _digests(tensors: Iterable[Tensor]) -> list[int]:
    """A number for each tensor that tells whether two are the same, to the bit."""
    kinds = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    bits = [t.detach().contiguous().view(-1).view(kinds[t.element_size()]) for t in tensors]
    sums = [each.sum(dtype=torch.int64) for each in bits]
    return torch.stack(sums).tolist() if sums else []


def meeting() -> str:
    """Where in the store the ranks of this start of a training meet."""
    return f"fastgan/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
