"""Builds what tests run of the native code: the CUDA sources for the CPU, the C++ tests."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

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


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other workers of the tests out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build(folder: Path, target: str, *options: str) -> None:
    """Configure a build of the shim in `folder`, and make `target`; what went wrong is the error's text."""
    cmake, ninja = tool("cmake"), tool("ninja")
    generator = ["-GNinja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []
    with locked(folder / ".lock"):
        for command in (
            [cmake, "-S", ROOT, "-B", folder, *generator, "-DFASTGAN_CUDA=OFF", "-DFASTGAN_SHIM=ON", *options],
            [cmake, "--build", folder, "--target", target, "--parallel", str(os.cpu_count() or 1)],
        ):
            result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if result.returncode:
                raise RuntimeError(f"the shim does not build: {' '.join(map(str, command))}\n{result.stdout[-4000:]}")
