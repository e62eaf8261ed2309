"""Options and fixtures of the whole suite."""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import tempfile

import pytest
import torch
from hypothesis import HealthCheck, settings

from fastgan.ops import native, providers, triton_provider
from fastgan.ops.operator import OPERATORS
from tests.native import cuda_resources
from tests.native.building import missing_tool
from tests.ops.thinning import repeats

# What the user's own `fastgan calibrate` found is not what the tests are about.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="fastgan-tests-cache-")
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)

if not torch.cuda.is_available():  # before anything imports Triton: its kernels then run on CPU tensors
    os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_addoption(parser):
    parser.addoption(
        "--require",
        default="",
        help="comma-separated: native, host, chromium, shim, triton, cuda, gpu, onnx, av. What lacks one fails",
    )
    parser.addoption(
        "--fuzz-cases", type=int, help="cases of each fuzzed test, drawn anew; default: 100, the same ones"
    )


def pytest_configure(config):
    cases = config.getoption("--fuzz-cases")
    settings.register_profile(
        "fuzz",
        max_examples=cases or 100,
        derandomize=cases is None,
        database=None,
        deadline=None,  # tests/fuzz/limits.py bounds each call
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


def _require(request, name: str, reason: str | None) -> None:
    """Skip the test for `reason`, or fail it where --require names what is missing; None lets it run."""
    if reason is None:
        return
    if name in request.config.getoption("--require").split(","):
        pytest.fail(f"--require={name}: {reason}")
    pytest.skip(reason)


@pytest.hookimpl(tryfirst=True)  # before marks select tests
def pytest_collection_modifyitems(config, items):
    for item in items:
        mark = item.get_closest_marker("slow_interpreted")
        if mark and "[interpreter" in item.name:
            kept, left_out = mark.args, mark.kwargs.get("only", [""])
            ends = [f"-{case}]" if case else "]" for case in left_out]
            if any(map(item.name.endswith, ends)) and not any(f"-{case}]" in item.name for case in kept):
                item.add_marker(pytest.mark.slow)
    config.hook.pytest_deselected(items=[item for item in items if repeats(item)])
    items[:] = [item for item in items if not repeats(item)]


def pytest_runtest_setup(item):
    if item.get_closest_marker("needs_compiler") and shutil.which("c++") is None and shutil.which("g++") is None:
        pytest.skip("torch.compile's inductor needs a C++ compiler")


# Providers that stand in for a GPU's, on CPU tensors: modules of tests.ops -> what --require calls their needs.
_STAND_INS = {"shim": "shim", "interpreter": "triton"}


def _stand_in(request, name: str):
    module = importlib.import_module(f"tests.ops.{name}")
    _require(request, _STAND_INS[name], module.unavailable)
    return module


def _provider(request):
    if request.param in _STAND_INS:
        with _stand_in(request, request.param).selected():
            yield request.param
        return
    if request.param == "native":
        _require(request, "native", native.unavailable)
    with providers.provider(request.param):
        yield request.param


@pytest.fixture(params=["reference", "native", "shim", "interpreter"])
def provider(request):
    """Run the test once with each provider."""
    yield from _provider(request)


@pytest.fixture(params=["native", "shim", "interpreter"])
def compiled_provider(request):
    """Run the test once with each provider that is not the reference."""
    yield from _provider(request)


@pytest.fixture(params=["native", "shim"])
def kernels(request):
    """A function whose result selects compiled kernels while it is entered: C++, or CUDA's on the CPU."""
    if request.param == "shim":
        return _stand_in(request, "shim").selected
    _require(request, "native", native.unavailable)
    return lambda: providers.provider("native")


@pytest.fixture
def no_stand_ins(monkeypatch):
    """Without the stand-ins that other tests of this process may have registered."""
    for operator in OPERATORS.values():
        for name in set(operator.providers) - set(providers.NAMES):
            monkeypatch.delitem(operator.providers, name)


@pytest.fixture
def native_provider(request):
    """Run the test with the compiled library."""
    _require(request, "native", native.unavailable)
    with providers.provider("native"):
        yield "native"


@pytest.fixture
def gpu(request):
    """A CUDA device."""
    _require(request, "gpu", None if torch.cuda.is_available() else "torch sees no CUDA device")


@pytest.fixture
def triton_installed(request):
    """Triton, which may be there without a GPU."""
    _require(request, "triton", triton_provider.unavailable)


@pytest.fixture
def interpreter(request):
    """The module tests.ops.interpreter: Triton's kernels on CPU tensors."""
    return _stand_in(request, "interpreter")


@pytest.fixture
def shim(request):
    """The module tests.ops.shim: the CUDA kernels on CPU tensors."""
    return _stand_in(request, "shim")


@pytest.fixture
def shim_tools(request):
    """What compiles the CUDA sources for the CPU."""
    _require(request, "shim", missing_tool())


@pytest.fixture
def cuda_library(request) -> list[str]:
    """The targets of the built library's CUDA kernels, with tools to read them."""
    _require(request, "cuda", cuda_resources.missing())
    return cuda_resources.targets()


@pytest.fixture
def host(request):
    """The compiled module fastgan._host."""
    try:
        from fastgan import _host
    except ImportError as error:
        _require(request, "host", f"fastgan._host does not import: {error}")
    return _host


@pytest.fixture
def pyav(request) -> None:
    """What .mp4 and .webm are written with."""
    _require(request, "av", None if importlib.util.find_spec("av") else "av is not installed")


@pytest.fixture
def onnx(request) -> None:
    """What torch exports to ONNX with, and onnxruntime, which runs it."""
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    _require(request, "onnx", f"not installed: {', '.join(missing)}" if missing else None)


@pytest.fixture
def chromium(request) -> str:
    """A browser to open pages with."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    _require(request, "chromium", None if found else "there is no chromium to open pages with")
    assert found is not None
    return found


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same random numbers, with one thread: workers share the cores."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    yield
    torch.set_default_dtype(torch.float32)
