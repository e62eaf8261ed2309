"""A training run on disk: its configuration, and the folder of checkpoints, grids and statistics it fills."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from fastgan.checkpoint import (
    CheckpointError,
    latest_checkpoint,
    numbered,
    replacing,
    save_checkpoint,
)
from fastgan.data import BrokenImageError, Dataset, ImageDataset
from fastgan.data.loading import evenly_spaced
from fastgan.ops import tf32
from fastgan.ops.allocation import release_free_memory
from fastgan.report import EventsWriter, Journal, StatsWriter, TrainingDisplay, diagnosis, read_stats, save_grid
from fastgan.train.available import held_bytes
from fastgan.train.clock import Clock
from fastgan.train.config import LINEAGE, RunConfig
from fastgan.train.distributed import Ranks
from fastgan.train.fingerprint import fingerprints, packed
from fastgan.train.folder import branch_command, one_writer, put_newer_aside, resume_command, unwritable
from fastgan.train.following import follow
from fastgan.train.game import Game, Pictures, game_of
from fastgan.train.graphs import graphs_on
from fastgan.train.hazards import warnings_of
from fastgan.train.loop import train
from fastgan.train.planner import Planner
from fastgan.train.resuming import Origin
from fastgan.train.rollback import Back, DivergedError, Rollback, counts, is_good, last_good, remove_old
from fastgan.train.scores import Scores
from fastgan.train.shares import Place, part_of
from fastgan.train.state import TrainState
from fastgan.train.transfer import Departure
from fastgan.train.troubles import Troubles, Verdict

# Label vectors of the set that a checkpoint keeps, for generated images to draw from.
_LABELS_KEPT = 4096


class Run:
    """One run: builds the game, trains it, and keeps its folder.

    The folder holds config.json, stats.jsonl, reals.png, and at every snapshot the game's preview, grid-KIMG.png,
    checkpoint-KIMG.safetensors, and the report of it all (report.html, with run.json); KIMG has six digits, and three
    decimals where it is no whole number. What a resumed run would write anew is replaced as it goes; checkpoints newer
    than the one it began from are renamed to NAME.aside.

    Args:
        config: what to train.
        sets: config.data, loaded.
        outdir: the folder; made if absent.
        device: where to train.
        origin: the run whose state to begin with, of the same configuration and data but for what `branch` says.
        branch: what this run takes from the origin, whose continuation it is not; None: it goes on.
        tensorboard: also write figures and grids as events, to the folder's tensorboard/.
        ranks: the processes that train together, of which rank 0 alone writes; None for this one alone.
    """

    def __init__(
        self,
        config: RunConfig,
        sets: Mapping[str, Dataset],
        outdir: Path,
        device: torch.device,
        origin: Origin | None = None,
        branch: Departure | None = None,
        tensorboard: bool = False,
        ranks: Ranks | None = None,
    ):
        if device.type == "cuda":
            sets = {name: each.to(device) if isinstance(each, ImageDataset) else each for name, each in sets.items()}
        self.config, self.sets, self.outdir, self.device = config, sets, outdir, device
        self._held = held_bytes(device)
        self.ranks, place = ranks, ranks.place if ranks else Place()
        graphs = graphs_on(device, config.training.graphs and ranks is None)  # ranks talk within an update
        self.state = TrainState(game_of(config, sets, device, place=place), graphs=graphs, ranks=ranks)
        self.game: Game = self.state.game
        self.rollback = Rollback(config.training.roll_back_after)
        self.troubles = Troubles(config.training)
        self.goes_on = origin is not None and branch is None
        self.lineage = {branch.record: branch.to_json()} if branch else {}
        self.journal = Journal(outdir, device, resumed=self.goes_on)
        self.scores = Scores(config, self.game, device, outdir, self.journal, measures=not place.rank)
        self.journal.warnings += warnings_of(config, sets.values())
        self.journal.notes += dict.fromkeys(note for dataset in sets.values() for note in dataset.notes)
        if origin is not None:
            self._restore(origin, branch, place)
        if ranks is not None:
            ranks.equalise(self.game)
        seen = self.state.images if self.goes_on else None
        self._events = EventsWriter(outdir / "tensorboard", seen) if tensorboard and not place.rank else None

    def _restore(self, origin: Origin, branch: Departure | None, place: Place) -> None:
        tree = origin.take()
        try:
            tree["state"], count = part_of(tree["state"], place, self.config.training.seed, self.device)
            if count != place.world and (branch is None or branch.whole):
                self.journal.notes.append(
                    f"{origin.checkpoint} was written by {count} ranks, and {place.world} go on: the run will not be "
                    "bit for bit what it would have been (other random numbers and micro-batches)"
                )
            if branch is None:
                self.lineage = {name: origin.metadata[name] for name in LINEAGE if name in origin.metadata}
                self.rollback.load_state_dict(tree.get("rollback", {}))
            else:
                branch.adapt(tree, self.state.capture())
            self.state.restore(self._state_in(tree))
            self.scores.known = tree["scores"]
        except (ValueError, TypeError, LookupError, RuntimeError) as error:
            # torch lists every tensor that does not fit, a line each; the first tells enough.
            reason = " ".join(line.strip() for line in str(error).splitlines()[:2])
            raise CheckpointError(f"checkpoint {origin.checkpoint} does not fit this fastgan: {reason}") from error

    def _state_in(self, tree: dict[str, Any]) -> dict[str, Any]:
        return tree["state"] | {"emas": {name: tree[f"{name}_ema"] for name in self.game.averages}}

    def train(self, should_stop: Callable[[], bool], display: TrainingDisplay) -> bool:
        """Train to the end or until should_stop; the last step is always checkpointed.

        Returns:
            True if the end was reached, or the metric has not become better for long enough.

        Raises:
            ValueError: another process writes to the folder, or its stats.jsonl is damaged.
            BrokenImageError: an image of a streamed set cannot be read, and such are not passed over.
            DivergedError: updates are skipped one after the other, or the run is in trouble, and going back to a
                checkpoint does not help or is not wanted.
            OSError: something could not be written; the message names it, the newest checkpoint and how to go on.
            MemoryError: memory ran out; the message names the largest batch that would fit, and how to go on with it.
        """
        go_on = resume_command(self.outdir, self.config.model)
        try:
            with tf32.permission(self.config.training.precision == "tf32"):
                if self.ranks is not None and self.ranks.rank:
                    return follow(self.state, self.config.training, self.sets, self.ranks, should_stop)
                self.outdir.mkdir(parents=True, exist_ok=True)
                with one_writer(self.outdir):
                    return self._train(should_stop, display)
        except BrokenImageError as error:  # of a streamed set
            stands = latest_checkpoint(self.outdir)
            again = f"{go_on} --skip-broken" if stands else "start again with --skip-broken"
            raise BrokenImageError(
                f"{error}. The run stopped at {self.state.kimg:g} kimg; to pass over such images: {again}"
            ) from error
        except DivergedError:
            self._save_report("stopped", display)
            raise
        except OSError as error:
            raise OSError(unwritable(self.outdir, error, self.state.kimg, go_on)) from error
        except (MemoryError, RuntimeError) as error:
            place = self.ranks.place if self.ranks else None
            reason = Planner(self.config, self.sets, self.device, game_of, self._held, place).exhausted(error)
            if reason is None:
                raise
            newest = latest_checkpoint(self.outdir)
            stands = f"{self.outdir} holds no checkpoint: start again with one of these"
            if newest is not None:
                go_on = branch_command(newest, self.config.model)
                stands = f"{newest} stands; to go on from it, {go_on} with one of these"
            raise MemoryError(f"{reason}. The run stopped at {self.state.kimg:g} kimg; {stands}") from error

    def _train(self, should_stop: Callable[[], bool], display: TrainingDisplay) -> bool:
        options, state, ranks = self.config.training, self.state, self.ranks
        put_newer_aside(self.outdir, state.images)
        self._remove_old()  # what a run that was killed after its last checkpoint left
        writer = StatsWriter(self.outdir / "stats.jsonl", resume_kimg=state.kimg if self.goes_on else None)
        with replacing(self.outdir / "config.json") as partial:
            partial.write_text(json.dumps(self.config.to_json() | self._records(), indent=2) + "\n", encoding="utf-8")
        if not self.goes_on or not (self.outdir / "reals.png").exists():
            if self.game.reals is not None:
                self._write_pictures(self.game.reals(), "reals.png")
            self._save_grid(self.game.preview() if self.game.preview else None, display)
        self._save_report("running", display)
        clock, verdict = Clock(state.images), Verdict()
        total, tick = round(options.kimg * 1000), round(options.tick * 1000)

        def on_tick(state: TrainState) -> None:
            nonlocal writer, clock, verdict
            figures: dict[str, Any] = {"step": state.step} | clock.tick(state.images)
            figures |= (state.statistics.means() if ranks is None else ranks.means(state, self.sets)) | counts(state)
            figures["passes"] = state.images / len(next(iter(self.sets.values())))
            back = self.rollback.stuck(state)
            snapshot = not back and (state.images >= total or (state.images // tick) % options.snap == 0)
            pictures = self.game.preview() if snapshot and self.game.preview else None
            if snapshot:
                figures |= self.scores.measure(state.kimg, pictures)
            writer.write({"kimg": state.kimg} | figures)  # before the checkpoint: resume keeps lines up to its kimg
            if self._events:
                self._events.write(state.images, figures)
            shown = {name: value for name, value in figures.items() if value or not name.startswith("zeros/")}
            display.update(kimg=state.kimg, stats=shown)
            self._note_warnings(display)
            release_free_memory()
            if snapshot:
                verdict = self._look(display)
                back = verdict.back
            if back:
                writer = self._roll_back(back, display)
                clock = Clock(state.images)
            elif snapshot:
                self._save_grid(pictures, display)
                self._save_checkpoint(display)
                self._save_report("running", display)
                if verdict.stop:
                    stands = latest_checkpoint(self.outdir)
                    go_on = f"{resume_command(self.outdir, self.config.model)} --on-trouble warn"
                    raise DivergedError(f"{verdict.stop}. {stands} stands. To go on all the same: {go_on}")
                clock.restart()

        def stops() -> bool:
            return should_stop() or verdict.end is not None

        finished = train(state, total, tick, on_tick, stops if ranks is None else ranks.agreed(stops))
        if not finished and verdict.end is None:
            self._save_checkpoint(display)
        finished = finished or verdict.end is not None
        self._note_warnings(display)
        self._save_report("finished" if finished else "stopped", display)
        if self._events:
            self._events.close()
        return finished

    def _look(self, display: TrainingDisplay) -> Verdict:
        """Tell of troubles that have begun or are over; what the run is to do, on all ranks."""
        records = read_stats(self.outdir / "stats.jsonl")
        verdict = self.troubles.look(
            records, self.state.images, self.scores.exhausted(), self.journal.notes, display.note
        )
        return verdict if self.ranks is None else self.ranks.from_first(verdict)

    def _roll_back(self, back: Back, display: TrainingDisplay) -> StatsWriter:
        """Go on from the last good checkpoint with other random numbers; the statistics file from there."""
        state, found, reason = self.state, last_good(self.outdir, back.before), back.reason
        if self.ranks is not None:
            self.ranks.from_first(found is not None)
        if found is None:
            self._save_checkpoint(display)
        path, tree = self.rollback.begin(found, self.outdir, back)
        self.rollback.go_back(state, self._state_in(tree), self.ranks, self.config.training.seed)
        self.scores.known = tree["scores"]
        put_newer_aside(self.outdir, state.images)
        self.journal.warnings.append(f"{reason}; went back to {path}, {state.kimg:g} kimg, with other random numbers")
        display.note(f"warning: {self.journal.warnings[-1]}")
        writer = StatsWriter(self.outdir / "stats.jsonl", resume_kimg=state.kimg)
        writer.write({"kimg": state.kimg, "step": state.step} | counts(state))
        if self._events:
            self._events.close()
            self._events = EventsWriter(self.outdir / "tensorboard", state.images)
        display.update(kimg=state.kimg, stats=counts(state))
        self._save_report("running", display)
        return writer

    def summary(self) -> list[str]:
        """How each metric came out, and what is wrong with the run at its end, a line each."""
        found = diagnosis(read_stats(self.outdir / "stats.jsonl"))
        return self.scores.summary() + [finding.sentence for finding in found]

    def _remove_old(self) -> None:
        best = self.scores.best()
        remove_old(self.outdir, self.config.training.keep, best and best[2])

    def _note_warnings(self, display: TrainingDisplay) -> None:
        """What was found since the last tick: broken images of a streamed set, an output that is read no more, updates
        that are no CUDA graphs.
        """
        broken = [message for dataset in self.sets.values() for message in dataset.broken]
        broken += [] if self.ranks is None else self.ranks.broken
        found = [*self.state.graphs.notes, *(f"left out: {message}" for message in dict.fromkeys(broken))]
        if display.lost:
            found.append(f"standard output could not be written any more: {display.lost}")
        for warning in found:
            if warning not in self.journal.warnings:
                self.journal.warnings.append(warning)
                display.note(f"warning: {warning}")

    def _write_pictures(self, pictures: Pictures, name: str) -> Path:
        self.journal.captions = pictures.captions
        save_grid(pictures.images, self.outdir / name, pictures.columns)
        return self.outdir / name

    def _save_grid(self, pictures: Pictures | None, display: TrainingDisplay) -> None:
        if pictures is None:
            return
        path = self._write_pictures(pictures, f"grid-{numbered(self.state.images)}.png")
        display.note(f"wrote {path}")
        if self._events:
            self._events.write_image(self.state.images, "grid", path)

    def _save_report(self, state: str, display: TrainingDisplay) -> None:
        if problem := self.journal.write(state):
            display.note(f"warning: the report could not be written: {problem}")

    def _save_checkpoint(self, display: TrainingDisplay) -> None:
        path = self.outdir / f"checkpoint-{numbered(self.state.images)}.safetensors"
        state = self.state.capture() if self.ranks is None else self.ranks.capture(self.state)
        good = is_good(self.state, state) and not self.troubles.doubtful
        if good:
            self.rollback.passed(self.state.images)
        known = fingerprints(self.sets, self.config.data.cond)
        tree = {
            "config": self.config.to_json(),
            "model": {"name": self.config.model, "config": self.config.architecture},
            **{f"{name}_ema": weights for name, weights in state.pop("emas").items()},
            "state": state,
            "scores": self.scores.known,
            "rollback": self.rollback.state_dict(),
        }
        if known:
            tree["data"] = packed({name: vars(fingerprint) for name, fingerprint in known.items()})
        first = next(iter(self.sets.values()))
        classes = list(first.class_names) if self.config.data.cond else []
        dataset = {"name": first.name, "classes": classes}
        if self.config.data.cond and not classes:
            tree["labels"] = first.conditions(torch.tensor(evenly_spaced(len(first), _LABELS_KEPT)))
        if classes and first.empty_classes:
            dataset["empty"] = list(first.empty_classes)
        metadata = {"kimg": self.state.kimg, "model": self.config.model, "dataset": dataset, "good": good}
        save_checkpoint(path, tree, metadata=metadata | self._records())
        display.note(f"wrote {path}")
        self._remove_old()

    def _records(self) -> dict[str, Any]:
        """What is recorded beside the configuration."""
        known = fingerprints(self.sets, self.config.data.cond)
        told = packed({name: fingerprint.to_json() for name, fingerprint in known.items()})
        return ({"fingerprint": told} if told else {}) | self.lineage
