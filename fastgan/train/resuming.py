"""What a checkpoint tells of its run, and what may differ when the run goes on."""

from __future__ import annotations

import dataclasses
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastgan.checkpoint import load_tensors, read_metadata
from fastgan.data import Dataset
from fastgan.models.registry import configure
from fastgan.train.config import DataOptions, RunConfig
from fastgan.train.fingerprint import Fingerprint

# What may differ between a run and its continuation; everything else is part of what the run is.
_MAY_CHANGE = ("kimg", "tick", "snap", "keep", "metrics", "skip_broken", "stream")
_PLACE = ("source", "path")  # the data are known by their content


@dataclass(frozen=True)
class Origin:
    """The run that a checkpoint is of.

    Attributes:
        checkpoint: the file.
        config: of the run; fields that are newer than the run have their defaults.
        fingerprint: of its data, as far as they had been read; None in a checkpoint that is older than fingerprints.
        kimg: how far it had come.
    """

    checkpoint: Path
    config: RunConfig
    fingerprint: Fingerprint | None
    kimg: float

    @staticmethod
    def read(checkpoint: Path) -> Origin:
        """Raises CheckpointError or ValueError for what cannot be read; the message names the file."""
        config = RunConfig.from_json(load_tensors(checkpoint, "config"), f"checkpoint {checkpoint}")
        filled = dataclasses.asdict(configure(config.model, **config.architecture))
        metadata, fingerprint = read_metadata(checkpoint), None
        if metadata.get("fingerprint"):
            fingerprint = Fingerprint(**load_tensors(checkpoint, "data"))
        return Origin(checkpoint, dataclasses.replace(config, architecture=filled), fingerprint, metadata["kimg"])

    def changes(self, asked: RunConfig) -> dict[str, tuple[Any, Any]]:
        """Fields of the configuration that differ: name -> (in the run, in `asked`); those that `asked` leaves out are
        passed over.
        """

        def flat(config: RunConfig) -> dict[str, Any]:
            tree = json.loads(json.dumps(config.to_json()))
            return {"cfg": tree["model"]} | tree["architecture"] | tree["data"] | tree["training"]

        before, now = flat(self.config), flat(asked)
        return {name: (before.get(name), now[name]) for name in now if before.get(name) != now[name]}

    def check_model(self, asked: str) -> None:
        """Raises ValueError where another model is asked for."""
        if asked != self.config.model:
            raise ValueError(f"{self.checkpoint} is a {self.config.model}, asked {asked}; leave --cfg out")

    def check_options(self, asked: RunConfig) -> None:
        """Raises ValueError where options make another run of it; where the data lie is no option of theirs."""
        passed_over = (*_MAY_CHANGE, *_PLACE)
        changed = {name: pair for name, pair in self.changes(asked).items() if name not in passed_over}
        if self.fingerprint is None and not self.config.data.same_place(asked.data):
            changed["source"] = (self.config.data.source, asked.data.source)
        if changed:
            what = "; ".join(f"{name} is {before}, asked {now}" for name, (before, now) in changed.items())
            raise ValueError(
                f"{self.checkpoint} is of another run: {what}. Leave these options out, or begin a new run with them: "
                f"{self.branch_command()} ..."
            )

    def check_data(self, dataset: Dataset, asked: DataOptions) -> None:
        """The fingerprint of the dataset <- what the run knew of it.

        Raises:
            ValueError: these are other data than those of the run; the message says in what.
        """
        now = Fingerprint.of(dataset, asked.cond)
        if self.fingerprint is None or now is None:
            return
        if changes := self.fingerprint.changes(now):
            what = "; ".join(changes)
            place, moved = asked.place, not self.config.data.same_place(asked)
            advice = "give the place of the same images" if moved else "put back what was there"
            data = f" --data {shlex.quote(place)}" if moved else ""
            raise ValueError(
                f"the data of {self.checkpoint} {'are not those at' if moved else 'changed at'} {place}: {what}. To go "
                f"on with the run, {advice}; to train on these instead: {self.branch_command()}{data}"
            )
        self.fingerprint.fill(now)

    def sentences(self, now: RunConfig) -> list[str]:
        """What to tell whoever goes on with it."""
        lines = [f"going on from {self.checkpoint}, {self.kimg:.3f} kimg"]
        if not self.config.data.same_place(now.data):
            lines.append(f"the same images, which were at {self.config.data.place}, are at {now.data.place}")
        if self.kimg >= now.training.kimg:
            lines.append(f"nothing is left to train of {now.training.kimg:g} kimg; a longer --kimg goes on")
        return lines

    def branch_command(self) -> str:
        """The command that begins a new run from the checkpoint."""
        return f"fastgan train --branch {shlex.quote(str(self.checkpoint))} --outdir NEW"
