"""`fastgan doctor`: what works on this machine, and why the rest does not."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
import sys
import zipfile
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fastgan.cli import devices, installation
from fastgan.cli.options.doctor import DoctorOptions
from fastgan.data.opening import PACKAGED
from fastgan.ops import native, provider, providers, verdicts
from fastgan.ops.operator import OPERATORS

# Vector extensions worth naming, of those the processor lists.
_VECTOR = ("sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512_bf16", "avx512_fp16", "amx_tile", "asimd", "sve")
_VARIABLES = ("FASTGAN_BUILD", "CMAKE_ARGS", "CXX", "FASTGAN_PROVIDER", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")


@dataclass
class Diagnosis:
    """What was found.

    Attributes:
        versions: of what runs.
        machine: processor, memory, threads, devices, compiler.
        native: state of the compiled operators: {"state": a word, "reason": str or None, "remedy": str or None, ...}.
        host: state of the compiled data loader, likewise.
        operators: which provider serves which operator, device and dtype.
        data: the packaged images.
        calibration: of the device that serves: its file, state (a sentence), and who lost a place.
        libraries: what fastgan can use, required or not.
        environment: variables that change what fastgan does.
        notes: what is not broken and could be better, with what to do about it.
        problems: what is broken, with what to do about it; empty on a healthy machine.
    """

    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    native: dict[str, Any] = field(default_factory=dict)
    host: dict[str, Any] = field(default_factory=dict)
    operators: list[dict[str, Any]] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)
    libraries: list[dict[str, Any]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def run(options: DoctorOptions) -> int:
    """Looks at everything and prints it.

    Args:
        options: the command line.

    Returns:
        0 if nothing is broken, else 1. What was left out at installation is not broken.
    """
    found = diagnose()
    if options.json:
        print(json.dumps({"healthy": not found.problems, **dataclasses.asdict(found)}, indent=2))
    else:
        _show(found, Console(highlight=False))
    return 1 if found.problems else 0


def diagnose() -> Diagnosis:
    """Everything that `fastgan doctor` shows.

    Returns:
        the findings; nothing on the machine is changed.
    """
    found = Diagnosis(versions=_versions(), machine=_machine())
    found.environment = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    found.native, found.host = installation.native_state(), installation.host_state()
    provider_problem, provider_note = installation.provider_findings(found.native)
    torch_problem, torch_note = installation.torch_findings()
    found.problems += [text for text in (torch_problem, provider_problem) if text]
    found.notes += [text for text in (torch_note, provider_note) if text]
    _add_library("native library", found.native, found)
    _add_library("data loader's library", found.host, found)
    if not provider_problem:
        found.operators = [dataclasses.asdict(row) for row in providers.report()]
        _try_operators(found.problems)
    found.data = _data(found.problems)
    found.calibration = _calibration()
    found.libraries = _libraries(found.problems)
    return found


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _versions() -> dict[str, str]:
    return {
        "fastgan": _version("fastgan") or "not installed",
        "torch": torch.__version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": " ".join([platform.system(), platform.release(), platform.machine(), *platform.libc_ver()]).strip(),
    }


def _cpu() -> tuple[str, list[str]]:
    """Name and vector extensions of the processor."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine(), []
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    listed = set(flags[1].split()) if flags else set()
    return name[1] if name else platform.machine(), [flag for flag in _VECTOR if flag in listed]


def _cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _machine() -> dict[str, Any]:
    name, extensions = _cpu()
    found, why = devices.cuda_devices()
    return {
        "cpu": name,
        "vector_extensions": extensions,
        "cores": _cores(),
        "torch_threads": torch.get_num_threads(),
        "cuda_devices": found,
        "cuda_images": [devices.image_in_words(gpu) for gpu in found] if native.info.get("cuda") else [],
        "cuda_kernels": devices.kernels_in_words(),
        "no_cuda_because": why,
        "compiler": installation.compiler(),
    }


def _add_library(name: str, library: dict[str, Any], found: Diagnosis) -> None:
    """Enters a compiled library that is not just loaded: as broken if it is there and does not load, else as a note."""
    if library["reason"]:
        what = library["reason"] if name in library["reason"] else f"the {name}: {library['reason']}"
        listed = found.problems if library["state"] == "does not load" else found.notes
        listed.append(f"{what}; to mend that: {library['remedy']}")


def _try_operators(problems: list[str]) -> None:
    """Runs each operator once with what serves by default, beside the reference."""
    for name, operator in OPERATORS.items():
        try:
            got = operator.example()
            with provider("reference"):
                expected = operator.example()
        except (RuntimeError, ValueError) as error:
            problems.append(f"{name} fails on the CPU: {error}")
            continue
        if not torch.allclose(got, expected, atol=1e-5):
            worst = float((got - expected).abs().max())
            problems.append(f"{name} on the CPU differs from its reference by {worst:.3g}: do not train with it")


