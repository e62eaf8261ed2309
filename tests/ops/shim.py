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
from fastgan.ops.bias_act import op as bias_act
from fastgan.ops.conv2d_layer import op as conv2d_layer
from fastgan.ops.conv2d_layer.compiled import Compiled
from fastgan.ops.conv2d_layer.gemm import GemmPasses
from fastgan.ops.registration import LIBRARY
from fastgan.ops.upfirdn2d import op as upfirdn2d
from tests.native.building import ROOT, build, missing_tool

NAME = "shim"
FOLDER = ROOT / "build" / "shim"

unavailable = missing_tool()  # the reason, or None


def _register() -> None:
    build(FOLDER, "fastgan_shim", f"-DFASTGAN_TORCH_DIR={Path(torch.__file__).parent}")
    for schema in ("bias_act_activations_shim() -> str", "shim_launches() -> str"):
        LIBRARY.define(schema)
    torch.ops.load_library(str(FOLDER / "_native_shim.so"))
    numbering = tuple(torch.ops.fastgan.bias_act_activations_shim().split(","))
    bias_act._COMPILED[NAME] = bias_act._Compiled(NAME, numbering)
    upfirdn2d._COMPILED[NAME] = upfirdn2d._register_compiled(NAME)
    conv2d_layer._COMPILED[NAME] = Compiled(NAME, {"CPU": GemmPasses(NAME, contiguous=False, fused_up=True)})
    for op in ("bias_act", "conv2d_layer", "upfirdn2d"):
        providers.register_provider(op, NAME, lambda device, dtype, detail: None)


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
