from __future__ import annotations

import ctypes
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fastgan.cli import installation
from fastgan.ops import native

PACKAGE = installation.PACKAGE


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that takes the place of the installed package."""
    folder = tmp_path / "site/fastgan"
    folder.mkdir(parents=True)
    monkeypatch.setattr(installation, "PACKAGE", folder)
    return folder


@pytest.fixture
def installed(tmp_path: Path, native_provider: str, host: object) -> Path:
    """A copy of the package as a wheel installs it: away from its sources, with its libraries and a record of pip's."""
    site = tmp_path / "the site"
    shutil.copytree(PACKAGE, site / "fastgan", ignore=shutil.ignore_patterns("__pycache__"))
    info = site / "fastgan-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fastgan\nVersion: 0.1.0\n")
    (info / "direct_url.json").write_text('{"url": "file:///some%20where/fastgan-0.1.0.tar.gz", "archive_info": {}}')
    return site


# Without the finder of an editable install, which would look for what is missing here in the checkout.
DOCTOR = """
import sys
sys.meta_path = [finder for finder in sys.meta_path if "__editable__" not in getattr(finder, "__module__", "")]
from fastgan.cli.main import main
sys.exit(main(["doctor", "--json"]))
"""


def doctor(site: Path, status: int, **environment: str) -> dict:
    """What `fastgan doctor --json` finds in a fresh process that takes the package from `site`."""
    done = subprocess.run(
        [sys.executable, "-c", DOCTOR],
        cwd=site,
        env={**os.environ, "PYTHONPATH": str(site), **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


PIP = f"{shlex.quote(sys.executable)} -m pip install"
REINSTALL = f"{PIP} --no-cache-dir --force-reinstall --no-deps '/some where/fastgan-0.1.0.tar.gz'"


def test_a_library_for_another_torch_and_a_data_loader_for_another_python(installed: Path) -> None:
    library = installed / "fastgan/_native.so"
    data = library.read_bytes()
    symbol = b"aoti_torch_get_sizes\0"
    assert symbol in data
    library.write_bytes(data.replace(symbol, b"aoti_torch_got_sizes\0"))
    (loader,) = (installed / "fastgan").glob("_host*.so")
    loader.rename(loader.with_name("_host.cpython-39-x86_64-linux-gnu.so"))
    found = doctor(installed, 1)
    assert (found["native"]["state"], found["host"]["state"]) == ("does not load", "does not load")
    assert "undefined symbol: aoti_torch_got_sizes" in found["native"]["reason"]
    assert found["native"]["remedy"] == f"it was built for another torch; build it for this one: {REINSTALL}"
    assert found["host"]["reason"] == "_host.cpython-39-x86_64-linux-gnu.so was built for another Python"
    assert found["problems"] == [
        f"{found['native']['reason']}; to mend that: {found['native']['remedy']}",
        f"the data loader's library: {found['host']['reason']}; to mend that: {REINSTALL}",
    ]


def test_the_provider_native_without_the_library_is_broken(installed: Path) -> None:
    (installed / "fastgan/_native.so").unlink()
    record = {"native": False, "host": True, "reason": "no C++ compiler was found", "remedy": "install one"}
    (installed / "fastgan/_build.json").write_text(json.dumps(record))
    found = doctor(installed, 1, FASTGAN_PROVIDER="native")
    why, remedy = "the native library was not built: no C++ compiler was found", f"install one; then: {REINSTALL}"
    assert (found["native"]["state"], found["native"]["reason"], found["native"]["remedy"]) == (
        "not built",
        why,
        remedy,
    )
    assert found["problems"] == [
        f"FASTGAN_PROVIDER=native, and {why}: every operator raises; unset FASTGAN_PROVIDER, or: {remedy}"
    ]
    assert found["notes"] == [f"{why}; to mend that: {remedy}"]
    assert found["host"] == {"state": "loaded", "loaded": True, "reason": None, "remedy": None}


@pytest.mark.parametrize(
    ("old", "new", "said", "remedy"),
    [
        (b"GLIBC_2.14\0", b"GLIBC_2.99\0", "`GLIBC_2.99' not found", "it was built on a newer system"),
        (b"libtorch_cpu.so\0", b"libtorch_cup.so\0", "libtorch_cup.so: cannot open", "build it again: "),
        (b"\x7fELF", b"\x7fALF", "invalid ELF header", "build it again: "),
    ],
    ids=["newer-system", "missing-library", "damaged"],
)
def test_each_message_of_the_dynamic_linker_has_a_remedy(
    native_provider: str, tmp_path: Path, old: bytes, new: bytes, said: str, remedy: str
) -> None:
    data = (PACKAGE / "_native.so").read_bytes()
    assert old in data
    (tmp_path / "_native.so").write_bytes(data.replace(old, new))
    with pytest.raises(OSError) as error:
        ctypes.CDLL(str(tmp_path / "_native.so"))
    assert said in str(error.value)
    assert installation.loading_remedy(str(error.value)).startswith(remedy)


@pytest.mark.parametrize(
    ("record", "remedy"),
    [
        ({"reason": "torch was not installed when fastgan was built", "remedy": "pip install torch"}, PIP),
        ({"reason": "FASTGAN_BUILD=none", "remedy": "leave FASTGAN_BUILD unset"}, "leave FASTGAN_BUILD unset; then: "),
        ({}, PIP),
    ],
    ids=["torch-is-here-now", "left-out", "never-built"],
)
def test_what_was_not_built_says_how_to_build_it(
    package: Path, monkeypatch: pytest.MonkeyPatch, record: dict, remedy: str
) -> None:
    monkeypatch.setattr(native, "unavailable", "the native library was not built")
    monkeypatch.setattr(native, "build_record", lambda: record)
    found = installation.native_state()
    assert found["state"] == "not built"
    assert found["remedy"].startswith(remedy)
    assert found["remedy"].endswith(installation.reinstall())
    assert installation.host_state()["state"] in ("loaded", "not built")


def test_a_checkout_whose_sources_changed_after_the_build(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "unavailable", None)
    root = package.parent
    (root / "csrc/bias_act").mkdir(parents=True)
    source, record = root / "csrc/bias_act/bias_act.h", package / "_build.json"
    for path in (root / "setup.py", root / "CMakeLists.txt", source, record):
        path.touch()
        os.utime(path, (1000, 1000))
    assert installation.native_state()["state"] == "loaded"
    os.utime(source, (1001, 1001))
    found = installation.native_state()
    assert found["state"] == "older than its sources" and found["loaded"]
    assert found["reason"] == "csrc/bias_act/bias_act.h was changed after the native library was built"
    assert found["remedy"] == f"{PIP} -e {root}"


def test_a_wheel_is_built_again_from_the_sources(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Distribution:
        def read_text(self, name: str) -> str:
            return json.dumps({"url": "file:///tmp/fastgan-0.1.0-py3-none-any.whl"})

    monkeypatch.setattr(installation.metadata, "distribution", lambda name: Distribution())
    assert installation.reinstall().endswith("--no-deps FOLDER_OF_THE_SOURCES")


@pytest.mark.parametrize(
    ("version", "problem", "note"),
    [
        ("2.10.1", "torch 2.10.1 is older than 2.11, which fastgan needs: pip install 'torch>=2.11'", None),
        ("2.11.0+cpu", None, "torch 2.11.0+cpu is older than 2.13, against which fastgan is tested"),
        ("2.13.1", None, None),
        ("2.14.0.dev20260801", None, "torch 2.14.0.dev20260801 is newer than 2.13, against which fastgan is tested"),
    ],
)
def test_the_version_of_torch(
    monkeypatch: pytest.MonkeyPatch, version: str, problem: str | None, note: str | None
) -> None:
    monkeypatch.setattr(installation.torch, "__version__", version)
    found = installation.torch_findings()
    assert found[0] == problem
    assert (found[1] is None) if note is None else found[1].startswith(note)
    symbol = "undefined symbol: aoti_torch_x"
    assert installation.loading_remedy(symbol).startswith("pip install 'torch>=2.11'") is (problem is not None)


def test_a_provider_in_the_environment_is_noted_and_an_unknown_one_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = {"loaded": True, "reason": None, "remedy": None}
    monkeypatch.delenv("FASTGAN_PROVIDER", raising=False)
    assert installation.provider_findings(loaded) == (None, None)
    monkeypatch.setenv("FASTGAN_PROVIDER", "reference")
    text = "FASTGAN_PROVIDER=reference chooses for every operator; unset it to have the defaults back"
    assert installation.provider_findings(loaded) == (None, text)
    monkeypatch.setenv("FASTGAN_PROVIDER", "natve")
    text = "FASTGAN_PROVIDER must be one of native, triton, reference; got 'natve': unset it"
    assert installation.provider_findings(loaded) == (text, None)


def test_the_compiler_is_the_one_that_a_build_takes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert installation.compiler() is None
    for name in ("clang++", "mine"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    assert installation.compiler() == str(tmp_path / "clang++")
    monkeypatch.setenv("CXX", "mine -m64")
    assert installation.compiler() == str(tmp_path / "mine")
    monkeypatch.setenv("CXX", "missing-one")
    assert installation.compiler() is None


def test_the_oldest_torch_is_the_same_everywhere() -> None:
    root = PACKAGE.parent
    if not (root / "setup.py").is_file():
        pytest.skip("not a checkout")
    oldest = installation.OLDEST_TORCH
    assert f"OLDEST_TORCH = {oldest}" in (root / "setup.py").read_text()
    assert f'"torch>={oldest[0]}.{oldest[1]}"' in (root / "pyproject.toml").read_text()
    target = re.search(r"FASTGAN_TORCH_TARGET 0x(\w\w)(\w\w)", (root / "CMakeLists.txt").read_text())
    assert target and tuple(int(part, 16) for part in target.groups()) == oldest
    verified = ".".join(map(str, installation.VERIFIED_TORCH))
    assert f"torch=={verified}." in (root / "constraints.txt").read_text()
