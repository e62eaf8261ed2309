"""`fastgan compare`: two configurations trained side by side, and whether a figure of them differs beyond chance."""

from __future__ import annotations

import json
import shlex
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from fastgan.checkpoint import images_of, latest_checkpoint, load_tensors, replacing
from fastgan.choices import METRICS, chosen
from fastgan.cli.metrics import samples
from fastgan.cli.options.compare import CompareOptions
from fastgan.cli.options.metrics import MetricsOptions
from fastgan.cli.sides import Side, read_sides, train_run
from fastgan.config.fields import check_int, check_number, is_finite, near, shown
from fastgan.data import Dataset, load_dataset
from fastgan.generate import Sampler
from fastgan.literal import literal
from fastgan.metrics import Evaluation, Metric
from fastgan.metrics.comparison import Interval, between, welch
from fastgan.report import read_stats
from fastgan.report.environment import describe_environment
from fastgan.report.stats import finite
from fastgan.train.fingerprint import known_as
from fastgan.train.scores import best_of


class Measured(NamedTuple):
    """A run, and what was found of it; `seconds_per_kimg` is the median of its ticks."""

    run: str
    seconds_per_kimg: float
    checkpoint: Path
    figure: Interval | float

    @property
    def value(self) -> float:
        return self.figure.value if isinstance(self.figure, Interval) else self.figure


def run(options: CompareOptions) -> int:
    """Checks both sides, trains what is not trained yet, measures, prints a table and the verdict.

    Args:
        options: the command line.

    Returns:
        the exit status: 0; 1 where the gate is closed; 128 + signal when one ended it.

    Raises:
        ValueError: a slip in the options of either side, before anything is trained; sides that cannot be compared.
        OSError: a training failed, or a file could not be read or written.
    """
    name = _checked(options)
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    a, b = read_sides(options, name, device)
    _begin(options.outdir, a, b)
    console = Console(highlight=False, markup=False)
    for seed in range(options.seeds):
        for side in (a, b):
            if status := train_run(side, seed, options.outdir, console):
                console.print("stopped; the same command goes on")
                return status
    evaluation = _evaluation(options, name, a, b, device)
    measured = {side.name: list(_measured(options, side, evaluation)) for side in (a, b)}
    metric = evaluation.all[name]
    values = {side: [each.value for each in found] for side, found in measured.items()}
    if options.seeds > 1:
        difference = welch(values["a"], values["b"])
    else:
        ends = [found[0].figure for found in measured.values()]
        difference = between(*(each for each in ends if isinstance(each, Interval)))
    closed = options.gate and _closed(options, difference, metric, statistics.fmean(values["a"]))
    sentence = _sentence(options, difference, metric)
    told = {
        "metric": options.metric,
        "better": metric.better,
        "images": metric.images,
        "runs": {each.run: _as_json(each) for found in measured.values() for each in found},
        "difference": difference._asdict(),
        "verdict": difference.verdict(metric.better),
        "sentence": sentence,
        "gate": ("closed" if closed else "open") if options.gate else None,
        "tolerance": options.tolerance,
        "environment": describe_environment(torch.device(device)),
        "written": time.time(),
    }
    file = _write(options.outdir, a, b, told)
    console.print(_table(options.metric, measured))
    for side in (a, b):
        if (best := side.config.training.best) is not None:
            console.print(literal(f"{side.name}: of each run the checkpoint with the best {best}"), soft_wrap=True)
    console.print(literal(sentence), soft_wrap=True)
    if options.gate:
        console.print(f"gate: {closed or 'open'}", soft_wrap=True)
    console.print(literal(f"wrote {file}"), soft_wrap=True)
    return 1 if closed else 0


def _checked(options: CompareOptions) -> str:
    """The metric that tells of the figure; ValueError for options of compare itself that make no sense."""
    check_int("seeds", options.seeds, 1, 1000)
    if options.images is not None:
        check_int("images", options.images, 2)
    if options.tolerance is not None:
        if not options.gate:
            raise ValueError("--tolerance is of --gate, which is not given")
        check_number("tolerance", options.tolerance, 0)
    owners = {figure: name for name in METRICS for figure in chosen(METRICS, name).tells or (name,)}
    if options.metric not in owners:
        raise ValueError(
            f"metric must be one of {', '.join(owners)}; got {shown(options.metric)}{near(options.metric, owners)}"
        )
    metric = chosen(METRICS, owners[options.metric])
    if options.seeds == 1 and not (isinstance(metric, Metric) and metric.resampled):
        raise ValueError(f"--metric {options.metric} has no interval of one run; it takes --seeds of at least 2, got 1")
    return owners[options.metric]


def _begin(outdir: Path, a: Side, b: Side) -> None:
    """Notes what is compared; ValueError where the folder holds another comparison."""
    file = outdir / "compare.json"
    if file.exists():
        try:
            before = json.loads(file.read_text(encoding="utf-8"))["sides"]
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{file} cannot be read: {error}; move it away, or choose another --outdir") from error
        for side in (a, b):
            if before.get(side.name) != side.arguments:
                was = shlex.join(before.get(side.name, ()))
                raise ValueError(
                    f"{outdir} holds a comparison whose side {side.name} was {was}; choose another --outdir"
                )
        return
    outdir.mkdir(parents=True, exist_ok=True)
    _write(outdir, a, b, {})


