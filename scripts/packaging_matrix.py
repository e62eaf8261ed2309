"""Installs fastgan in every way that is promised to work, and tells in a table how each went.

    python scripts/packaging_matrix.py --out table.md

Each case has its own copy of the sources (what is committed) and its own environment: a new one, into which the
packages that fastgan depends on are hard-linked from one that pip made before. What was installed is then used from
another folder. A case that this machine cannot run is listed with the reason. A compiler cache named by
CMAKE_CXX_COMPILER_LAUNCHER serves here as in any CMake build.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from packaging_place import Bases, NotHere, Place, Wrong, check

BUILD_TOOLS = ("setuptools>=77", "cmake>=3.24", "ninja", "pybind11>=2.12")
LOADED, NOT_BUILT = "loaded", "not built"
# A compiler that CMake accepts and that cannot compile this project.
FAILING_COMPILER = """#!/bin/sh
case "$*" in *csrc*) echo "fatal error: this compiler compiles nothing of ours" >&2; exit 1;; esac
exec c++ "$@"
"""


@dataclass(frozen=True)
class Case:
    """One way to install. `run` raises Wrong or NotHere; the text it returns, if any, stands for "passed"."""

    name: str
    what: str
    run: Callable[[Place], str | None]
    python_version: str = "3.11"


def isolated(place: Place) -> None:
    place.environment()
    place.pip("install", place.sources)
    place.use(LOADED)


def without_isolation(place: Place) -> None:
    place.environment()
    place.pip("install", *BUILD_TOOLS)
    place.pip("install", "--no-build-isolation", place.sources)
    place.use(LOADED)


def editable(place: Place) -> None:
    place.environment()
    before = place.installed()
    place.pip("install", "-e", place.sources)
    place.use(LOADED)
    (place.sources / "csrc/common/isa.cpp").touch()
    place.follow_doctor(place.use("older than its sources", probe=""))
    place.use(LOADED, probe="")
    place.pip("uninstall", "-y", "fastgan")
    check(place.installed() == before, f"left behind: {sorted(place.installed() - before)}")


def make_sdist(place: Place) -> Path:
    place.pip("install", "build")
    place.run(place.python, "-m", "build", "--sdist", "-o", place.folder / "dist", place.sources)
    (place.wheel,) = (place.folder / "dist").glob("fastgan-*.tar.gz")
    shutil.rmtree(place.sources)
    return place.wheel


def sdist(place: Place) -> None:
    place.environment()
    place.pip("install", make_sdist(place))
    place.use(LOADED)


def wheel(place: Place) -> None:
    place.environment()
    built = place.build_wheel()
    shutil.rmtree(place.sources)
    place.environment()
    place.pip("install", built)
    place.use(LOADED)


def torch_later(place: Place, of_sdist: bool) -> None:
    """Nothing is there; pip fetches torch, after it has built fastgan without it. Doctor's advice mends that."""
    place.environment(with_dependencies=False)
    place.pip("install", make_sdist(place) if of_sdist else place.sources)
    place.follow_doctor(place.use(NOT_BUILT, "torch was not installed when fastgan was built"))
    place.use(LOADED)


def no_compiler(place: Place) -> None:
    place.environment()
    tools = place.folder / "tools"
    tools.mkdir()
    for tool in ("sh", "uname", "env"):
        (tools / tool).symlink_to(str(shutil.which(tool)))
    place.path = str(tools)
    place.variables["CMAKE_ARGS"] = "-DCMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF"  # nor from /usr/bin
    place.build_wheel()
    check(str(place.wheel).endswith("-py3-none-any.whl"), f"{place.wheel} is not called pure")
    place.install_wheel()
    place.use(NOT_BUILT, "no C++ compiler was found")


def failing_compiler(place: Place, mode: str) -> None:
    place.environment()
    compiler = place.folder / "failing-c++"
    compiler.write_text(FAILING_COMPILER)
    compiler.chmod(0o755)
    place.variables |= {"CXX": str(compiler), "FASTGAN_BUILD": mode}
    if mode == "cpu":
        told = place.pip("install", place.sources, fails=True)
        line = "FASTGAN_BUILD=cpu: the compiler failed: fatal error: this compiler compiles nothing of ours"
        check(line in told, f"pip's output lacks {line!r}")
    else:
        place.build_wheel()
        place.install_wheel()
        place.use(NOT_BUILT, "the compiler failed: fatal error: this compiler compiles nothing of ours")


