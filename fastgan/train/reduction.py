"""Mean gradients over ranks: in buckets that are summed while the backward pass still goes on."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager

import torch
import torch.distributed as dist
from torch import Tensor

# Bytes of gradients that are summed at once.
_BUCKET = 25 << 20
_NONE, _GIVEN, _LATE = 0, 1, 2  # of a parameter in an update: no gradient, one, one after its bucket was sent


class _Bucket:
    """Parameters of one dtype whose gradients lie in one tensor, each in the memory format of its parameter."""

    def __init__(self, order: int, numbers: Sequence[int], parameters: Sequence[Tensor]) -> None:
        self.order, self.numbers = order, tuple(numbers)
        mine = [parameters[i] for i in numbers]
        self.flat = torch.zeros(sum(p.numel() for p in mine), dtype=mine[0].dtype, device=mine[0].device)
        self.places: list[Tensor] = []
        start = 0
        for p in mine:
            self.places.append(self.flat.as_strided(p.shape, torch.empty_like(p).stride(), start))
            start += p.numel()
        self.missing: set[int] = set()  # parameters whose gradients are waited for
        self.work: dist.Work | None = None

    @torch.no_grad()
    def send(self, parameters: Sequence[Tensor], world: int) -> None:
        """Begin to sum over ranks what is there; a parameter without gradient counts as 0."""
        gradients = [parameters[i].grad for i in self.numbers]
        given = [(place, g) for place, g in zip(self.places, gradients, strict=True) if g is not None]
        if len(given) < len(gradients):
            self.flat.zero_()
        if given:
            torch._foreach_copy_([place for place, _ in given], [g for _, g in given])  # type: ignore[attr-defined]
        self.flat.div_(world)
        self.work = dist.all_reduce(self.flat, async_op=True)

    def wait(self) -> None:
        assert self.work is not None
        self.work.wait()
        self.work = None


class Reduction:
    """Gradients of a player's parameters <- their means over ranks.

    Buckets hold the parameters in reverse order, the same on every rank, and go out in that order: ranks whose
    gradients come in another order, or that have some which others lack, never mistake one for another. A bucket goes
    out as soon as each parameter has its gradient that had one in the last update of the same terms. A parameter that
    has a gradient on some ranks alone counts as 0 on the others; one that has none on any rank has none afterwards.
    The buckets take as much memory as the parameters.

    Args:
        parameters: of the player, the same on every rank.
        world: number of ranks.
        highest: integers -> the highest of all ranks, place by place.
        waiting: entered while this rank waits for others.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        world: int,
        highest: Callable[[list[int]], list[int]],
        waiting: Callable[[], AbstractContextManager],
    ) -> None:
        self.parameters, self.world, self._highest, self._waiting = list(parameters), world, highest, waiting
        self._buckets = _buckets(self.parameters)
        self._of = {number: bucket for bucket in self._buckets for number in bucket.numbers}
        self._hooked: set[int] = set()
        self._expected: dict[Hashable, set[int]] = {}
        self._terms: Hashable = None
        self._marks = [_NONE] * len(self.parameters)
        self._overlapping, self._sent = False, 0

    def overlap(self, terms: Hashable) -> None:
        """Send gradients as they come in the next backward pass, the last of an update that minimises `terms`."""
        for number, parameter in enumerate(self.parameters):
            if parameter.requires_grad and number not in self._hooked:
                parameter.register_post_accumulate_grad_hook(lambda _, number=number: self._arrived(number))
                self._hooked.add(number)
        expected = self._expected.get(terms, set(range(len(self.parameters))))
        for bucket in self._buckets:
            bucket.missing = expected & set(bucket.numbers)
        self._marks = [_NONE] * len(self.parameters)
        self._terms, self._overlapping, self._sent = terms, True, 0

    def finish(self) -> None:
        """Gradients <- their means, after the backward pass."""
        self._overlapping = False
        self._send(incomplete=True)
        for number, parameter in enumerate(self.parameters):
            if parameter.grad is not None:  # of an earlier micro-batch, perhaps
                self._marks[number] = max(_GIVEN, self._marks[number])
        marks = self._highest(self._marks)
        with self._waiting():
            for bucket in self._buckets:
                bucket.wait()
            for bucket in self._buckets:
                if any(marks[number] == _LATE for number in bucket.numbers):
                    bucket.send(self.parameters, self.world)
                    bucket.wait()
        self._expected[self._terms] = {number for number, mark in enumerate(marks) if mark}
        for bucket in self._buckets:
            for number, place in zip(bucket.numbers, bucket.places, strict=True):
                self.parameters[number].grad = place if marks[number] else None

    def _arrived(self, number: int) -> None:
        """A parameter has its gradient, or the backward pass has found that there is none."""
        if not self._overlapping:
            return
        bucket = self._of[number]
        if self.parameters[number].grad is not None:
            self._marks[number] = _GIVEN if bucket.order >= self._sent else _LATE
        bucket.missing.discard(number)
        self._send()

    def _send(self, incomplete: bool = False) -> None:
        """Send the buckets that are complete, as far as all before them are; or all that are left."""
        while self._sent < len(self._buckets) and (incomplete or not self._buckets[self._sent].missing):
            self._buckets[self._sent].send(self.parameters, self.world)
            self._sent += 1


def _buckets(parameters: Sequence[Tensor]) -> list[_Bucket]:
    """The buckets of all parameters, from the last to the first: gradients come in about that order."""
    groups: list[list[int]] = []
    size, kind = 0, None
    for number in reversed(range(len(parameters))):
        p = parameters[number]
        if not groups or size + p.nbytes > _BUCKET or (p.dtype, p.device) != kind:
            groups.append([])
            size, kind = 0, (p.dtype, p.device)
        groups[-1].append(number)
        size += p.nbytes
    return [_Bucket(order, group, parameters) for order, group in enumerate(groups)]
