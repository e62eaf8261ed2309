"""What importing costs: `import fastgan` at most 0.2 s more than `import torch`, `fastgan --help` no torch at all."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

import fastgan

MOST_EXCESS = 0.2  # seconds
ROUNDS = 3
# Processor time: what else runs on the machine does not count.
TIMED = "import time; start = time.process_time(); {}; print(time.process_time() - start)"


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_the_operators_take_little_longer_than_torch_alone() -> None:
    imports = {"torch": "import torch", "fastgan": "import fastgan; fastgan.bias_act"}
    seconds: dict[str, list[float]] = {name: [] for name in imports}
    for _ in range(ROUNDS):
        for name, code in imports.items():
            seconds[name].append(float(python(TIMED.format(code))))
    excess = statistics.median(seconds["fastgan"]) - statistics.median(seconds["torch"])
    assert excess <= MOST_EXCESS, seconds


def imported(code: str) -> set[str]:
    """Top-level modules that were imported once `code` has run in a fresh process."""
    told = python(f"{code}\nimport json, sys\nprint(json.dumps([*sys.modules]))")
    return {name.split(".")[0] for name in json.loads(told.splitlines()[-1])}


def test_the_package_alone_imports_no_other_library() -> None:
    foreign = imported("import fastgan; from fastgan.cli.main import main; main(['--help'])") - imported("")
    assert foreign - sys.stdlib_module_names == {"fastgan"}


def test_the_operators_import_torch_and_nothing_that_torch_does_not() -> None:
    brought = imported("import fastgan; fastgan.bias_act") - imported("import torch")
    assert brought - sys.stdlib_module_names == {"fastgan"}


def test_the_public_names_are_those_of_the_operators() -> None:
    from fastgan import ops

    assert set(fastgan.__all__) == set(ops.__all__)
    assert set(fastgan.__all__) <= set(dir(fastgan))
    for name in fastgan.__all__:
        assert getattr(fastgan, name) is getattr(ops, name)
    namespace: dict = {}
    exec("from fastgan import *", namespace)
    assert set(fastgan.__all__) <= set(namespace)
    assert not hasattr(fastgan, "no_such_operator")
