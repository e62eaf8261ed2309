"""`fastgan metrics`: how good a checkpoint's images are."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from fastgan.cli.families import bring
from fastgan.cli.options.metrics import MetricsOptions
from fastgan.config.data import DataOptions
from fastgan.config.fields import check_int
from fastgan.data import Dataset, load_dataset
from fastgan.data.stores import BROKEN, UNREAD
from fastgan.generate import Sampler
from fastgan.generate.loading import newest_checkpoint
from fastgan.literal import literal
from fastgan.metrics import Evaluation, synthetic_training
from fastgan.metrics.by_class import OfClass, class_shares
from fastgan.metrics.extractors import make_extractor
from fastgan.metrics.memorisation import neighbours_of
from fastgan.ops.allocation import tune_cpu_allocator
from fastgan.report import write_report
from fastgan.report.grid import save_grid
from fastgan.report.measured import NEAREST, add_lines
from fastgan.train.fingerprint import known_as
from fastgan.train.folder import data_of

_NEAREST = 3  # real images beside a generated one, in pixels and in wavelets
_MISSING = 0.1  # of its share of the real images: a class that is made less often is hardly made at all
_IMAGES, _TESTED = 1000, 10_000  # that a classifier learns of and is tested on, at most


def run(options: MetricsOptions) -> int:
    """Measures, prints a table, and adds lines to metrics.jsonl.

    Args:
        options: the command line.

    Returns:
        0, the exit status.

    Raises:
        ValueError: an unknown metric, no real images, real images of another size, a metric of another kind of model.
        OSError: a file could not be read or written.
    """
    check_int("nearest", options.nearest, 0)
    tune_cpu_allocator()
    if options.cfg is not None:
        bring(options.cfg, options.network)
    checkpoint = newest_checkpoint(options.network)
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    sampler = Sampler.from_checkpoint(checkpoint, device)
    data = _data(options, sampler, checkpoint)
    dataset = load_dataset(data.place, **data.how(), labelled=bool(sampler.G.num_classes) or options.by_class)
    _check(sampler, dataset, checkpoint)
    test = _test_data(options, data, sampler, dataset, checkpoint)
    evaluation = Evaluation(
        options.metrics,
        dataset,
        device=device,
        weights=options.features,
        fingerprint=known_as(dataset, data.how()),
        images=options.images,
    )
    evaluation.check_generator(sampler.G)
    figures = evaluation.evaluate(samples(options, sampler, dataset), intervals=True, G=sampler.G)
    floors = evaluation.floors() if len(dataset) > 1 else {}
    lines = [
        line | {"network": str(checkpoint), "data": data.source, "trunc": options.trunc, "seed": options.seed}
        for line in [
            *evaluation.told(figures, floors),
            *_by_class(options, evaluation, sampler, dataset),
            *_of_classifiers(options, sampler, dataset, test, device),
        ]
    ]
    outdir = options.outdir or checkpoint.parent
    outdir.mkdir(parents=True, exist_ok=True)
    file = add_lines(outdir, [{"written": time.time()} | line for line in lines])
    console = Console(highlight=False, markup=False)
    console.print(_table(lines, f"{checkpoint} beside {len(dataset)} images of {dataset.name}"))
    for remark in _remarks(lines):
        console.print(literal(remark), soft_wrap=True)
    console.print(literal(f"added {len(lines)} lines to {file}"), soft_wrap=True)
    if options.nearest:
        picture = _save_nearest(options, sampler, dataset, outdir)
        console.print(
            literal(f"wrote {picture}: generated, then real ones nearest in pixels and in wavelets"), soft_wrap=True
        )
    if (outdir / "config.json").exists():
        console.print(literal(f"wrote {write_report(outdir)}"), soft_wrap=True)
    return 0


def _data(options: MetricsOptions, sampler: Sampler, checkpoint: Path) -> DataOptions:
    """The real images, read so that they are of the generator's size and channels."""
    form: dict[str, Any] = {
        "resolution": sampler.G.resolution,
        "channels": sampler.G.img_channels,
        "skip_broken": False,
    }
    if options.data is not None:
        chosen = {"classes": options.classes, "max_images": options.max_images}
        return DataOptions(source=options.data, **chosen, **form)
    if options.classes or options.max_images is not None:
        raise ValueError("--classes and --max-images are of --data, which is not given")
    data = data_of(checkpoint)
    if data is None or not data.exists:
        where = (
            "does not tell its training set" if data is None else f"was trained on {data.source}, which is not there"
        )
        raise ValueError(f"checkpoint {checkpoint} {where}; give real images with --data")
    return dataclasses.replace(data, **form)


