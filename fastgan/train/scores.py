"""What a run's snapshots are measured by, and which of them is the best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from fastgan.checkpoint import numbered
from fastgan.config.fields import check_choice, is_finite
from fastgan.metrics import Evaluation
from fastgan.report import Journal
from fastgan.train.config import RunConfig
from fastgan.train.fingerprint import known_as
from fastgan.train.game import Game, Pictures


def best_of(
    known: Sequence[Mapping[str, float]], figure: str, evaluation: Evaluation, outdir: Path
) -> tuple[float, float, Path] | None:
    """The best value of a figure among a run's scores, at which kimg, and the checkpoint of it; None without any.

    Args:
        known: `Scores.known`.
        figure: that summaries of the evaluation show.
        evaluation: of the run's metrics.
        outdir: the run's folder.
    """
    found: tuple[float, float] | None = None
    for score in known:
        value = score.get(figure, math.nan)
        if is_finite(value) and (found is None or evaluation.better(figure, value, found[0])):
            found = value, score["kimg"]
    return found and (*found, outdir / f"checkpoint-{numbered(round(found[1] * 1000))}.safetensors")


class Scores:
    """The metrics of a run, and what they gave at its snapshots.

    Args:
        config: of the run.
        game: its game.
        device: where features are extracted.
        outdir: the run's folder.
        journal: keeps the floors.
        measures: whether this process is the one that does.

    Attributes:
        known: {"kimg": ..., figure: value, ...} of each snapshot, in order; checkpoints keep it.

    Raises:
        ValueError: a metric or `best` that this game does not have.
        FileNotFoundError: weights of a metric's extractor are not there.
    """

    def __init__(
        self, config: RunConfig, game: Game, device: torch.device, outdir: Path, journal: Journal, *, measures: bool
    ) -> None:
        self.options, self.game, self.outdir, self.journal = config.training, game, outdir, journal
        self.known: list[dict[str, float]] = []
        self._evaluation: Evaluation | None = None
        average = game.averages.get("G")
        self._generator: Any = None if average is None else average.module
        if measures and self.options.metrics and game.compared is not None:
            name = known_as(game.compared, config.data.how())
            self._evaluation = Evaluation(self.options.metrics, game.compared, device=device, fingerprint=name)
            self._evaluation.check_generator(self._generator)
            if self.options.best is not None:
                check_choice("best", self.options.best, self.figures)

    @property
    def figures(self) -> Sequence[str]:
        """What summaries tell of."""
        return () if self._evaluation is None else tuple(self._evaluation.tells())

    def measure(self, kimg: float, pictures: Pictures | None) -> dict[str, float]:
        """The figures of now, with their kind, "metric/swd", for the first time also the floors, and the diversity of
        the pictures.
        """
        values: dict[str, float] = {}
        if self._evaluation is not None and self.game.sample is not None:
            values |= self._evaluation.evaluate(self.game.sample, G=self._generator)
            floors, metrics = self.journal.floors, self._evaluation.metrics
            if any(metric.floor and name not in floors for name, metric in metrics.items()):
                floors |= self._evaluation.floors()
        if self.game.figures is not None:
            values |= self.game.figures()
        values |= self.game.diversity(pictures)
        if values:
            self.known.append({"kimg": kimg} | values)
        return {name if "/" in name else f"metric/{name}": value for name, value in values.items()}

    def best(self) -> tuple[float, float, Path] | None:
        """The best value of the figure that the option `best` names, at which kimg, and the checkpoint of it."""
        return None if self.options.best is None else self._best(self.options.best)

    def _best(self, figure: str) -> tuple[float, float, Path] | None:
        return None if self._evaluation is None else best_of(self.known, figure, self._evaluation, self.outdir)

    def exhausted(self) -> str | None:
        """Why the run is complete, if the first figure has not become better for as many snapshots as `patience`."""
        figure = next(iter(self.figures), "")
        if not self.options.patience or (best := self._best(figure)) is None:
            return None
        snapshots = sum(figure in score and score["kimg"] > best[1] for score in self.known)
        if snapshots < self.options.patience:
            return None
        return f"{figure} has not become better than {best[0]:.4g}, at {best[1]:g} kimg, for {snapshots} snapshots"

    def summary(self) -> list[str]:
        """One line a figure: its first and last value, and its floor (the same between reals) if it has one."""
        lines = []
        for name in self.figures:
            measured = [score for score in self.known if name in score]
            if not measured:
                continue
            first, last = measured[0], measured[-1]
            line = f"{name}: {first[name]:.4g} at {first['kimg']:g} kimg, {last[name]:.4g} at {last['kimg']:g} kimg"
            if (floor := self.journal.floors.get(name)) is not None:
                line += f"; {floor:.4g} between two halves of the real set"
            lines.append(line)
        if (best := self.best()) is not None:
            lines.append(f"best {self.options.best}: {best[0]:.4g} at {best[1]:g} kimg, kept as {best[2]}")
        return lines
