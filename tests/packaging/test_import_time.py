"""What importing costs: `import fastgan` at most 0.2 s more than `import torch`, or a tenth of it where that is slow,
`fastgan --help` no torch at all.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import subprocess
import sys

import fastgan

MOST_EXCESS = 0.2  # seconds
ROUNDS = 3
# Both in one process, one after the other, so that what disturbs torch's far longer import does not disturb the excess;
# and processor time, to which other work on the machine does not count.
TIMED = """
import time
start = time.process_time()
import torch
middle = time.process_time()
import fastgan
fastgan.bias_act
print(middle - start, time.process_time() - middle)
"""


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_the_operators_take_little_longer_than_torch_alone() -> None:
    rounds = [tuple(map(float, python(TIMED).split())) for _ in range(ROUNDS)]
    torch, excess = (statistics.median(each) for each in zip(*rounds, strict=True))
    assert excess <= max(MOST_EXCESS, torch / 10), rounds
    assert torch > MOST_EXCESS, "torch was not imported before"


def imported(code: str) -> set[str]:
    """Top-level modules that `code` adds to those that it names `before`, in a fresh process."""
    report = "print(json.dumps([*set(sys.modules) - before]))"
    told = python(f"import json, sys\nbefore = set(sys.modules)\n{code}\n{report}")
    return {name.split(".")[0] for name in json.loads(told.splitlines()[-1])}


def test_the_package_alone_imports_no_other_library() -> None:
    foreign = imported("import fastgan; from fastgan.cli.main import main; main(['--help'])")
    assert foreign - sys.stdlib_module_names == {"fastgan"}


def test_the_operators_import_nothing_that_torch_does_not() -> None:
    loaded = imported("import torch; before = set(sys.modules); import fastgan; fastgan.bias_act")
    assert loaded - sys.stdlib_module_names == {"fastgan"}


def test_the_public_names_are_those_of_the_operators() -> None:
    from fastgan import ops

    assert set(fastgan.__all__) == {*ops.__all__, "Sampler", "Translator", "calibrate"}
    assert set(fastgan.__all__) <= set(dir(fastgan))
    for name in ops.__all__:
        assert getattr(fastgan, name) is getattr(ops, name)
    namespace: dict = {}
    exec("from fastgan import *", namespace)
    assert set(fastgan.__all__) <= set(namespace)
    assert not hasattr(fastgan, "no_such_operator")
    shown = python("import fastgan, fastgan.models; print(*dir(fastgan))").split()
    extra = {name for name in shown if name[:2] != "__"} - {*fastgan.__all__, "ops"}
    assert "models" in extra and all(importlib.util.find_spec(f"fastgan.{name}") for name in extra)