def _check(sampler: Sampler, dataset: Dataset, checkpoint: Path) -> None:
    """Raises ValueError where the labels of the reals are not the model's."""
    if sampler.G.num_classes and dataset.label_dim != sampler.G.num_classes:
        raise ValueError(
            f"the labels of {dataset.name} must have length {sampler.G.num_classes} to match checkpoint {checkpoint}, "
            f"got {dataset.label_dim}"
        )
    known, given = tuple(sampler.class_names), tuple(dataset.class_names)
    if known and given and known != given:
        raise ValueError(
            f"the classes of {dataset.name} must be those of checkpoint {checkpoint}, {', '.join(known)}; "
            f"got {', '.join(given)}"
        )


def _test_data(
    options: MetricsOptions, data: DataOptions, sampler: Sampler, dataset: Dataset, checkpoint: Path
) -> Dataset | None:
    """The images of --test-data, read as the real ones are; ValueError where they are no test of them."""
    if options.test_data is None:
        return None
    if not dataset.num_classes or not sampler.G.num_classes:
        raise ValueError("--test-data needs a model and data of the same classes")
    place = dataclasses.replace(data, source=options.test_data, path=None, max_images=None)
    test = load_dataset(place.place, **place.how(), labelled=True)
    _check(sampler, test, checkpoint)
    if dataset.checksums is not None and test.checksums is not None:
        known = test.checksums[(test.checksums != UNREAD) & (test.checksums != BROKEN)]
        if shared := int(torch.isin(known, dataset.checksums).sum()):
            raise ValueError(
                f"--test-data must be images that the generator was not trained on; {shared} of {len(test)} are also "
                f"among those of {dataset.name}"
            )
    return test


