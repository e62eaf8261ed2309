"""Provider "shim": the CUDA kernels on CPU tensors, their threads run by csrc/cuda/cpu_shim.h.

The library is built here when a test first asks for it, and again when its sources change.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import torch

from fastgan.ops import providers
from fastgan.ops.bias_act import op as bias_act
from fastgan.ops.registration import LIBRARY
from fastgan.ops.upfirdn2d import op as upfirdn2d

NAME = "shim"
ROOT = Path(__file__).resolve().parents[2]


def missing_tool() -> str | None:
    """Why the CUDA sources cannot be compiled for the CPU here, or None."""
    if not any(shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++")):
        return "there is no C++ compiler for the shim"
    if tool("cmake") is None:
        return "there is no cmake for the shim"
    if shutil.which("nvcc") is None and not Path("/usr/local/cuda/include/cuda_fp16.h").is_file():
        return "there are no CUDA headers for the shim (they come with nvcc)"
    return None


def tool(name: str) -> str | None:
    """A build tool of this environment, or of the machine."""
    return shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


def build(folder: Path, target: str, *options: str) -> None:
    """Configure a build of the shim in `folder`, and make `target`; what went wrong is the error's text."""
    folder.mkdir(parents=True, exist_ok=True)
    cmake, ninja = tool("cmake"), tool("ninja")
    generator = ["-GNinja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []
    with open(folder / ".lock", "w") as lock:  # other workers of the tests may want it too
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (
            [cmake, "-S", ROOT, "-B", folder, *generator, "-DFASTGAN_CUDA=OFF", "-DFASTGAN_SHIM=ON", *options],
            [cmake, "--build", folder, "--target", target, "--parallel", str(os.cpu_count() or 1)],
        ):
            result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if result.returncode:
                raise RuntimeError(f"the shim does not build: {' '.join(map(str, command))}\n{result.stdout[-4000:]}")


@functools.cache
def unavailable() -> str | None:
    """Builds and registers the provider; the reason where that cannot be."""
    if reason := missing_tool():
        return reason
    folder = ROOT / "build" / "shim"
    build(folder, "fastgan_shim", f"-DFASTGAN_TORCH_DIR={Path(torch.__file__).parent}")
    for schema in ("bias_act_activations_shim() -> str", "shim_launches() -> str"):
        LIBRARY.define(schema)
    torch.ops.load_library(str(folder / "_native_shim.so"))
    numbering = tuple(torch.ops.fastgan.bias_act_activations_shim().split(","))
    bias_act._COMPILED[NAME] = bias_act._Compiled(NAME, numbering)
    upfirdn2d._COMPILED[NAME] = upfirdn2d._register_compiled(NAME)
    for op in ("bias_act", "upfirdn2d"):
        providers.register_provider(op, NAME, lambda device, dtype, detail: None)
    return None


def launches() -> dict[str, int]:
    """How often each CUDA kernel has run in this process."""
    return {row["name"]: row["launches"] for row in json.loads(torch.ops.fastgan.shim_launches())}


@contextlib.contextmanager
def selected() -> Iterator[None]:
    """Every operator by the shim."""
    with mock.patch.object(providers, "NAMES", (*providers.NAMES, NAME)), providers.provider(NAME):
        yield
