"""What a built wheel holds and links: prints what was found, one line a finding, and exits with 1 if there is any.

python scripts/wheel_audit.py dist/fastgan-*.whl
"""

from __future__ import annotations

import io
import json
import re
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

ROOT = Path(__file__).resolve().parent.parent
# What every Linux with glibc and libstdc++ has; libgomp.so.1 is the one that torch brings and has loaded by then.
SYSTEM = {"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "ld-linux-x86-64.so.2"}
SYSTEM |= {"libstdc++.so.6", "libgcc_s.so.1"}
LINKS = {"_native": SYSTEM | {"libtorch.so", "libtorch_cpu.so", "libgomp.so.1"}, "_host": SYSTEM}
# The newest symbol versions that may be asked for: those of Debian 12, on which the checks run.
NEWEST = {"GLIBC": (2, 36), "GLIBCXX": (3, 4, 30), "CXXABI": (1, 3, 13)}


@dataclass(frozen=True)
class Library:
    """What one shared library asks of the machine that loads it.

    Attributes:
        needed: names of the libraries that it is linked with (DT_NEEDED).
        search_path: folders that it looks for them in (DT_RPATH, DT_RUNPATH).
        versions: newest symbol version of each family that it uses: {"GLIBC": (2, 34), ...}.
    """

    needed: frozenset[str]
    search_path: tuple[str, ...]
    versions: dict[str, tuple[int, ...]]


def inspect(data: bytes) -> Library:
    """Reads one ELF file's dynamic section."""
    elf = ELFFile(io.BytesIO(data))
    needed: set[str] = set()
    folders: list[str] = []
    versions: dict[str, tuple[int, ...]] = {}
    for section in elf.iter_sections():
        if isinstance(section, DynamicSection):
            tag: Any  # its class gets the attribute that its kind has when it is made
            for tag in section.iter_tags():
                if tag.entry.d_tag == "DT_NEEDED":
                    needed.add(tag.needed)
                elif tag.entry.d_tag in ("DT_RPATH", "DT_RUNPATH"):
                    folders += (tag.rpath if tag.entry.d_tag == "DT_RPATH" else tag.runpath).split(":")
        elif isinstance(section, GNUVerNeedSection):
            for _, symbols in section.iter_versions():
                for symbol in symbols:
                    family, _, number = symbol.name.partition("_")
                    if re.fullmatch(r"\d+(\.\d+)*", number):
                        version = tuple(map(int, number.split(".")))
                        versions[family] = max(version, versions.get(family, ()))
    return Library(frozenset(needed), tuple(folders), versions)


def library_findings(name: str, data: bytes) -> list[str]:
    """What is wrong with a shared library of the package: its links, its search path, its symbol versions."""
    library = inspect(data)
    allowed = LINKS.get(PurePosixPath(name).name.split(".")[0], set())
    found = [f"{name} links {other}, which it may not" for other in sorted(library.needed - allowed)]
    found += [f"{name} searches {folder}" for folder in library.search_path if not folder.startswith("$ORIGIN")]
    for family, newest in NEWEST.items():
        if (version := library.versions.get(family, ())) > newest:
            found.append(f"{name} needs {family}_{_dotted(version)}, newer than {_dotted(newest)}")
    return found


def wheel_findings(wheel: Path, machine_paths: Iterable[str] = ()) -> list[str]:
    """Everything wrong with a wheel.

    Args:
        wheel: the file.
        machine_paths: beginnings of paths that may stand in none of its files, beside those of this process: the
            sources, the interpreter's environment, the home folder and the folder of temporary files.

    Returns:
        one line a finding.
    """
    paths = {f"{ROOT}/", f"{sys.prefix}/", f"{Path.home()}/", f"{tempfile.gettempdir()}/", *machine_paths}
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    version = wheel.name.split("-")[1]
    tops = {name.split("/")[0] for name in files} - {"fastgan", f"fastgan-{version}.dist-info"}
    found = [f"{name} would stand beside the package in site-packages" for name in sorted(tops)]
    for name in ("fastgan/_build.json", "fastgan/data/assets/emoji64.zip", "fastgan/kernels/__init__.py"):
        if name not in files:
            found.append(f"{name} is missing")
    libraries = {name: data for name, data in files.items() if name.endswith(".so")}
    for name, data in files.items():
        found += [f"{name} holds the path {path}..." for path in sorted(paths) if path.encode() in data]
    for name, data in libraries.items():
        found += library_findings(name, data)
    record = json.loads(files.get("fastgan/_build.json", b"{}"))
    names = {PurePosixPath(name).name.split(".")[0].removeprefix("_") for name in libraries}
    for name in ("native", "host"):
        if record.get(name) is not (name in names):
            found.append(f"_build.json says {name}: {record.get(name)}; the libraries that are there: {sorted(names)}")
    if wheel.name.endswith("-any.whl") is bool(libraries):
        found.append(f"{wheel.name} holds {len(libraries)} libraries, which its name denies")
    return found


def describe(wheel: Path) -> list[str]:
    """One line a library: what it links and the newest symbol versions that it uses."""
    lines = []
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(name for name in archive.namelist() if name.endswith(".so")):
            library = inspect(archive.read(name))
            versions = " ".join(f"{family}_{_dotted(version)}" for family, version in sorted(library.versions.items()))
            lines.append(f"{name}: links {' '.join(sorted(library.needed))}; newest symbols {versions}")
    return lines


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def main(wheels: list[str]) -> int:
    found = []
    for wheel in map(Path, wheels):
        print(wheel.name, *describe(wheel), sep="\n  ")
        found += [f"{wheel.name}: {line}" for line in wheel_findings(wheel)]
    print("\n".join(found) or "nothing to mend")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
