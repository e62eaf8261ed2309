"""The report of a run: one HTML file that needs nothing beside it."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from fastgan.checkpoint import replacing
from fastgan.config.fields import is_finite
from fastgan.report.curves import charts, gaps
from fastgan.report.diagnosis import diagnosis
from fastgan.report.measured import NEAREST, rows
from fastgan.report.pictures import choose, data_uri, grid_files
from fastgan.report.progress import flatten, format_duration
from fastgan.report.stats import finite, read_stats

_GRIDS = 60
_PATIENCE = 600.0  # seconds of silence, at least, after which a run is no longer called running
T = TypeVar("T")


def write_report(outdir: str | Path, out: str | Path | None = None) -> Path:
    """out <- one self-contained HTML page of the run in `outdir`: curves, grids through time, configuration.

    Any run will do: going on, finished or killed. What is missing or unreadable leaves its section empty, with a note.

    Args:
        outdir: the folder of a run.
        out: the file, replaced whole; None for report.html in the folder. Its folder must exist.

    Returns:
        the file written.

    Raises:
        ValueError: the folder is none, or holds no run.
        OSError: the file could not be written.

    Example:
        >>> write_report("runs/demo")  # doctest: +SKIP
        PosixPath('runs/demo/report.html')
    """
    outdir = Path(outdir)
    if not outdir.is_dir():
        raise ValueError(f"{outdir} is no folder; expected a run's, as `fastgan train --outdir` makes it")
    if not any((outdir / name).exists() for name in ("config.json", "stats.jsonl")):
        raise ValueError(
            f"{outdir} holds no run: it has neither config.json nor stats.jsonl; "
            "expected the --outdir of a `fastgan train`"
        )
    out = outdir / "report.html" if out is None else Path(out)
    page = collect(outdir)
    # Within <script>, "<" could end the element; escaped it is the same string to JSON.
    data = json.dumps(finite(page), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    template = resources.files("fastgan.report").joinpath("page.html").read_text(encoding="utf-8")
    head, _, rest = template.partition("@TITLE@")
    body, _, tail = rest.partition("@DATA@")
    with replacing(out) as partial:
        text = "".join([head, html.escape(f"{page['title']} · fastgan"), body, data, tail])
        partial.write_bytes(text.encode("utf-8", "replace"))
    return out


def collect(outdir: Path) -> dict[str, Any]:
    """All that the page shows, as JSON values."""
    notes: list[str] = []

    def attempt(read: Callable[[], T], default: T, missing: str) -> T:
        try:
            return read()
        except FileNotFoundError:
            notes.append(missing)
        except (OSError, ValueError) as error:
            notes.append(str(error))
        return default

    config = attempt(lambda: _json(outdir / "config.json"), {}, "config.json is missing")
    journal = attempt(
        lambda: _json(outdir / "run.json"), {}, "run.json is missing: environment and warnings are not known"
    )
    records = attempt(lambda: read_stats(outdir / "stats.jsonl"), [], "stats.jsonl is missing: there are no figures")
    files = grid_files(outdir)
    kept = choose([images for images, _ in files], _GRIDS)
    grids = [
        (files[i][0] / 1000, attempt(lambda i=i: data_uri(files[i][1]), "", f"{files[i][1].name} is gone"))
        for i in kept
    ]
    reals = attempt(lambda: data_uri(outdir / "reals.png"), "", "reals.png is missing")
    training = _section(config, "training")
    floors = {name: value for name, value in _section(journal, "floors").items() if _number(value) is not None}
    return {
        "title": outdir.resolve().name,
        "subtitle": _subtitle(config),
        **_state(outdir, training, journal, records),
        "tiles": _tiles(records, training, floors),
        "charts": charts(records, floors),
        "grids": [(kimg, uri) for kimg, uri in grids if uri],
        "grids_of": len(files),
        "captions": list(map(str, _list(journal.get("captions")))),
        "reals": reals,
        "measured": attempt(lambda: rows(outdir), [], ""),
        "nearest": attempt(lambda: data_uri(outdir / NEAREST), "", "") if (outdir / NEAREST).exists() else "",
        "config": {
            "environment": _section(journal, "environment"),
            **{name: config[name] for name in sorted(config, key=_order) if isinstance(config[name], dict)},
            **_lineage(config),
        },
        "warnings": [*map(str, _list(journal.get("warnings"))), *_findings(records)],
        "notes": [*map(str, _list(journal.get("notes"))), *notes],
    }


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.name} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} cannot be read: expected a JSON object")
    return value


def _section(tree: Mapping[str, Any], name: str) -> dict[str, Any]:
    part = tree.get(name)
    return part if isinstance(part, dict) else {}


def _lineage(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The section on the run that this one began with, each change and each network a row."""
    sections = {}
    for name in ("branched_from", "transferred_from"):
        if record := _section(config, name):
            pairs = _section(record, "changes").items()
            rows = {each: f"{pair[0]} → {pair[1]}" for each, pair in pairs if isinstance(pair, list) and len(pair) == 2}
            titles = {part: "" for part in ("changes", "kept") if part in record}
            sections[name] = {**record, **titles} | rows | _section(record, "kept")
    return sections


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _order(name: str) -> int:
    """Short sections first: the page sets them in columns."""
    return ("data", "architecture", "training").index(name) if name in ("data", "architecture", "training") else 3