def none(place: Place) -> None:
    place.environment()
    place.variables["FASTGAN_BUILD"] = "none"
    place.build_wheel()
    check(str(place.wheel).endswith("-py3-none-any.whl"), f"{place.wheel} is not called pure")
    place.install_wheel()
    place.use(NOT_BUILT, "FASTGAN_BUILD=none")


def uninstall(place: Place) -> None:
    place.environment()
    before = place.installed()
    place.pip("install", place.sources)
    place.use(LOADED)
    place.pip("uninstall", "-y", "fastgan")
    check(place.installed() == before, f"left behind: {sorted(place.installed() - before)}")


def upgrade(place: Place) -> None:
    """An older version, with a module that the newer one lacks, built in the same folder; then the newer one."""
    place.environment()
    metadata, gone = place.sources / "pyproject.toml", place.sources / "fastgan/gone.py"
    text = metadata.read_text()
    metadata.write_text(re.sub(r'^version = ".*"', 'version = "0.0.1"', text, flags=re.MULTILINE))
    gone.write_text("")
    place.pip("install", place.sources)
    place.run(place.python, "-c", "import fastgan.gone")
    metadata.write_text(text)
    gone.unlink()
    told = place.pip("install", place.sources)
    check("Uninstalling fastgan-0.0.1" in told, "pip did not uninstall 0.0.1")
    place.run(place.python, "-c", "import fastgan.gone", fails=True)
    check(place.use(LOADED)["versions"]["fastgan"] != "0.0.1", "the metadata is still that of 0.0.1")


def other_python(place: Place) -> str | None:
    """All of it where torch can be had for this Python; else what can be done without torch."""
    if place.python_version in place.bases.given:
        place.environment()
        place.build_wheel()
        place.install_wheel()
        place.use(LOADED)
        return None
    headers = place.bases.site_packages("3.11") / "torch"
    place.environment(with_dependencies=False)
    place.variables["CMAKE_ARGS"] = f"-DFASTGAN_TORCH_DIR={headers}"
    place.build_wheel()
    place.install_wheel("--no-deps")
    place.run(place.python, "-m", "compileall", "-q", "-f", place.site_packages / "fastgan")
    place.run(place.python, "-c", "import fastgan, fastgan._host; fastgan._host.assemble_batch")
    place.run(place.python.parent / "fastgan", "--version")
    told = place.run(place.python.parent / "fastgan", "doctor", fails=True)
    check(told.startswith("fastgan: error: the library torch is not installed"), f"doctor said {told!r}")
    code = "from importlib.metadata import metadata as m; print(*m('fastgan').get_all('Requires-Dist'), sep='\\n')"
    check("torch>=2.11" in place.run(place.python, "-c", code).split(), "the metadata does not require torch")
    return "built, installed, byte-compiled, data loader imported; torch not had here, operators not run"


def other_torch(place: Place) -> None:
    """The stable ABI's promise: built beside one torch, used beside another build of it, of another Python."""
    if place.python_version not in place.bases.given:
        raise NotHere(f"no --torch-env of Python {place.python_version}")
    place.environment()
    place.variables["CMAKE_ARGS"] = f"-DFASTGAN_TORCH_DIR={place.bases.site_packages('3.11') / 'torch'}"
    place.build_wheel()
    place.install_wheel()
    found = place.use(LOADED)
    check(found["native"]["build"]["torch"] != found["versions"]["torch"], "it was built beside the same torch")


