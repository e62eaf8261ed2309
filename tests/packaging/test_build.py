"""Builds of wheels from a copy of the sources, in every mode of FASTGAN_BUILD."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What the package is made of; the checkout may hold builds, environments and runs beside it.
SOURCES = ("setup.py", "pyproject.toml", "CMakeLists.txt", "MANIFEST.in", "README.md", "LICENSE", "NOTICE")
FOLDERS = ("csrc", "fastgan", "kernels")

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("setuptools") is None or not (ROOT / "setup.py").is_file(), reason="needs setuptools"
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, folder)
    ignored = shutil.ignore_patterns("__pycache__", "*.so", "_build.json")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
    return folder


def build(sources: Path, out: Path, keep_build: bool = False, **environment: str) -> subprocess.CompletedProcess:
    if not keep_build:
        shutil.rmtree(sources / "build", ignore_errors=True)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-build-isolation", "--no-deps", "--no-cache-dir"]
    inherited = {key: value for key, value in os.environ.items() if key not in ("FASTGAN_BUILD", "CMAKE_ARGS")}
    return subprocess.run(
        [*command, "--disable-pip-version-check", "-w", str(out), str(sources)],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
    )


def contents(out: Path) -> tuple[Path, set[str], dict]:
    """The one wheel there, the names in it, and its build record."""
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return wheel, set(archive.namelist()), json.loads(archive.read("fastgan/_build.json"))


def check_package_data(names: set[str]) -> None:
    assert "fastgan/kernels/__init__.py" in names, "the symlinked folder is missing"
    assert "fastgan/data/assets/emoji64.zip" in names
    assert "fastgan/report/page.html" in names
    assert not [name for name in names if name.startswith(("kernels", "tests", "csrc"))]


def test_none_makes_a_pure_wheel(audit, sources, tmp_path):
    result = build(sources, tmp_path, FASTGAN_BUILD="none")
    assert result.returncode == 0, result.stderr
    wheel, names, record = contents(tmp_path)
    assert wheel.name.endswith("-py3-none-any.whl")
    assert not [name for name in names if name.endswith(".so")]
    assert (record["native"], record["mode"], record["reason"]) == (False, "none", "FASTGAN_BUILD=none")
    assert record["remedy"] == "leave FASTGAN_BUILD unset"
    check_package_data(names)
    assert audit.wheel_findings(wheel, [str(sources)]) == []


PROBE = """
import torch
from fastgan.ops import bias_act, conv2d_resample, native, providers, upfirdn2d
assert "cmake failed" in native.unavailable, native.unavailable
assert providers.choose("upfirdn2d", "cpu", torch.float32) == "reference"
y = bias_act(torch.tensor([[-1.0, 2.0]]), torch.tensor([0.0, 1.0]), act="lrelu", gain=1.0)
assert torch.allclose(y, torch.tensor([[-0.2, 3.0]])), y
assert upfirdn2d(torch.ones(1, 1, 2, 2), None, up=2).shape == (1, 1, 4, 4)
x, w = torch.empty(2, 3, 4, 4, device="meta"), torch.empty(5, 3, 3, 3, device="meta")
for act in "lrelu", "swish":
    assert bias_act(x, act=act).shape == x.shape
    assert conv2d_resample(x, w, padding=1, act=act).shape == (2, 5, 4, 4)
