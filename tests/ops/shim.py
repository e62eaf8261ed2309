"""Provider "shim": the CUDA kernels on CPU tensors, their threads run by csrc/gpu/cpu_shim.h.

The library is built when this module is first imported, and again when its sources have changed.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import torch

from fastgan.ops import providers
from fastgan.ops.operator import Provider, add_provider
from fastgan.ops.registration import LIBRARY
from tests.native.building import ROOT, build, missing_tool

NAME = "shim"
FOLDER = ROOT / "build" / "shim"

unavailable = missing_tool()  # the reason, or None


def _register() -> None:
    build(FOLDER, "fastgan_shim", f"-DFASTGAN_TORCH_DIR={Path(torch.__file__).parent}")
    LIBRARY.define("shim_launches() -> str")
    torch.ops.load_library(str(FOLDER / "_native_shim.so"))
    add_provider(Provider(NAME, {"CPU": "cuda"}, lambda device, dtype: None))


if unavailable is None:
    _register()


def launches() -> dict[str, int]:
    """How often each CUDA kernel has run in this process."""
    return {row["name"]: row["launches"] for row in json.loads(torch.ops.fastgan.shim_launches())}


@contextlib.contextmanager
def selected() -> Iterator[None]:
    """Every operator by the shim."""
    with mock.patch.object(providers, "NAMES", (*providers.NAMES, NAME)), providers.provider(NAME):
        yield