def samples(
    options: MetricsOptions,
    sampler: Sampler,
    dataset: Dataset,
    of_class: int | None = None,
    conditions: Tensor | None = None,
) -> Callable[[int], Iterator[Tensor]]:
    """n -> images of consecutive seeds, with labels drawn from those of the reals, all of one class, or as given."""

    def sample(count: int) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(options.seed)
        labels = conditions
        if sampler.G.num_classes and of_class is None and labels is None:
            labels = dataset.conditions(torch.randint(len(dataset), (count,), generator=generator))
        first = options.seed * 1_000_003 % 2**31
        batches = sampler.batches(
            range(first, first + count),
            truncation_psi=options.trunc,
            class_index=of_class,
            labels=labels,
            batch_size=options.batch,
        )
        progress = Console(stderr=True)
        total = -(-count // options.batch)
        return iter(
            track(batches, "Generating", total, console=progress, transient=True, disable=not progress.is_terminal)
        )

    return sample


def _by_class(
    options: MetricsOptions, evaluation: Evaluation, sampler: Sampler, dataset: Dataset
) -> Iterator[dict[str, Any]]:
    if not options.by_class:
        return
    if not dataset.num_classes:
        raise ValueError(f"--by-class needs data with classes, which {dataset.name} has not")
    if not sampler.G.num_classes:
        yield from _shares(options, sampler, dataset)
        return
    names = [name for name in options.metrics if name.startswith("kid_")]
    if not names:
        raise ValueError("--by-class tells kernel distances: name one, such as kid_wavelet, among --metrics")
    for number, name in enumerate(dataset.class_names):
        of_class = OfClass(dataset, number)
        if len(of_class) < 2:
            continue
        part = Evaluation(names, of_class, extractors=evaluation.extractors, images=min(options.images or 1000, 1000))
        figures = part.evaluate(samples(options, sampler, dataset, number), intervals=True)
        yield from ({**line, "class": name} for line in part.told(figures, {}))


def _shares(options: MetricsOptions, sampler: Sampler, dataset: Dataset) -> Iterator[dict[str, Any]]:
    """How often each class is made by a generator that knows none."""
    extractor, count = make_extractor("wavelet"), options.images or 1000
    found = class_shares(samples(options, sampler, dataset)(count), dataset, extractor)
    about = {"extractor": extractor.name, "resize": extractor.resize, "generated_images": found.generated_images}
    for name, share, real in zip(dataset.class_names, found.generated.tolist(), found.real.tolist(), strict=True):
        line = {"metric": "class_shares", "figure": "share_wavelet", "class": name, "value": share}
        yield line | about | {"real_images": found.real_images, "share_of_reals": real}


def _save_nearest(options: MetricsOptions, sampler: Sampler, dataset: Dataset, outdir: Path) -> Path:
    """nearest.png: two groups a row, each a generated image and the real ones that are nearest."""
    made = torch.cat([*samples(options, sampler, dataset)(options.nearest)])
    k = min(_NEAREST, len(dataset))
    near = [neighbours_of(made, dataset, make_extractor(name), k) for name in ("pixels", "wavelet")]
    groups = torch.cat([made[:, None], *near], dim=1)
    save_grid(groups.flatten(0, 1), outdir / NEAREST, columns=min(2, len(made)) * groups.shape[1])
    return outdir / NEAREST


def _of_classifiers(
    options: MetricsOptions, sampler: Sampler, dataset: Dataset, test: Dataset | None, device: str
) -> Iterator[dict[str, Any]]:
    """Of a classifier of generated images, and of one of as many real ones with the same labels."""
    if test is None or dataset.labels is None or test.labels is None:
        return
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))[: options.images or _IMAGES]
    tested = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[:_TESTED]
    made = torch.cat([*samples(options, sampler, dataset, conditions=dataset.conditions(order))(len(order))])
    real, seen = (each.read(chosen).permute(0, 3, 1, 2) for each, chosen in ((dataset, order), (test, tested)))
    labels = dataset.labels[order]
    found = synthetic_training((made, labels), (real, labels), (seen, test.labels[tested]), device)
    for figure, kind in (("tstr", "generated_images"), ("trtr", "real_images")):
        value, low, high = (found[figure + end] for end in ("", "_low", "_high"))
        line = {"metric": "synthetic_training", "figure": figure, "value": value, "low": low, "high": high}
        yield line | {kind: len(order), "test_images": len(tested), "test_data": options.test_data}


def _table(lines: list[dict[str, Any]], title: str) -> Table:
    """A row a figure."""
    table = Table(title=literal(title), box=SIMPLE, padding=(0, 1, 0, 0))
    for column in ("figure", "value", "95 % interval", "floor", "images", "extractor"):
        table.add_column(column, no_wrap=column in ("figure", "value"), overflow="fold")
    for line in lines:
        name = f"{line['figure']} of {line['class']}" if "class" in line else line["figure"]
        interval = f"{line['low']:.3g} to {line['high']:.3g}" if "low" in line else ""
        floor = next((f"{line[key]:.3g}" for key in ("floor", "share_of_reals") if key in line), "")
        counts = [line.get(f"{kind}_images") for kind in ("generated", "real", "test")]
        images = " to ".join(str(count) for count in counts if count)
        row = (literal(name), f"{line['value']:.5g}", interval, floor, images, literal(line.get("extractor", "")))
        table.add_row(*row)
    return table


def _remarks(lines: list[dict[str, Any]]) -> Iterator[str]:
    """What the columns leave out."""
    for name, resize in {line["extractor"]: line["resize"] for line in lines if "extractor" in line}.items():
        yield f"{name}: images are {resize}"
    for source in dict.fromkeys(line["test_data"] for line in lines if "test_data" in line):
        yield f"tstr, trtr: images of {source} that a classifier of generated images, or of real ones, names rightly"
    shares = {line["class"]: (line["value"], line["share_of_reals"]) for line in lines if "share_of_reals" in line}
    if shares:
        yield "share: of images whose nearest real one is of the class; floor: of real images, each beside the others"
    if missing := [name for name, (share, real) in shares.items() if share < _MISSING * real]:
        yield f"hardly ever made, less than a tenth as often as there are real ones: {', '.join(missing)}"
    halves = dict.fromkeys(line["floor_images"] for line in lines if "floor" in line)
    if halves:
        counts = " or ".join(map(str, halves))
        yield f"floor: between two halves of the real images, {counts} in each"