def _data(problems: list[str]) -> dict[str, Any]:
    asset = PACKAGED["emoji64"]
    state = {"emoji64": str(asset), "images": 0, "reason": None}
    try:
        with zipfile.ZipFile(asset) as archive:
            state["images"] = sum(name.endswith((".webp", ".png")) for name in archive.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        state["reason"] = f"{asset} cannot be read: {error}"
        problems.append(f"the packaged images are missing: {state['reason']}; reinstall fastgan")
    return state


def _calibration() -> dict[str, Any]:
    """What `fastgan calibrate` found of the device that a training would take."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    known = verdicts.table(device)
    found = {"file": str(verdicts.path()), "device": device.type}
    if known is None:
        return {**found, "state": verdicts.why_none(device), "lost": []}
    record = known.record
    left = f", {record.left} steps left out" if record.left else ""
    state = f"{len(record.verdicts)} calls compared on {record.date}{left}"
    return {**found, "state": state, "lost": [dataclasses.asdict(loss) for loss in record.losses]}


def _libraries(problems: list[str]) -> list[dict[str, Any]]:
    """Every library that fastgan's metadata names, with what is installed of it."""
    try:
        requirements = metadata.requires("fastgan") or []
    except metadata.PackageNotFoundError:
        return []
    rows = []
    for line in requirements:
        name = re.match(r"[A-Za-z0-9._-]+", line)
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", line)
        if name is None:
            continue
        wanted = line.split(";")[0].strip()
        row = {"name": wanted, "extra": extra[1] if extra else None, "installed": _version(name[0])}
        rows.append(row)
        if row["extra"] is None and row["installed"] is None:
            problems.append(f"the library {wanted} is required and not installed: pip install '{wanted}'")
    return rows


def _show(found: Diagnosis, console: Console) -> None:
    console.print(_facts(found))
    console.print()
    table, reasons = _operators(found.operators)
    console.print(table)
    for number, reason in enumerate(reasons, start=1):
        console.print(Text(f"[{number}] {reason}"), soft_wrap=True)
    console.print()
    missing: dict[str, list[str]] = {}
    for row in found.libraries:
        if row["installed"] is None:
            missing.setdefault(row["extra"] or "required", []).append(row["name"])
    for extra, names in missing.items():
        console.print(Text(f"not installed, extra {extra!r}: {', '.join(names)}", style="dim"), soft_wrap=True)
    if not found.native["loaded"]:
        note = "slower than it could be: the compiled operators are missing, the pure-torch references do their work"
        console.print(Text(note, style="yellow"), soft_wrap=True)
    for note in found.notes:
        console.print(Text.assemble(("note: ", "bold yellow"), note), soft_wrap=True)
    if found.problems:
        for problem in found.problems:
            console.print(Text.assemble(("broken: ", "bold red"), problem), soft_wrap=True)
    else:
        console.print(Text("nothing is broken", style="bold green"))


def _facts(found: Diagnosis) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")

    def add(label: str, text: str) -> None:
        table.add_row(label, Text(text))

    for label, text in found.versions.items():
        add(label, text)
    machine = found.machine
    extensions = " ".join(machine["vector_extensions"]) or "no vector extensions known"
    add(
        "cpu",
        f"{machine['cpu']}, {machine['cores']} cores, torch uses {machine['torch_threads']} threads; {extensions}",
    )
    for gpu in machine["cuda_devices"]:
        add("cuda", devices.in_words(gpu))
    if machine["no_cuda_because"]:
        add("cuda", f"not used: {machine['no_cuda_because']}")
    info = ", ".join(f"{key} {value}" for key, value in found.native.get("info", {}).items())
    for label, library in (("native library", found.native), ("data loader", found.host)):
        add(label, f"{library['state']} ({info})" if library is found.native and info else library["state"])
    for text in machine["cuda_images"]:
        add("cuda image", text)
    if found.native.get("info", {}).get("cuda"):
        add("cuda kernels", machine["cuda_kernels"])
    add("c++ compiler", machine["compiler"] or "none found")
    add("calibration", f"{found.calibration['device']}: {found.calibration['state']}")
    for loss in found.calibration["lost"]:
        add("", f"{loss['form']} of {loss['subject']} serves no {loss['dtype']}: {loss['reason']}")
    add("emoji64", found.data["reason"] or f"{found.data['images']} images")
    for name, value in found.environment.items():
        add(name, value)
    return table


def _operators(rows: list[dict[str, Any]]) -> tuple[Table, list[str]]:
    """One line an operator, device and provider, with the dtypes it serves; and the reasons that the lines number."""
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    for name in ("operator", "device", "provider", "serves", "default for", "why not"):
        table.add_column(name)
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["op"], row["device"], row["provider"]), []).append(row)
    reasons: list[str] = []
    for (op, device, name), group in groups.items():
        own = list(dict.fromkeys(row["reason"] for row in group if row["reason"]))
        reasons += [reason for reason in own if reason not in reasons]
        serves = _dtypes([row["dtype"] for row in group if row["serves"]], len(group))
        default = _dtypes([row["dtype"] for row in group if row["default"]], len(group))
        marks = " ".join(f"[{reasons.index(reason) + 1}]" for reason in own)
        table.add_row(op, device, name, serves, default, Text(marks))
    return table, reasons


def _dtypes(some: list[str], every: int) -> str:
    return "all" if len(some) == every else " ".join(some) or "-"
