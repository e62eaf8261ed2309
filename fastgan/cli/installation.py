"""How fastgan was installed: the state of what was compiled, of torch beside it, and what to do about each."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import torch

from fastgan.ops import native, providers

PACKAGE = Path(__file__).resolve().parent.parent
OLDEST_TORCH = (2, 11)  # the first with the interface that the operators use
VERIFIED_TORCH = (2, 13)  # what the tests run against
_COMPILERS = ("c++", "g++", "clang++")


def torch_version() -> tuple[int, ...]:
    """Major and minor version of the torch that is running."""
    return tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])


def reinstall() -> str:
    """The command that builds this copy again, by this Python's pip and without its cache of what was built before."""
    pip = f"{shlex.quote(sys.executable)} -m pip install"
    if _is_checkout():
        return f"{pip} -e {shlex.quote(str(PACKAGE.parent))}"
    try:
        told = metadata.distribution("fastgan").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        told = None
    url = json.loads(told)["url"] if told else ""
    path = unquote(urlparse(url).path) if url.startswith("file:") else url
    if not path or path.endswith(".whl"):
        path = "FOLDER_OF_THE_SOURCES"
    return f"{pip} --no-cache-dir --force-reinstall --no-deps {shlex.quote(path)}"


def compiler() -> str | None:
    """Where the C++ compiler is that a build would take, None if there is none."""
    named = os.environ.get("CXX", "").split()
    return next(filter(None, map(shutil.which, named[:1] or _COMPILERS)), None)


def native_state() -> dict[str, Any]:
    """The compiled operators.

    Returns:
        {"state": "loaded", "older than its sources", "does not load" or "not built"; "loaded": bool; "reason": why,
        if it is not just loaded; "remedy": what to do then; "build": the build's record; "info": the library's}.
    """
    state, reason, remedy = "loaded", native.unavailable, None
    record = native.build_record()
    if reason is None:
        if changed := _changed_source():
            state, reason = "older than its sources", f"{changed} was changed after the native library was built"
            remedy = reinstall()
    elif (PACKAGE / "_native.so").exists():
        state, remedy = "does not load", loading_remedy(reason)
    else:
        state, remedy = "not built", reinstall()
        # A reason about the torch of that time is settled by the torch of now.
        if record.get("remedy") and not str(record["reason"]).startswith("torch "):
            remedy = f"{record['remedy']}; then: {remedy}"
    found = {"state": state, "loaded": native.unavailable is None, "reason": reason, "remedy": remedy}
    return {**found, "build": record, "info": native.info}


def host_state() -> dict[str, Any]:
    """The compiled data loader.

    Returns:
        {"state": "loaded", "does not load" or "not built"; "loaded": bool; "reason"; "remedy"}.
    """
    present = sorted(path.name for path in PACKAGE.glob("_host*.so"))
    try:
        importlib.import_module("fastgan._host")
        return {"state": "loaded", "loaded": True, "reason": None, "remedy": None}
    except ImportError as error:
        if not present:
            reason = "it was not built; torch does its work"
            return {"state": "not built", "loaded": False, "reason": reason, "remedy": reinstall()}
        missing = isinstance(error, ModuleNotFoundError)
        reason = f"{', '.join(present)} was built for another Python" if missing else str(error)
        return {"state": "does not load", "loaded": False, "reason": reason, "remedy": reinstall()}


def torch_findings() -> tuple[str | None, str | None]:
    """What is broken, and what is worth a note, about the version of torch."""
    name, verified = torch.__version__, ".".join(map(str, VERIFIED_TORCH))
    if torch_version() < OLDEST_TORCH:
        oldest = ".".join(map(str, OLDEST_TORCH))
        return f"torch {name} is older than {oldest}, which fastgan needs: pip install 'torch>={oldest}'", None
    if torch_version() != VERIFIED_TORCH:
        relation = "newer" if torch_version() > VERIFIED_TORCH else "older"
        note = f"torch {name} is {relation} than {verified}, against which fastgan is tested, and is expected to work"
        return None, f"{note}; if it does not: pip install 'torch=={verified}.*'"
    return None, None


def provider_findings(library: dict[str, Any]) -> tuple[str | None, str | None]:
    """What is broken, and what is worth a note, about FASTGAN_PROVIDER.

    Args:
        library: what `native_state` found.
    """
    forced = os.environ.get("FASTGAN_PROVIDER")
    if not forced:
        return None, None
    if forced not in providers.NAMES:
        return f"FASTGAN_PROVIDER must be one of {', '.join(providers.NAMES)}; got {forced!r}: unset it", None
    if forced == "native" and not library["loaded"]:
        wanted = f"FASTGAN_PROVIDER=native, and {library['reason']}: every operator raises"
        return f"{wanted}; unset FASTGAN_PROVIDER, or: {library['remedy']}", None
    return None, f"FASTGAN_PROVIDER={forced} chooses for every operator; unset it to have the defaults back"


def loading_remedy(reason: str) -> str:
    """What to do about a message of the dynamic linker, which could not load the native library."""
    if torch_version() < OLDEST_TORCH:
        return f"pip install 'torch>={'.'.join(map(str, OLDEST_TORCH))}'"
    if re.search(r"version `(GLIBC|GLIBCXX|CXXABI)_", reason):
        return f"it was built on a newer system; build it on this one: {reinstall()}"
    if "undefined symbol" in reason:
        return f"it was built for another torch; build it for this one: {reinstall()}"
    return f"build it again: {reinstall()}"


def _is_checkout() -> bool:
    return (PACKAGE.parent / "setup.py").is_file() and (PACKAGE.parent / "csrc").is_dir()


def _changed_source() -> str | None:
    """The newest source of the native library that is newer than the last build; None where there are no sources."""
    record = PACKAGE / "_build.json"
    if not _is_checkout() or not record.exists():
        return None
    root = PACKAGE.parent
    sources = [root / "CMakeLists.txt", *(path for path in root.glob("csrc/**/*") if path.is_file())]
    newest = max(sources, key=lambda path: path.stat().st_mtime)
    return str(newest.relative_to(root)) if newest.stat().st_mtime > record.stat().st_mtime else None