"""


def test_auto_without_a_working_compiler_installs_pure_python_and_says_why(audit, sources, tmp_path):
    if shutil.which("cmake") is None:
        pytest.skip("needs cmake")
    result = build(sources, tmp_path, FASTGAN_BUILD="auto", CXX="/bin/false")
    assert result.returncode == 0, result.stderr
    wheel, names, record = contents(tmp_path)
    assert not [name for name in names if name.endswith(".so")]
    assert record["native"] is False
    assert record["reason"].startswith("cmake failed: CMake Error") and "/bin/false" in record["reason"]
    assert record["remedy"] == "add -v to the pip command to see all that the build prints"
    assert audit.wheel_findings(wheel, [str(sources)]) == []

    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    probe = subprocess.run(
        [sys.executable, "-c", PROBE],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
    )
    assert probe.returncode == 0, probe.stderr


def test_the_folder_of_the_sources_is_no_pattern(sources, tmp_path):
    if shutil.which("cmake") is None or shutil.which("ninja") is None or shutil.which("c++") is None:
        pytest.skip("needs cmake, ninja and a compiler")
    folder = tmp_path / "fastgan [1]"
    shutil.copytree(sources / "csrc", folder / "csrc")
    for name in "CMakeLists.txt", "pyproject.toml":
        shutil.copy(sources / name, folder)
    command = ["cmake", "-G", "Ninja", "-S", str(folder), "-B", str(tmp_path / "build"), "-DFASTGAN_CUDA=OFF"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_cpu_without_a_working_compiler_fails(sources, tmp_path):
    result = build(sources, tmp_path, FASTGAN_BUILD="cpu", CXX="/bin/false")
    assert result.returncode != 0
    assert "FASTGAN_BUILD=cpu: " in result.stderr + result.stdout
    assert not list(tmp_path.glob("*.whl"))


def test_cuda_without_its_compiler_fails(sources, tmp_path):
    if shutil.which("cmake") is None or shutil.which("c++") is None:
        pytest.skip("needs cmake and a C++ compiler")
    result = build(sources, tmp_path, FASTGAN_BUILD="cuda", CUDACXX="/bin/false")
    assert result.returncode != 0
    assert "FASTGAN_BUILD=cuda: cmake failed: " in result.stderr + result.stdout
    assert "no CUDA compiler (nvcc) was found" in result.stderr + result.stdout


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"FASTGAN_BUILD": "fast"}, "FASTGAN_BUILD must be one of auto, cuda, cpu, none, got 'fast'"),
        (
            {"TORCH_CUDA_ARCH_LIST": "8.0;hopper"},
            "TORCH_CUDA_ARCH_LIST must list targets such as 8.0, 9.0a or 12.0+PTX, got 'hopper'",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused_in_words(sources, environment, message):
    result = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--build-temp", "t", "--build-lib", "l"],
        cwd=sources,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert result.returncode != 0
    assert message in result.stderr


@pytest.mark.slow
def test_auto_goes_on_without_a_cuda_compiler_that_fails(sources, tmp_path):
    if shutil.which("nvcc") is None:
        pytest.skip("needs nvcc")
    result = build(sources, tmp_path, FASTGAN_BUILD="auto", TORCH_CUDA_ARCH_LIST="1.0", CXXFLAGS="-O0")
    assert result.returncode == 0, result.stderr
    _, names, record = contents(tmp_path)
    assert "fastgan/_native.so" in names and (record["native"], record["cuda"]) == (True, None)
    assert "CUDA compiler" in record["cuda_reason"] and "nvcc" in record["cuda_reason"]


@pytest.mark.slow
def test_cpu_makes_a_wheel_with_both_libraries(audit, sources, tmp_path):
    result = build(sources, tmp_path, FASTGAN_BUILD="cpu")
    assert result.returncode == 0, result.stderr
    wheel, names, record = contents(tmp_path)
    assert "fastgan/_native.so" in names
    assert [name for name in names if name.startswith("fastgan/_host.") and name.endswith(".so")]
    assert record["native"] is True and record["host"] is True and record["reason"] is None
    assert record["compiler"] and record["torch"]
    assert not wheel.name.endswith("-any.whl")
    check_package_data(names)
    assert audit.wheel_findings(wheel, [str(sources)]) == []


def test_headers_of_torch_that_are_not_there_fail(sources, tmp_path):
    if shutil.which("cmake") is None:
        pytest.skip("needs cmake")
    result = build(sources, tmp_path, FASTGAN_BUILD="cpu", CMAKE_ARGS="-DFASTGAN_TORCH_DIR=/nowhere/torch")
    assert result.returncode != 0
    message = "torch was not installed in /nowhere/torch when fastgan was built; pip install 'torch>=2.11'"
    assert f"FASTGAN_BUILD=cpu: {message}" in result.stderr + result.stdout


def test_a_module_that_is_gone_from_the_sources_is_gone_from_the_next_wheel(sources, tmp_path):
    extra = sources / "fastgan/gone.py"
    extra.write_text("")
    try:
        assert build(sources, tmp_path / "before", FASTGAN_BUILD="none").returncode == 0
    finally:
        extra.unlink()
    assert build(sources, tmp_path / "after", keep_build=True, FASTGAN_BUILD="none").returncode == 0
    assert "fastgan/gone.py" in contents(tmp_path / "before")[1]
    assert "fastgan/gone.py" not in contents(tmp_path / "after")[1]


@pytest.mark.parametrize(
    ("named", "targets"),
    [
        ("", ""),
        ("9.0", "90a-real"),  # with wgmma, without which an H100 would run other kernels
        ("8.0;9.0+PTX", "80-real;90a-real;90-virtual"),
        ("9.0 9.0a", "90a-real"),
        ("8.6+PTX, 10.0, 12.0", "86;100-real;120-real"),
        ("10.3f 10.0a", "103f-real;100a-real"),
    ],
)
def test_torchs_list_of_targets_is_read(named, targets):
    """By setup.py itself, kept from building."""
    code = "import runpy, setuptools; setuptools.setup = lambda **_: None\n"
    code += f"print(runpy.run_path({str(ROOT / 'setup.py')!r})['cuda_targets']())"
    probe = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TORCH_CUDA_ARCH_LIST": named},
        capture_output=True,
        text=True,
    )
    assert probe.stdout.strip() == targets, probe.stderr
