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


def follow(
    state: TrainState,
    options: TrainingOptions,
    sets: Mapping[str, Dataset],
    ranks: Ranks,
    should_stop: Callable[[], bool],
) -> bool:
    """Train as rank 0 does in `Run.train`, which writes; True if the end was reached."""
    rollback = Rollback(options.roll_back_after)
    total, tick = round(options.kimg * 1000), round(options.tick * 1000)

    def on_tick(state: TrainState) -> None:
        ranks.means(state, sets)
        stuck = rollback.stuck(state)  # as rank 0 finds too, which says so
        release_free_memory()
        if stuck:
            if not ranks.from_first(None):  # there is no good checkpoint: the end, after saving how it stands
                ranks.capture(state)
            rollback.go_back(state, {}, ranks, options.seed)
        elif state.images >= total or (state.images // tick) % options.snap == 0:
            ranks.capture(state)

    finished = train(state, total, tick, on_tick, ranks.agreed(should_stop))
    if not finished:
        ranks.capture(state)
    return finished