CASES = (
    Case("isolated", "`pip install .`", isolated),
    Case("without-isolation", "`pip install --no-build-isolation .`, build tools installed before", without_isolation),
    Case("editable", "`pip install -e .`; a source changed, doctor's advice followed; uninstalled", editable),
    Case("sdist", "`python -m build --sdist`, then `pip install fastgan-*.tar.gz`", sdist),
    Case("wheel", "`pip wheel .`, sources removed, `pip install fastgan-*.whl` in a new environment", wheel),
    Case(
        "torch-later", "`pip install .` without torch; doctor's advice followed", partial(torch_later, of_sdist=False)
    ),
    Case("torch-later-sdist", "the same from an sdist, which pip caches", partial(torch_later, of_sdist=True)),
    Case("no-compiler", "`pip wheel .` with no C++ compiler to be found", no_compiler),
    Case("failing-compiler", "`pip wheel .` with a compiler that fails", partial(failing_compiler, mode="auto")),
    Case("failing-compiler-cpu", "`FASTGAN_BUILD=cpu pip install .` with it", partial(failing_compiler, mode="cpu")),
    Case("none", "`FASTGAN_BUILD=none pip wheel .`", none),
    Case("uninstall", "`pip uninstall fastgan` leaves nothing", uninstall),
    Case("upgrade", "`pip install .` over an older version, built in the same folder", upgrade),
    *(Case(f"python-{v}", f"`pip wheel .` with Python {v}", other_python, v) for v in ("3.10", "3.12", "3.13")),
    Case("other-torch", "Python 3.12, native library built with the headers of 3.11's torch", other_torch, "3.12"),
)


@dataclass(frozen=True)
class Result:
    case: Case
    outcome: str
    word: str
    seconds: float
    wheel: Path | None

    def row(self) -> str:
        wheel = f"{self.wheel.name}, {self.wheel.stat().st_size / 2**20:.2f} MiB" if self.wheel else ""
        cells = (self.case.name, self.case.what, self.outcome, self.word, f"{self.seconds:.0f}", wheel)
        return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def run_case(case: Case, work: Path, bases: Bases) -> Result:
    started, place = time.monotonic(), Place(work / case.name, bases, case.python_version)
    try:
        outcome = case.run(place) or "passed"
    except NotHere as reason:
        outcome = f"not run: {reason}"
    except Wrong as wrong:
        outcome = f"**failed**: {wrong}"
    result = Result(case, outcome, place.word, time.monotonic() - started, place.wheel)
    shutil.rmtree(place.folder / "env", ignore_errors=True)
    return result


def machine() -> Iterator[str]:
    """Lines that describe what the cases ran on."""
    release = dict(re.findall(r'^(\w+)="?(.*?)"?$', Path("/etc/os-release").read_text(), re.MULTILINE))
    yield f"{release.get('PRETTY_NAME', 'Linux')}, {platform.machine()}, {' '.join(platform.libc_ver())}"
    for tool in ("c++", "cmake"):
        told = subprocess.run([tool, "--version"], capture_output=True, text=True) if shutil.which(tool) else None
        yield told.stdout.splitlines()[0] if told else f"no {tool} outside the builds' own environments"
    yield f"{len(os.sched_getaffinity(0))} core of {platform.machine()} for all of it" + (
        ", compiler cache on" if "CMAKE_CXX_COMPILER_LAUNCHER" in os.environ else ""
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="CASE", action="append", help="run this case; may be given several times")
    parser.add_argument("--out", metavar="FILE", type=Path, help="write the table there too")
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    parser.add_argument("--work", metavar="FOLDER", type=Path, help="kept, with logs; default: a temporary folder")
    parser.add_argument(
        "--torch-env",
        metavar="FOLDER",
        type=Path,
        action="append",
        default=[],
        help="an environment of another Python in which torch and fastgan's other requirements are installed",
    )
    options = parser.parse_args()
    if unknown := set(options.only or ()) - {case.name for case in CASES}:
        parser.error(f"--only must name a case of --list, got {', '.join(sorted(unknown))}")
    by_name = {case.name: case for case in CASES}
    chosen = [by_name[name] for name in options.only or by_name]
    if options.list:
        print("\n".join(f"{case.name:22}{case.what}" for case in chosen))
        return 0
    given = {
        path.parent.name.removeprefix("python"): path.parents[2]
        for each in options.torch_env
        for path in each.absolute().glob("lib/python*/site-packages")
    }
    with tempfile.TemporaryDirectory() as temporary:
        work = (options.work or Path(temporary)).absolute()
        bases = Bases(work, given)
        lines = [*(f"- {line}" for line in machine()), ""]
        lines += ["| case | what was done | outcome | doctor | seconds | wheel |", "|---|---|---|---|---|---|"]
        print("\n".join(lines), flush=True)
        results = []
        for case in chosen:
            results.append(run_case(case, work, bases))
            lines.append(results[-1].row())
            print(lines[-1], flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")
    return 1 if any("failed" in result.outcome for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
