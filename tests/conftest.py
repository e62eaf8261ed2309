"""Options and fixtures of the whole suite."""

from __future__ import annotations

import shutil

import pytest
import torch
from hypothesis import HealthCheck, settings

from fastgan.ops import native, providers


def pytest_addoption(parser):
    parser.addoption(
        "--require",
        default="",
        help="comma-separated: native, host, chromium, gpu. A test that would be skipped for want of one fails instead",
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


def pytest_runtest_setup(item):
    if item.get_closest_marker("needs_compiler") and shutil.which("c++") is None and shutil.which("g++") is None:
        pytest.skip("torch.compile's inductor needs a C++ compiler")


@pytest.fixture(params=["reference", "native"])
def provider(request):
    """Run the test once with each provider."""
    if request.param == "native":
        _require(request, "native", native.unavailable)
    with providers.provider(request.param):
        yield request.param


@pytest.fixture
def native_provider(request):
    """Run the test with the compiled library."""
    _require(request, "native", native.unavailable)
    with providers.provider("native"):
        yield "native"


@pytest.fixture
def host(request):
    """The compiled module fastgan._host."""
    try:
        from fastgan import _host
    except ImportError as error:
        _require(request, "host", f"fastgan._host does not import: {error}")
    return _host


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
