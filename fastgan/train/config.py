"""What a run is: its model, its data and its training options, all resolved and checked."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from fastgan.config.data import DataOptions
from fastgan.config.fields import shown
from fastgan.config.options import R1_SHORT, TrainingOptions, replace, spelled_out
from fastgan.models.registry import configure, family, layout

# What config.json says of a run beside its configuration.
LINEAGE = ("branched_from", "transferred_from")  # of the run that it began with
RECORDS = ("fingerprint", *LINEAGE)


@dataclass(frozen=True)
class RunConfig:
    """What a run is: model, data and training options, all resolved.

    Attributes:
        model: family name.
        architecture: fields of the family's configuration.
        data: which images.
        training: how.
    """

    model: str
    architecture: dict[str, Any]
    data: DataOptions
    training: TrainingOptions

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def laid_out(self) -> dict[str, nn.Module]:
        """Its networks on the meta device: every name and shape, no memory."""
        architecture = configure(self.model, **self.architecture)
        return {name: layout(build, architecture) for name, build in family(self.model).networks.items()}

    @staticmethod
    def from_json(tree: Any, where: str, *, model: str | None = None) -> RunConfig:
        """What `to_json` gave, or a part of it: absent fields take their family's defaults.

        What a run's config.json records beside its configuration (`RECORDS`) is passed over.

        Args:
            tree: the parsed file.
            where: how errors name it.
            model: the family of a tree that names none, of a file that a user wrote. None: the tree is that of a run,
                and names its model.

        Returns:
            the configuration; its architecture has the fields that are given, and no others.

        Raises:
            ValueError: an unknown section or field, a wrong type or an impossible value; names the file, section and
                field, and where one is near the right name.
        """
        if not isinstance(tree, dict) or (model is None and "model" not in tree):
            got = list(tree) if isinstance(tree, dict) else tree
            raise ValueError(f"{where}: must be an object with model, architecture, data, training; got {shown(got)}")
        name = tree.get("model", model)
        with _naming(f"{where}: model"):
            chosen = family(name)
        defaults = chosen.options()
        known = {"data": _names(DataOptions), "training": _names(chosen.options), "architecture": _names(chosen.config)}
        if isinstance(tree.get("training"), dict):
            with _naming(f"{where}: training"):
                tree = tree | {"training": spelled_out(defaults, tree["training"])}
        _check_names(tree, where, known)
        with _naming(f"{where}: architecture"):
            given = tree.get("architecture", {})
            resolved = configure(name, **given)
            architecture = {field: getattr(resolved, field) for field in given}
        with _naming(f"{where}: data"):
            data = replace(DataOptions(), "data", **tree.get("data", {}))
        with _naming(f"{where}: training"):
            training = replace(defaults, "training", **tree.get("training", {}))
        return RunConfig(name, architecture, data, training)


def _names(options: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(options))


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """What is wrong inside is told with where it stands."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: {error}") from error


def _check_names(tree: dict[str, Any], where: str, known: dict[str, tuple[str, ...]]) -> None:
    """Raises ValueError for a section or a field that is not known, and for a section that has no fields.

    A section of a newer fastgan is refused like a slip of the pen: whatever it asks for would not be done.
    """
    for section in tree:
        if section not in ("model", *known, *RECORDS):
            raise ValueError(f"{where}: there is no section {_advice(section, known, ('model', *known))}")
    for section, fields in known.items():
        given = tree.get(section, {})
        if not isinstance(given, dict):
            raise ValueError(f"{where}: {section}: must be an object of fields and values, got {shown(given)}")
        for field in given:
            if field not in fields:
                raise ValueError(f"{where}: {section}: there is no field {_advice(field, known, fields)}")


def _advice(name: object, known: dict[str, tuple[str, ...]], right: Sequence[str]) -> str:
    """An unknown name, with what to write instead: the section whose field it is, or the right name that is near."""
    for section, fields in known.items():
        if name in fields:
            return f"{shown(name)}; it belongs into {section}"
    near = (*right, *R1_SHORT) if "penalties" in right else right
    close = difflib.get_close_matches(name[:80] if isinstance(name, str) else "", near, n=1)
    return f"{shown(name)}{f'; did you mean {close[0]!r}?' if close else '.'} There are {', '.join(right)}"
