"""Bugs planted into copies of the CUDA sources, whose C++ tests then run under the shim."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass

from tests.native.building import ROOT, build, locked


@dataclass(frozen=True)
class Plant:
    """One bug.

    Attributes:
        source: file of csrc.
        snippet: what stands there, once.
        bug: what stands there instead.
        caught: a pattern in what the test prints.
        sanitizer: "address" where only it sees the bug, else "".
        test: the C++ test, if it is not called after the source's folder.
    """

    source: str
    snippet: str
    bug: str
    caught: str
    sanitizer: str = ""
    test: str = ""


def altered(text: str, snippet: str, bug: str) -> str:
    """The text with the bug in place of the snippet, which must stand there once."""
    assert text.count(snippet) == 1, f"the source has moved: {text.count(snippet)} times, not once: {snippet!r}"
    return text.replace(snippet, bug)


def run_cpp_test(op: str, sanitizer: str, plant: Plant | None = None) -> subprocess.CompletedProcess[str]:
    """Run test_<op> on the kernels with the bug, or as they are. One build folder a sanitizer; ninja does the rest."""
    folder = ROOT / "build" / f"planted-{sanitizer or 'plain'}"
    with locked(folder / ".planting"):
        for source in filter(os.path.isfile, (ROOT / "csrc").rglob("*")):
            name = source.relative_to(ROOT / "csrc").as_posix()
            text = source.read_text()
            if plant is not None and name == plant.source:
                text = altered(text, plant.snippet, plant.bug)
            copy = folder / "csrc" / name
            if not copy.exists() or copy.read_text() != text:  # also ends the plant before: its file becomes newer
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_text(text)
        # What soon fails is not worth optimising, and neither is the test itself.
        options = [f"-DFASTGAN_PLANTED={folder / 'csrc'}", f"-DFASTGAN_PLANTED_OPTIMISE={'-O0' if plant else '-O1'}"]
        options += [f"-DFASTGAN_SANITIZE={sanitizer}", "-DFASTGAN_TESTS=ON", "-DCMAKE_CXX_FLAGS_RELEASE=-O0"]
        build(folder, f"test_{op}", *options)
        return subprocess.run(
            [folder / "tests/native" / f"test_{op}"],
            env=os.environ | {"ASAN_OPTIONS": "detect_stack_use_after_return=0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