def _number(value: Any) -> float | None:
    """value if it is a finite number."""
    return float(value) if is_finite(value) else None


def _subtitle(config: Mapping[str, Any]) -> str:
    data, resolution = _section(config, "data"), _section(config, "architecture").get("resolution")
    parts = [str(config.get("model", "")), str(data.get("source", ""))]
    if isinstance(resolution, list) and len(resolution) == 2:
        parts.append(f"{resolution[1]}×{resolution[0]}")
    return " · ".join(part for part in parts if part)


def _state(
    outdir: Path, training: Mapping[str, Any], journal: Mapping[str, Any], records: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """How far the run is, when it was last heard of, and when its next snapshot is due (seconds)."""
    kimg = _number(records[-1]["kimg"]) if records else 0.0
    total = _number(training.get("kimg"))
    state = journal.get("state", "running")
    if total is not None and (kimg or 0) >= total:
        state = "finished"
    stats = outdir / "stats.jsonl"
    heard = max(_number(journal.get("written")) or 0.0, stats.stat().st_mtime if stats.exists() else 0.0)
    pace = _number(records[-1].get("seconds_per_kimg")) if records else None
    between = (pace or 0.0) * (_number(training.get("tick")) or 0.0) * (_number(training.get("snap")) or 0.0)
    return {
        "state": state if state in ("running", "finished", "stopped") else "running",
        "kimg": kimg,
        "total": total,
        "begun": _number(journal.get("begun")),
        "heard": heard,
        "patience": max(_PATIENCE, 3 * between),
        "reload": min(max(between / 2, 15.0), 300.0),
    }


def _tiles(
    records: Sequence[Mapping[str, Any]], training: Mapping[str, Any], floors: Mapping[str, float]
) -> list[tuple[str, str, str]]:
    """(label, figure, remark) of what is looked at first."""
    if not records:
        return []
    last, tiles = records[-1], []
    for name in map(str, _list(training.get("metrics"))):
        known = [(value, r["kimg"]) for r in records if (value := _number(r.get(f"metric/{name}"))) is not None]
        if known:
            began = "from {:.4g} at {:g} kimg".format(*known[0])
            floor = f", floor {floors[name]:.4g}" if name in floors else ""
            tiles.append((name, f"{known[-1][0]:.4g}", began + floor))
    real, fake = (_number(last.get(f"score/{kind}")) for kind in ("real", "fake"))
    if real is not None and fake is not None:
        tiles.append(("D(real), D(fake)", f"{real:+.2f}, {fake:+.2f}".replace("-", "−"), "mean logits"))
    speed, pace = _number(last.get("images_per_second")), _number(last.get("seconds_per_kimg"))
    if speed is not None and pace is not None:
        tiles.append(("speed", f"{speed:.1f} img/s", f"{pace:.3g} s per kimg"))
        spent, before = 0.0, 0.0
        for record in records:
            spent += (_number(record.get("seconds_per_kimg")) or pace) * (record["kimg"] - before)
            before = record["kimg"]
        left = ((_number(training.get("kimg")) or before) - before) * pace
        tiles.append(("time in steps", format_duration(spent), f"{format_duration(left)} left" if left > 0 else ""))
    if (memory := _number(last.get("memory_gib"))) is not None:
        tiles.append(("memory", f"{memory:.2f} GiB", "peak"))
    return tiles


def _findings(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Warnings that the figures themselves give."""
    skipped = {
        name.removeprefix("skipped/"): n for r in records for name, n in r.items() if name.startswith("skipped/")
    }
    found = [f"{n:g} updates of {name} were skipped: their gradients were not finite" for name, n in skipped.items()]
    others: dict[str, float] = {}
    for name, value in (each for record in records for each in flatten(record)):
        if name.startswith("nonfinite/"):
            others[name] = others.get(name, 0.0) + (_number(value) or 0.0)
    found += [f"{n:g} values of {name.removeprefix('nonfinite/')} were not finite" for name, n in others.items()]
    if rollbacks := max((_number(r.get("rollbacks")) or 0 for r in records), default=0):
        found.append(f"training went back to an earlier checkpoint {rollbacks:g} time{'s' if rollbacks > 1 else ''}")
    found += [finding.sentence for finding in diagnosis(records)]
    return found + [f"{name} was not finite, first at {kimg:g} kimg" for name, kimg in gaps(records).items()]
