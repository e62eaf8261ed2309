"""The two sides of a comparison: read and checked before anything is trained, and trained run by run."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGTERM
from typing import NamedTuple

from rich.console import Console

from fastgan.checkpoint import images_of, latest_checkpoint, load_tensors
from fastgan.cli.arguments import read_arguments
from fastgan.cli.launch import handing_on
from fastgan.cli.options.compare import CompareOptions
from fastgan.cli.options.train import options_for
from fastgan.cli.train import planned
from fastgan.config.fields import check_choice, shown
from fastgan.literal import literal
from fastgan.metrics import Evaluation
from fastgan.models.protocols import FromNoise
from fastgan.train.config import RunConfig

_OTHER_RUN = "a comparison begins its runs from nothing, so that it can go on"
_REFUSED = {
    "--outdir": "compare gives each run a folder in its own --outdir",
    "--seed": "compare gives its runs the seeds 0, 1, ...",
    "--resume": "compare goes on with what was interrupted by itself",
    **dict.fromkeys(("--branch", "--resume-from"), _OTHER_RUN),
    **dict.fromkeys(("--dry-run", "-n"), "compare checks both sides before it trains"),
    **dict.fromkeys(("--help", "-h"), "`fastgan train --help` shows the options of a side"),
}
_STOPPED = tuple(128 + number for number in (SIGINT, SIGTERM, SIGHUP))


class Side(NamedTuple):
    """One of two configurations.

    Attributes:
        name: "a" or "b".
        arguments: of `fastgan train`, but for those that each run has its own of.
        config: what they come to, of seed 0.
    """

    name: str
    arguments: list[str]
    config: RunConfig


def read_sides(options: CompareOptions, name: str, device: str) -> tuple[Side, Side]:
    """Both sides, everything checked that can be before they are trained.

    Args:
        options: the command line.
        name: of the metric.
        device: where it is measured.

    Raises:
        ValueError: a slip, sides of other images, or a metric of another kind of model.
        FileNotFoundError: weights of a metric's extractor are not there.
    """
    made: list[Side] = []
    for flag in ("a", "b"):
        arguments = [*_words("common", options.common), *_words(flag, getattr(options, flag))]
        try:
            seeded = [*arguments, "--seed", "0"]
            config, sets = planned(read_arguments(options_for(seeded), "train", seeded))
            G = config.laid_out().get("G")
            if not isinstance(G, FromNoise):
                raise ValueError(f"compare is of models that make images of noise, got a {config.model}")
            if config.training.seed != 0:
                raise ValueError(f"seed is set among --set; leave it out: {_REFUSED['--seed']}")
            dataset = sets["image"]
            own = Evaluation(config.training.metrics, dataset)
            own.check_generator(G)
            if config.training.best is not None:
                check_choice("best", config.training.best, tuple(own.tells()))
            measured = Evaluation([name], dataset, device=device, weights=options.features, images=options.images)
            measured.check_generator(G)
            dataset.close()
        except (ValueError, MemoryError) as error:
            raise ValueError(f"side {flag}: {error}") from error
        made.append(Side(flag, arguments, config))
    one, other = ((each.config.data.how() | {"stream": None, "skip_broken": None}) for each in made)
    differing = [field for field in one if one[field] != other[field]]
    if not made[0].config.data.same_place(made[1].config.data):
        differing.insert(0, "data")
    if differing:
        raise ValueError(
            "both sides must be trained on the same images, or their figures are of different things; they differ in "
            f"{', '.join(differing)}"
        )
    return made[0], made[1]


def _words(flag: str, text: str | None) -> list[str]:
    """The words of an option that holds options of `fastgan train`."""
    try:
        words = shlex.split(text or "")
    except ValueError as error:
        raise ValueError(f"--{flag}: {error} in {shown(text)}") from None
    for word in words:
        option = word.partition("=")[0].replace("_", "-")
        if option in _REFUSED:
            raise ValueError(f"--{flag}: {option} is not for a side: {_REFUSED[option]}")
    return words


def train_run(side: Side, seed: int, outdir: Path, console: Console) -> int:
    """Trains a run to its end unless it is complete.

    Returns:
        0, or 128 + the signal that stopped it.

    Raises:
        ValueError: the folder holds a run of other options.
        ChildProcessError: it failed.
    """
    name = f"{side.name}-{seed}"
    if _complete(side, seed, outdir / name):
        console.print(f"{name}: complete")
        return 0
    arguments = [*side.arguments, "--outdir", str(outdir / name), "--seed", str(seed), "--resume", "auto"]
    console.print(literal(f"{name}: fastgan train {shlex.join(arguments)}"), soft_wrap=True)
    sys.stdout.flush()
    processes: list[subprocess.Popen[bytes]] = []
    with handing_on(processes):
        command = [sys.executable, "-m", "fastgan", "train", *arguments]
        processes.append(subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True))
        said = processes[0].communicate()[1].decode(errors="replace")
    status = processes[0].returncode
    status = 128 - status if status < 0 else status
    if status and status not in _STOPPED:
        reason = said.strip().rpartition("fastgan: error: ")[2] or f"it ended with status {status}"
        raise ChildProcessError(f"{name}: {reason}")
    sys.stderr.write(said)
    return status


def _complete(side: Side, seed: int, folder: Path) -> bool:
    """Whether a run is there to its end, which may come before its last kimg (--patience)."""
    newest = latest_checkpoint(folder)
    if newest is None:
        return False
    config = RunConfig.from_json(load_tensors(newest, "config"), f"checkpoint {newest}")
    if config != replace(side.config, training=replace(side.config.training, seed=seed)):
        raise ValueError(f"{folder} holds a run of other options than side {side.name}; choose another --outdir")
    if (images_of(newest) or 0) >= round(config.training.kimg * 1000):
        return True
    record = folder / "run.json"
    return record.exists() and json.loads(record.read_text(encoding="utf-8")).get("state") == "finished"