def _write(outdir: Path, a: Side, b: Side, told: dict[str, Any]) -> Path:
    file = outdir / "compare.json"
    with replacing(file) as partial:
        text = json.dumps(finite({"sides": {side.name: side.arguments for side in (a, b)}} | told), indent=1)
        partial.write_text(text + "\n", encoding="utf-8")
    return file


def _evaluation(options: CompareOptions, name: str, a: Side, b: Side, device: str) -> Evaluation:
    """The metric, against the images that both sides were trained on."""
    data = a.config.data
    labelled = any(side.config.data.cond for side in (a, b))
    dataset = load_dataset(data.place, **data.how(), labelled=labelled)
    known = known_as(dataset, data.how())
    return Evaluation(
        [name], dataset, device=device, weights=options.features, fingerprint=known, images=options.images
    )


def _measured(options: CompareOptions, side: Side, evaluation: Evaluation) -> Iterator[Measured]:
    dataset: Any = evaluation.dataset
    for seed in range(options.seeds):
        outdir = options.outdir / f"{side.name}-{seed}"
        checkpoint = measured_checkpoint(side, outdir, dataset)
        sampler = Sampler.from_checkpoint(checkpoint, evaluation.device)
        sample = samples(MetricsOptions(checkpoint), sampler, dataset)
        figures = evaluation.evaluate(sample, intervals=True, G=sampler.G)
        value, *ends = (figures.get(options.metric + end) for end in ("", "_low", "_high"))
        if not is_finite(value):
            raise ValueError(f"{checkpoint}: {options.metric} is {value}, with which nothing can be compared")
        paces = [line["seconds_per_kimg"] for line in read_stats(outdir / "stats.jsonl") if "seconds_per_kimg" in line]
        figure: Any = value if None in ends else Interval(value, *ends)  # type: ignore[arg-type]
        yield Measured(outdir.name, statistics.median(paces), checkpoint, figure)


def measured_checkpoint(side: Side, outdir: Path, dataset: Dataset) -> Path:
    """The newest of a run; of a side trained with --best the one that was kept as the best."""
    newest = latest_checkpoint(outdir)
    assert newest is not None
    if side.config.training.best is None:
        return newest
    evaluation = Evaluation(side.config.training.metrics, dataset)
    best = best_of(load_tensors(newest, "scores"), side.config.training.best, evaluation, outdir)
    return newest if best is None else best[2]


def _closed(options: CompareOptions, difference: Interval, metric: Any, mean: float) -> str:
    """Why the gate is closed; "" where it is open."""
    if difference.verdict(metric.better) == "worse":
        return "closed, b is worse"
    loss = difference.loss(metric.better)
    if options.tolerance is not None and loss > options.tolerance * abs(mean):
        allowed = f"{options.tolerance:g} of a's {abs(mean):.3g}"
        return f"closed, b may be worse by {loss:.3g}, which is more than {allowed}"
    return ""


def _sentence(options: CompareOptions, difference: Interval, metric: Any) -> str:
    """The verdict in words."""
    value, low, high = difference
    what = f"{options.metric} of b less that of a is {value:.3g} (95 %: {low:.3g} to {high:.3g})"
    verdict, smallest = difference.verdict(metric.better), max(value - low, high - value)
    if verdict != "not shown":
        text = f"b is {verdict}: {what}, and {metric.better} is better"
    else:
        would = f"{options.seeds} seeds" if options.seeds > 1 else "these images"
        text = (
            f"no difference beyond the interval is shown: {what}; the smallest difference that {would} would show is "
        )
        text += f"about {smallest:.2g}"
    if options.seeds == 1:
        text += ". With one seed training's own chance is not in the interval, which is of the images alone"
    return text


def _as_json(measured: Measured) -> dict[str, Any]:
    figure = measured.figure._asdict() if isinstance(measured.figure, Interval) else {"value": measured.figure}
    return figure | {"seconds_per_kimg": measured.seconds_per_kimg, "checkpoint": measured.checkpoint.name}


def _table(figure: str, measured: dict[str, list[Measured]]) -> Table:
    """A row a run, seed by seed, and the means of both sides."""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for column in ("run", figure, "95 % of images", "s/kimg", "kimg"):
        table.add_column(column, no_wrap=True)
    for pair in zip(*measured.values(), strict=True):
        for each in pair:
            interval = f"{each.figure.low:.3g} to {each.figure.high:.3g}" if isinstance(each.figure, Interval) else ""
            kimg = f"{(images_of(each.checkpoint) or 0) / 1000:g}"
            table.add_row(each.run, f"{each.value:.4g}", interval, f"{each.seconds_per_kimg:.3g}", kimg)
    for side, found in measured.items():
        pace = statistics.fmean(each.seconds_per_kimg for each in found)
        table.add_row(f"mean {side}", f"{statistics.fmean(each.value for each in found):.4g}", "", f"{pace:.3g}", "")
    return table
