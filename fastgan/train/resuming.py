"""What a checkpoint tells of its run, and what may differ when the run goes on."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from fastgan.checkpoint import CheckpointError
from fastgan.config.data import DataOptions
from fastgan.config.options import told
from fastgan.data import Dataset
from fastgan.models.registry import configure
from fastgan.train.config import RunConfig
from fastgan.train.fingerprint import Fingerprint, fingerprints, unpacked
from fastgan.train.folder import branch_command, read_whole

# What may differ between a run and its continuation; everything else is part of what the run is.
_MAY_CHANGE = (
    *("kimg", "tick", "snap", "keep", "graphs", "roll_back_after", "on_trouble", "patience", "metrics", "best"),
    *("skip_broken", "stream"),
)
_PLACE = ("source", "path", "held_out")  # the data are known by their content


@dataclass(frozen=True)
class Origin:
    """The run that a checkpoint is of.

    Attributes:
        checkpoint: the file.
        config: of the run; fields that are newer than the run have their defaults.
        fingerprints: of its sets, as far as they had been read; none in a checkpoint that is older than fingerprints.
        kimg: how far it had come.
        metadata: as the checkpoint holds it.
    """

    checkpoint: Path
    config: RunConfig
    fingerprints: Mapping[str, Fingerprint]
    kimg: float
    metadata: Mapping[str, Any]
    _tree: dict[str, Any] = field(repr=False)

    @staticmethod
    def read(checkpoint: Path) -> Origin:
        """The whole file, read once.

        Raises:
            CheckpointError, ValueError: it cannot be read, or is damaged; the message names the file.
        """
        tree, metadata = read_whole(checkpoint)
        for part in ("config", "state"):
            if part not in tree:
                raise CheckpointError(f"checkpoint {checkpoint} holds no {part!r}; it has {sorted(map(str, tree))}")
        config = RunConfig.from_json(tree["config"], f"checkpoint {checkpoint}")
        filled = dataclasses.asdict(configure(config.model, **config.architecture))
        known = {}
        if metadata.get("fingerprint"):
            known = {name: Fingerprint(**each) for name, each in unpacked(tree["data"]).items()}
        config = dataclasses.replace(config, architecture=filled)
        return Origin(checkpoint, config, known, metadata["kimg"], metadata, tree)

    def take(self) -> dict[str, Any]:
        """The checkpoint's tree, once: its memory is free when the taker is done with it."""
        tree = dict(self._tree)
        self._tree.clear()
        return tree

    def weights(self) -> dict[str, Mapping[str, Tensor]]:
        """Network -> its tensors by name; before `take`.

        Raises:
            CheckpointError: they are not where the state has them.
        """
        try:
            players = self._tree["state"]["players"].values()
            return {name: dict(module) for player in players for name, module in player["modules"].items()}
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise CheckpointError(f"checkpoint {self.checkpoint} does not fit this fastgan: {error}") from error

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
        if self.config.data.held_out is None and asked.data.held_out is not None:  # no content to be known by
            changed["held_out"] = (None, asked.data.held_out)
        if not self.fingerprints and not self.config.data.same_place(asked.data):
            changed["source"] = (self.config.data.source, asked.data.source)
        if changed:
            what = "; ".join(f"{name} is {told(before)}, asked {told(now)}" for name, (before, now) in changed.items())
            raise ValueError(
                f"{self.checkpoint} is of another run: {what}. Leave these options out, or begin a new run with them: "
                f"{self.branch_command()} ..."
            )

    def check_data(self, sets: Mapping[str, Dataset], asked: DataOptions) -> None:
        """The fingerprints of the sets <- what the run knew of them.

        Raises:
            ValueError: these are other data than those of the run; the message says in what.
        """
        for name, now in fingerprints(sets, asked.cond).items():
            before = self.fingerprints.get(name)
            if before is None:
                continue
            if changes := before.changes(now):
                which = f" ({name})" if len(sets) > 1 else ""
                what = "; ".join(changes)
                option, place, moved = "--data", asked.place, not self.config.data.same_place(asked)
                if name.startswith("held_"):
                    option, place, moved = "--held-out", asked.held_out, asked.held_out != self.config.data.held_out
                advice = "give the place of the same images" if moved else "put back what was there"
                data = f" {option} {shlex.quote(str(place))}" if moved else ""
                raise ValueError(
                    f"the data of {self.checkpoint} {'are not those at' if moved else 'changed at'} {place}{which}: "
                    f"{what}. To go on with the run, {advice}; to train on these instead: {self.branch_command()}{data}"
                )
            before.fill(now)

    def sentences(self, now: RunConfig) -> list[str]:
        """What to tell whoever goes on with it."""
        lines = [f"going on from {self.checkpoint}, {self.kimg:.3f} kimg"]
        if not self.config.data.same_place(now.data):
            lines.append(f"the same images, which were at {self.config.data.place}, are at {now.data.place}")
        before, length = self.config.training, now.training.kimg
        if length != before.kimg and (getattr(before, "decay", 0) or getattr(before, "augment", "none") != "none"):
            lines.append(f"what changes with progress follows the length of {length:g} kimg, which was {before.kimg:g}")
        if self.kimg >= now.training.kimg:
            lines.append(f"nothing is left to train of {now.training.kimg:g} kimg; a longer --kimg goes on")
        return lines

    def branch_command(self) -> str:
        """The command that begins a new run from the checkpoint."""
        return branch_command(self.checkpoint, self.config.model)
