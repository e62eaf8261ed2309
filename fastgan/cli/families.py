"""The options of `fastgan train` for a family of models, and which family a command line is about."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import Any, ClassVar

from fastgan.checkpoint import CheckpointError, read_metadata
from fastgan.choices import DATA_KINDS, MODELS, chosen
from fastgan.cli.configuration import read_config
from fastgan.cli.flags import ALIASES, section
from fastgan.cli.options.train import TrainOptions, data_flags
from fastgan.config.fields import shown
from fastgan.config.options import AdversarialOptions
from fastgan.generate.loading import newest_checkpoint
from fastgan.models.registry import Family, family, import_family
from fastgan.train.folder import read_whole
from fastgan.train.starting import beginning

_OWN = re.compile(r"\w+(\.\w+)*:\w+")


@dataclass(frozen=True)
class FamilyOptions(TrainOptions):
    """Train a GAN, or go on with a run.

    What is not given takes the default of the model family, or with --resume the value of the run.
    """

    family: ClassVar[Family]
    help_command: ClassVar[str]
    arguments: ClassVar[tuple[str, ...]] = ()  # what follows the verb, for further processes of the same training
    images: Any = None
    training: Any = None
    architecture: Any = None

    @classmethod
    def elsewhere(cls, flag: str) -> str | None:
        """What to say of a flag that other families have."""
        name = flag.removeprefix("--").replace("-", "_")
        owners = [each for each in MODELS if each != cls.family.name and name in _flags(options_of(family(each)))]
        return f"{flag} is an option of {' and '.join(owners)}, not of {cls.family.name}" if owners else None


def options_of(of: Family) -> type[FamilyOptions]:
    """The options of training a family: shared ones, those of its data, its training and its architecture.

    Raises:
        ValueError: one name for two options.
    """
    kind = chosen(DATA_KINDS, of.data)
    r1 = {"r1_gamma": (float, "γ of R1 among the penalties, which keeps its interval; 0: without R1")}
    sections = {
        "images": data_flags(kind.refused),
        "training": section(
            f"{of.name}: training", of.options, more=r1 if issubclass(of.options, AdversarialOptions) else None
        ),
        "architecture": section(f"{of.name}: architecture", of.config, tuple(kind.deciding)),
    }
    taken = {each.name for each in fields(TrainOptions)}
    for name, made in sections.items():
        for each in fields(made.__origin__):
            if each.name in taken:
                raise ValueError(f"the family {of.name}: {name} has a field {each.name!r}, which is another option")
            taken.add(each.name)
    named = [(name, made, field(default_factory=made.__origin__)) for name, made in sections.items()]
    made = make_dataclass("TrainOptions", named, bases=(FamilyOptions,), frozen=True)
    made.__doc__ = FamilyOptions.__doc__
    made.family, made.help_command = of, f"fastgan train --cfg {of.name} --help"
    return made


def _flags(options: type[FamilyOptions]) -> set[str]:
    made = options()
    names = {each.name for part in (made.images, made.training, made.architecture) for each in fields(part)}
    return names | {ALIASES[name].replace("-", "_") for name in names & set(ALIASES)}


def family_of(arguments: Sequence[str]) -> Family:
    """The family that a command line is about: that of --cfg, else of the run or the file it begins with.

    Raises:
        ValueError: there is no such family, run or file, or it cannot be read.
    """
    if name := _value(arguments, "--cfg"):
        return bring(name)
    resume, config = _value(arguments, "--resume"), _value(arguments, "--config")
    outdir, branch, other = (
        Path(value) if (value := _value(arguments, f"--{flag}")) else None
        for flag in ("outdir", "branch", "resume-from")
    )
    if branch or other or (resume and (resume != "auto" or outdir)):
        checkpoint = beginning(outdir, resume, branch, other)
        if checkpoint is not None:
            return _family_in(checkpoint)
    return family(read_config(Path(config), None).model if config else "stylegan2")


def bring(name: str, network: Path | None = None) -> Family:
    """A family by its name; a module of the user's own, "module:attribute", is looked for in the current folder too.

    Args:
        name: as --cfg has it.
        network: a checkpoint or a run's folder that must be of this family.

    Raises:
        ValueError: there is no such family, or the checkpoint is of another.
    """
    if ":" in name:
        if not _OWN.fullmatch(name) or name.partition(":")[0].endswith(".py"):
            raise ValueError(
                f"--cfg must be {', '.join(MODELS)} or MODULE:NAME, my_gan:FAMILY for FAMILY of my_gan.py; "
                f"got {shown(name)}"
            )
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())
    found = import_family(name)
    if network is not None and (model := read_metadata(newest_checkpoint(network)).get("model", name)) != name:
        raise ValueError(f"--cfg {name}: {network} is of a {model}; leave --cfg out, or name that")
    return found


def _family_in(checkpoint: Path) -> Family:
    try:
        name = read_metadata(checkpoint).get("model", "stylegan2")
    except (CheckpointError, OSError):
        read_whole(checkpoint)  # says what else there is
        raise
    try:
        return family(name)
    except ValueError as error:
        raise ValueError(f"checkpoint {checkpoint}: {error}") from error


def _value(arguments: Sequence[str], flag: str) -> str | None:
    """The value of a flag, before the arguments are read; None if it has none."""
    found = None
    for word, following in zip(arguments, [*arguments[1:], "-"], strict=True):
        if word == flag and not following.startswith("-"):
            found = following
        elif word.startswith(f"{flag}="):
            found = word.partition("=")[2]
    return found or None
