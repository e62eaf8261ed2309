from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fastgan.ops import allocation
from fastgan.ops.allocation import release_free_memory, tune_cpu_allocator

# In a process of its own: the setting cannot be taken back.
PROBE = """
import sys
from fastgan.ops import allocation
if sys.argv[1] == "ctypes":
    allocation.importlib.import_module = lambda name: (_ for _ in ()).throw(ImportError(name))
import resource
import torch
if not allocation.tune_cpu_allocator():
    sys.exit(3)  # not glibc
faults = []
for _ in range(24):  # the heap grows by some: alignment makes a freed block a little too small for its like
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16 << 20)  # 64 MiB
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(sorted(faults)[12])
"""


@pytest.mark.parametrize("way", ["host", "ctypes"])
def test_freed_tensors_give_their_pages_to_the_next(way):
    result = subprocess.run([sys.executable, "-c", PROBE, way], capture_output=True, text=True)
    if result.returncode == 3:
        pytest.skip("the C library is not glibc")
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 1000  # faulting it in anew takes 16384 faults of 4 KiB


@pytest.mark.parametrize(("name", "value"), [("mmap_threshold", -1), ("trim_threshold", 2**31)])
def test_a_threshold_out_of_range_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be between 0 and 2\\^31 - 1 bytes, got {value}"):
        tune_cpu_allocator(**{name: value})


def test_an_old_glibc_gets_the_largest_threshold_it_takes(monkeypatch):
    tried = []

    def capped(mmap_threshold, trim_threshold):
        tried.append(mmap_threshold)
        return mmap_threshold <= 1 << 25

    monkeypatch.setattr(allocation, "_set_through_ctypes", capped)
    monkeypatch.setattr(allocation.importlib, "import_module", lambda name: exec("raise ImportError(name)"))
    assert tune_cpu_allocator()
    assert tried == [1 << 30, 1 << 25]


def test_freed_memory_goes_back():
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    blocks = [torch.ones(25_000) for _ in range(2000)]  # 100 kB each, below glibc's mapping threshold
    kept = blocks[1::2]  # every other one stays: the heap cannot shrink from its top
    del blocks
    before = resident()
    if not release_free_memory():
        pytest.skip("the C library is not glibc")
    assert before - resident() > 50_000_000
    assert all(block[0] == 1 for block in kept)
