"""Who serves a call: the table of defaults, names, refusals."""

from __future__ import annotations

import asyncio
import threading
from contextvars import copy_context
from pathlib import Path

import pytest
import torch

import fastgan
from fastgan.ops import exact_convolutions, native, providers
from fastgan.ops.operator import OPERATORS, PROVIDERS, Default, Operator

ROOT = Path(__file__).resolve().parents[2]


def test_every_default_names_results_that_exist():
    for row in (row for operator in OPERATORS.values() for row in operator.rows.values()):
        assert set(row.order) <= set(providers.NAMES) - {"reference"}
        file, device = row.provenance.split(": ")
        assert (ROOT / file).is_file() and device


def test_each_call_has_one_default():
    row = Default("cpu", ("native",), "bench/results/cpu_targets.json: a CPU", ("float32",))
    with pytest.raises(ValueError, match="blur has two defaults for float32 on cpu"):
        Operator("blur", lambda: torch.zeros(1), defaults=(row, row))


def test_kernels_that_nothing_registers_are_refused():
    with pytest.raises(ValueError, match="blur has cpu kernels, and no register"):
        Operator("blur", lambda: torch.zeros(1), kernels=("cpu",))


@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_unproven_is_never_the_default(op, dtype):
    assert providers.choose(op, "cuda", dtype) == "reference"
    rows = {row.provider: row for row in providers.report(("cuda",)) if (row.op, row.dtype) == (op, str(dtype)[6:])}
    assert rows["reference"].default
    for name in ("native", "triton"):
        assert not rows[name].default
        assert rows[name].reason.startswith("unproven on cuda") or not rows[name].serves


def test_a_name_decides(monkeypatch):
    with providers.provider("reference"):
        assert providers.choose("bias_act", "cpu", torch.float32) == "reference"
        reasons = {row.reason for row in providers.report(("cpu",)) if row.serves and not row.default}
        assert reasons <= {"reference is named by provider() or FASTGAN_PROVIDER"}
    monkeypatch.setattr(providers._named, "default", "fast")
    with pytest.raises(ValueError, match="FASTGAN_PROVIDER must be one of native, triton, reference; got 'fast'"):
        providers.choose("bias_act", "cpu", torch.float32)


def test_a_device_that_nobody_knows_is_served_by_the_reference():
    assert providers.choose("bias_act", "mps", torch.float32) == "reference"
    with (
        providers.provider("native"),
        pytest.raises(ValueError, match="provider 'native' cannot serve bias_act on mps"),
    ):
        providers.choose("bias_act", "mps", torch.float32)


def test_a_library_without_cuda_says_so(monkeypatch):
    monkeypatch.setattr(native, "unavailable", None)
    monkeypatch.setattr(native, "info", {"cuda": False})
    monkeypatch.setattr(native, "build_record", lambda: {"cuda_reason": "no CUDA compiler (nvcc) was found"})
    expected = "the native library was built without CUDA: no CUDA compiler"
    assert PROVIDERS["native"].refusal("cuda", torch.float32).startswith(expected)
    with fastgan.provider("native"), pytest.raises(ValueError, match=expected):
        providers.choose("upfirdn2d", "cuda", torch.float32)


def test_resources_are_told_or_the_reason_is(native_provider):
    if torch.cuda.is_available() and native.info["cuda"]:
        kernels = native.kernel_resources()
        assert all(kernel["registers"] > 0 and kernel["max_threads"] >= 256 for kernel in kernels)
        names = {kernel["name"] for kernel in kernels}
        for op, operator in OPERATORS.items():
            assert any(name.startswith((op, *operator.schemas)) for name in names), op
    else:
        with pytest.raises(RuntimeError, match="without CUDA|driver|device"):
            native.kernel_resources()


def chosen() -> str:
    return providers.choose("bias_act", "cpu", torch.float32)


def test_overlapping_blocks_of_two_threads_leave_nothing_behind(native_provider):
    """One enters first and leaves first: with one global, the other's `before` stays on for ever."""
    entered, left, seen = threading.Event(), threading.Event(), []

    def first():
        with providers.provider("reference"):
            entered.set()
            left.wait(10)
            seen.append(chosen())
        seen.append(chosen())

    outside = threading.Thread(target=first)
    outside.start()
    entered.wait(10)
    assert chosen() == "native"
    with providers.provider("native"):
        left.set()
        outside.join()
        seen.append(chosen())
    seen.append(chosen())
    assert seen == ["reference", "native", "native", "native"]


def test_asynchronous_tasks_keep_their_own_blocks():
    seen = {"reference": [], "native": []}

    async def task(name):
        await asyncio.sleep(0 if name == "native" else 0.01)  # begun last, ended last
        with providers.provider(name), exact_convolutions():
            for _ in range(3):
                await asyncio.sleep(0.01)
                await asyncio.sleep(0)
                seen[name].append((providers._named.get(), providers._exact.get()))

    async def outside():
        for _ in range(3):
            await asyncio.sleep(0)
            assert (providers._named.get(), providers._exact.get()) == (before, False)

    async def all_tasks():
        await asyncio.gather(task("reference"), task("native"), outside())

    before, of_thread = providers._named.get(), providers._named._of_thread()
    asyncio.run(all_tasks())
    assert providers._named._of_thread() == of_thread and providers._exact._of_thread() is None
    assert seen == {name: [(name, True)] * 3 for name in ("reference", "native")}


def test_exact_convolutions_are_those_of_the_thread_that_asks():
    inside, done, seen = threading.Event(), threading.Event(), []

    def exact():
        with exact_convolutions():
            inside.set()
            done.wait(10)
            seen.append(providers.fast_products(torch.zeros(1)))

    thread = threading.Thread(target=exact)
    thread.start()
    inside.wait(10)
    assert providers.fast_products(torch.zeros(1))
    done.set()
    thread.join()
    assert seen == [False]


def test_a_block_that_raises_is_left():
    before = providers._named.get()
    with pytest.raises(KeyError), providers.provider("reference"):
        raise KeyError
    assert providers._named.get() == before


def test_compiled_functions_follow_the_block_they_are_called_in(native_provider):
    """Whole graphs; a block inside of a compiled function, around it, and in another thread."""
    graphs = []

    def backend(graph, inputs):
        graphs.append(str(graph.code))
        return graph.forward

    def last(call, x):
        call(x)
        return "reference" if "leaky_relu" in graphs[-1] else "native"

    def inside(x):
        with providers.provider("reference"):
            return fastgan.bias_act(x, act="lrelu")

    torch._dynamo.reset()
    x = torch.randn(2, 3, 4, 4)
    compiled = torch.compile(lambda x: fastgan.bias_act(x, act="lrelu"), backend=backend, fullgraph=True)
    assert last(compiled, x) == "native"
    with providers.provider("reference"):
        assert last(compiled, x) == "reference"
    assert last(torch.compile(inside, backend=backend, fullgraph=True), x) == "reference"
    assert chosen() == "native"
    before = len(graphs)
    compiled(x)
    assert "leaky_relu" not in "".join(graphs[before:])
    thread = threading.Thread(target=copy_context().run, args=(compiled, x))
    with providers.provider("reference"):
        thread.start()
        thread.join()
    assert "leaky_relu" not in "".join(graphs[before:])
