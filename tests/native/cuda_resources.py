"""Reads what each CUDA kernel of the built library takes of a GPU, without one.

    python -m tests.native.cuda_resources            prints a JSON object: "kernel target" -> [registers, shared, stack]
    python -m tests.native.cuda_resources --write    makes it the bounds of this nvcc in cuda_resources.json

Shared memory is what the compiler gives a kernel, in bytes; a launch adds to it. Stack and local memory, in bytes, is
where registers are spilled to.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import torch

from fastgan.ops import native
from fastgan.ops.operator import PROVIDERS
from tests.ops import bounds

BOUNDS = Path(__file__).with_suffix(".json")


def cuobjdump() -> str | None:
    """The CUDA toolkit's, or the one in Triton's wheel."""
    triton = importlib.util.find_spec("triton")
    folders = [f"{folder}/backends/nvidia/bin" for folder in (triton and triton.submodule_search_locations) or []]
    return shutil.which("cuobjdump") or shutil.which("cuobjdump", path=":".join(folders))


def demangler() -> str | None:
    """The C++ compiler's, or the CUDA toolkit's."""
    return shutil.which("c++filt") or shutil.which("cu++filt")


def missing() -> str | None:
    """Why the kernels cannot be read here, or None."""
    refusal = PROVIDERS["native"].refusal("cuda", torch.float32)
    if refusal is not None:
        return refusal
    if cuobjdump() is None:
        return "there is no cuobjdump to read CUDA kernels with (it comes with the CUDA toolkit and with Triton)"
    return None if demangler() else "there is no c++filt to read the names of CUDA kernels with"


def targets() -> list[str]:
    """What the library has machine code for: ["sm_80", "sm_90a", "sm_100", "sm_120"]."""
    return [f"sm_{word.split('-')[0]}" for word in native.info["cuda"].split() if not word.endswith("-virtual")]


def short(name: str) -> str:
    """A kernel's name, without namespaces, result and arguments."""
    return re.sub(r"\([^()]*\)$", "", re.sub(r"fastgan::(cuda::)?|\(anonymous namespace\)::|^void ", "", name))


def measure() -> dict[str, list[int]]:
    """[registers a thread, shared bytes, stack and local bytes] of every kernel, for every target."""
    printed, found = "", {}
    for command in ([cuobjdump(), "-res-usage", native.PACKAGE / "_native.so"], [demangler()]):
        printed = subprocess.run(
            [str(word) for word in command], input=printed, capture_output=True, text=True, check=True
        ).stdout
    for section in re.split(r"^arch = ", printed, flags=re.MULTILINE)[1:]:
        target = section.split()[0]
        for name, *numbers in re.findall(r"Function (.*):\n\s*REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", section):
            registers, stack, shared, local = map(int, numbers)
            found[f"{short(name)} {target}"] = [registers, shared, stack + local]
    return dict(sorted(found.items()))


if __name__ == "__main__":
    compiler, table = native.info["cuda_compiler"], measure()
    if "--write" in sys.argv[1:]:
        bounds.write(BOUNDS, compiler, table)
    else:
        print(json.dumps({"compiler": compiler, "resources": table}))
