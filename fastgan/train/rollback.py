"""Going back to the last good checkpoint of a run that is stuck, updates skipped one after the other, or in trouble."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from fastgan.checkpoint import (
    CheckpointError,
    checkpoints,
    images_of,
    latest_checkpoint,
    load_checkpoint,
    read_metadata,
)
from fastgan.train.shares import part_of
from fastgan.train.state import TrainState

if TYPE_CHECKING:
    from fastgan.train.distributed import Ranks

ATTEMPTS = 3  # at a stretch of training, before it is given up


class DivergedError(ValueError):
    """Training cannot go on: it is stuck or in trouble, and going back does not help, is impossible or not wanted."""


class Back(NamedTuple):
    """Why training goes back, in words, and before which kimg."""

    reason: str
    before: float = math.inf


def is_good(state: TrainState, tree: Mapping[str, Any]) -> bool:
    """Whether training can be taken up again from here: its latest updates were made, and all its numbers are finite.

    Args:
        state: of the run.
        tree: what it has captured.
    """
    return not any(streak > 0 for streak in state.streak.values()) and _is_finite(tree)


def is_marked_good(checkpoint: Path) -> bool:
    """Whether a checkpoint can be read and was good when it was written; of an older fastgan's that is not known."""
    try:
        return bool(read_metadata(checkpoint).get("good", True))
    except (CheckpointError, OSError):
        return False


def last_good(outdir: Path, before: float = math.inf) -> tuple[Path, dict[str, Any]] | None:
    """The newest good checkpoint of a run, from before so many kimg, that is whole, and its tree; None where there is
    none.
    """
    earlier = [path for path in checkpoints(outdir) if (images_of(path) or 0) / 1000 < before]
    for path in filter(is_marked_good, reversed(earlier)):
        try:
            tree, _ = load_checkpoint(path)
        except (CheckpointError, OSError):
            continue
        if _is_finite(tree):
            return path, tree
    return None


def remove_old(outdir: Path, keep: int, best: Path | None = None) -> None:
    """Remove all but the newest `keep` checkpoints, 0 for all, the last to which training could go back, and `best`."""
    known = checkpoints(outdir)
    good = next(filter(is_marked_good, reversed(known)), None)
    for old in known[:-keep] if keep else []:
        if old not in (good, best):
            old.unlink()


def counts(state: TrainState) -> dict[str, float]:
    """Figures of updates that were skipped, by player, and of rollbacks; none of what has not happened."""
    skipped: dict[str, float] = {f"skipped/{name}": count.item() for name, count in state.skipped.items()}
    return {name: count for name, count in (skipped | {"rollbacks": state.rollbacks}).items() if count}


class Rollback:
    """When training has to go back, and how often it has done so in vain.

    Args:
        after: updates of a player in a row that are skipped; 0: never.

    Attributes:
        attempts: how often training has gone back since the last good checkpoint beyond all where it did so.
        beyond: images seen where it last did.
    """

    def __init__(self, after: int) -> None:
        self.after, self.attempts, self.beyond = after, 0, 0

    def state_dict(self) -> dict[str, int]:
        return {"attempts": self.attempts, "beyond": self.beyond}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from `state_dict`; empty of a run that did not keep it."""
        self.attempts, self.beyond = state.get("attempts", 0), state.get("beyond", 0)

    def stuck(self, state: TrainState) -> Back | None:
        """Where updates are skipped, what has happened; None where training can go on. Waits for the device."""
        counts = {name: round(streak.item()) for name, streak in state.streak.items()}
        stuck = [f"{count} updates of {name}" for name, count in counts.items() if self.after and count >= self.after]
        if not stuck:
            return None
        what = f"{' and '.join(stuck)} in a row were skipped at {state.kimg:g} kimg"
        return Back(f"{what}: their gradients were not finite")

    def passed(self, images: int) -> None:
        """A good checkpoint has been written after so many images: attempts count anew beyond where the last began."""
        if images > self.beyond:
            self.attempts = 0

    def begin(self, found: tuple[Path, dict[str, Any]] | None, outdir: Path, back: Back) -> tuple[Path, dict[str, Any]]:
        """Count one more attempt.

        Args:
            found: of `last_good`.
            outdir: the run's folder, in which the state of now is saved where none was found.
            back: why.

        Returns:
            found.

        Raises:
            DivergedError: there is none, or going back there has not helped `ATTEMPTS` times; the message says what to
                do.
        """
        if found is None:
            now = latest_checkpoint(outdir)
            raise DivergedError(
                f"{back.reason}. There is no good checkpoint to go back to; {now} stands. {_advice(now)}"
            )
        if self.attempts == ATTEMPTS:
            raise DivergedError(
                f"{back.reason}, as {ATTEMPTS} times before from {found[0]}, which stands. {_advice(found[0])}"
            )
        self.attempts += 1
        return found

    def go_back(self, state: TrainState, tree: dict[str, Any], ranks: Ranks | None, seed: int) -> None:
        """Take up a checkpoint, on all ranks, with other random numbers than those that followed it before: a function
        of it and the attempt.

        Args:
            state: of the run.
            tree: the checkpoint's, with its averages; empty on ranks that have it from the first.
            ranks: the processes that train together; None for this one alone.
            seed: of the run.
        """
        rollbacks, self.beyond = state.rollbacks + 1, max(self.beyond, state.images)
        if ranks is not None:
            tree, self.attempts = ranks.from_first((tree, self.attempts))
            tree, _ = part_of(tree, ranks.place, seed, ranks.device)
        state.restore(tree)
        state.rollbacks = rollbacks
        torch.manual_seed(int(torch.randint(2**62, [])) + self.attempts)


def _advice(checkpoint: Path | None) -> str:
    place = shlex.quote(str(checkpoint))
    return f"Try lower learning rates, or --precision fp32: fastgan train --branch {place} --outdir NEW ..."


def _is_finite(tree: Any) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in _tensors(tree) if tensor.is_floating_point())


def _tensors(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, Mapping):
        for part in tree.values():
            yield from _tensors(part)
