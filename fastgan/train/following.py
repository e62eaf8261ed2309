"""What the ranks beside the first do of a run: they train, and hand over their part of its figures and checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fastgan.config.options import TrainingOptions
from fastgan.data import Dataset
from fastgan.ops.allocation import release_free_memory
from fastgan.train.distributed import Ranks
from fastgan.train.loop import train
from fastgan.train.rollback import Rollback
from fastgan.train.state import TrainState
from fastgan.train.troubles import Verdict


def follow(
    state: TrainState,
    options: TrainingOptions,
    sets: Mapping[str, Dataset],
    ranks: Ranks,
    should_stop: Callable[[], bool],
) -> bool:
    """Train as rank 0 does in `Run.train`, which writes; True if the end was reached, or rank 0 found it."""
    rollback = Rollback(options.roll_back_after)
    total, tick, verdict = round(options.kimg * 1000), round(options.tick * 1000), Verdict()

    def on_tick(state: TrainState) -> None:
        nonlocal verdict
        ranks.means(state, sets)
        back = rollback.stuck(state)  # as rank 0 finds too, which says so
        snapshot = not back and (state.images >= total or (state.images // tick) % options.snap == 0)
        release_free_memory()
        if snapshot:
            verdict = ranks.from_first(verdict)  # it has looked at the figures
            back = verdict.back
        if back:
            if not ranks.from_first(None):  # there is no good checkpoint: the end, after saving how it stands
                ranks.capture(state)
            rollback.go_back(state, {}, ranks, options.seed)
        elif snapshot:
            ranks.capture(state)

    finished = train(state, total, tick, on_tick, ranks.agreed(should_stop))
    if not finished and verdict.end is None:
        ranks.capture(state)
    return finished or verdict.end is not None
