"""Loads the compiled library `_native.so` and remembers why it could not be loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from fastgan.ops.registration import LIBRARY

PACKAGE = Path(__file__).resolve().parent.parent


def build_record() -> dict:
    """What the build wrote about itself (`_build.json`), empty if this copy was never built."""
    path = PACKAGE / "_build.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _load() -> str | None:
    library = PACKAGE / "_native.so"
    if not library.exists():
        reason = build_record().get("reason")
        return f"the native library was not built: {reason or 'this copy was never installed (pip install .)'}"
    try:
        torch.ops.load_library(str(library))
    except OSError as error:  # another torch, another machine
        # torch names the file; what is wrong with it is in the linker's own message.
        return f"the native library does not load: {error.__cause__ or error}"
    return None


unavailable = _load()  # None when the library is loaded, else the reason


def _ask(name: str) -> str:
    return getattr(torch.ops.fastgan, name)() if unavailable is None else ""


LIBRARY.define("native_info() -> str")
LIBRARY.define("cuda_kernel_resources() -> str")

info: dict = json.loads(_ask("native_info") or "{}")  # version, instruction set and compiler of the loaded library


def kernel_resources() -> list[dict[str, Any]]:
    """What each CUDA kernel of the library takes of the current GPU: name, registers, static_shared_bytes (each launch
    adds its own), local_bytes (spills and arrays), max_threads (a block).

    Raises:
        RuntimeError: why that cannot be told: no library, no CUDA in it, no driver, no GPU.
    """
    found = json.loads(_ask("cuda_kernel_resources") or json.dumps({"reason": unavailable}))
    if isinstance(found, dict):
        raise RuntimeError(found["reason"])
    return found
