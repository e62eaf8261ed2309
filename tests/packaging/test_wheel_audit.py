from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import pytest
import torch

PACKAGE = Path(__file__).resolve().parents[2] / "fastgan"
NAME = "fastgan-0.1.0-py3-none-any.whl"
PURE = {
    "fastgan/_build.json": b'{"native": false, "host": false}',
    "fastgan/data/assets/emoji64.zip": b"",
    "fastgan/kernels/__init__.py": b"",
    "fastgan-0.1.0.dist-info/RECORD": b"",
}


def findings(audit, folder: Path, files: dict[str, bytes], name: str = NAME) -> list[str]:
    with zipfile.ZipFile(folder / name, "w") as wheel:
        for path, data in files.items():
            wheel.writestr(path, data)
    return audit.wheel_findings(folder / name)


def test_a_tidy_wheel_has_no_findings(audit, tmp_path: Path) -> None:
    assert findings(audit, tmp_path, PURE) == []


@pytest.mark.parametrize(
    ("path", "data", "finding"),
    [
        ("kernels/__init__.py", b"", "kernels would stand beside the package in site-packages"),
        ("fastgan/a.py", f"HERE = '{sys.prefix}/lib'".encode(), f"fastgan/a.py holds the path {sys.prefix}/..."),
        (
            "fastgan/_build.json",
            b'{"native": true, "host": false}',
            "_build.json says native: True; the libraries that",
        ),
    ],
)
def test_each_disorder_is_found(audit, tmp_path: Path, path: str, data: bytes, finding: str) -> None:
    found = findings(audit, tmp_path, {**PURE, path: data})
    assert [line for line in found if line.startswith(finding)], found


@pytest.mark.parametrize("missing", [name for name in PURE if name.startswith("fastgan/")])
def test_each_missing_file_is_found(audit, tmp_path: Path, missing: str) -> None:
    files = {name: data for name, data in PURE.items() if name != missing}
    assert f"{missing} is missing" in findings(audit, tmp_path, files)


def test_a_library_in_a_wheel_that_is_called_pure_is_found(audit, native_provider: str, tmp_path: Path) -> None:
    library = (PACKAGE / "_native.so").read_bytes()
    files = {**PURE, "fastgan/_native.so": library, "fastgan/_build.json": b'{"native": true, "host": false}'}
    found = [line for line in findings(audit, tmp_path, files) if "holds the path" not in line]
    assert found == [f"{NAME} holds 1 libraries, which its name denies"]


def test_the_libraries_that_were_built_here_link_what_they_may(audit, native_provider: str, host) -> None:
    for path in (PACKAGE / "_native.so", Path(host.__file__)):
        assert audit.library_findings(path.name, path.read_bytes()) == []


def test_a_link_a_search_path_and_a_version_too_many_are_found(audit, native_provider: str) -> None:
    data = (PACKAGE / "_native.so").read_bytes()
    other = data.replace(b"libm.so.6\0", b"libz.so.1\0")
    assert audit.library_findings("_native.so", other) == ["_native.so links libz.so.1, which it may not"]
    newer = data.replace(b"GLIBC_2.14\0", b"GLIBC_2.99\0")
    assert audit.library_findings("_native.so", newer) == ["_native.so needs GLIBC_2.99, newer than 2.36"]
    found = audit.library_findings("_host.so", data)
    assert found == [
        f"_host.so links {name}, which it may not" for name in ("libgomp.so.1", "libtorch.so", "libtorch_cpu.so")
    ]
    torch_library = (Path(torch.__file__).parent / "lib/libtorch_global_deps.so").read_bytes()
    assert audit.inspect(torch_library).search_path == ("$ORIGIN",)
    absolute = audit.library_findings("_native.so", torch_library.replace(b"$ORIGIN\0", b"/ORIGIN\0"))
    assert "_native.so searches /ORIGIN" in absolute


def test_one_openmp_serves_torch_and_the_operators(native_provider: str) -> None:
    """A second libgomp would have its own threads."""
    maps = Path("/proc/self/maps").read_text().split()
    loaded = {Path(word) for word in maps if Path(word).name.startswith("libgomp")}
    assert loaded == {path.resolve() for path in loaded} and len(loaded) == 1
    assert next(iter(loaded)).parent == Path(torch.__file__).parent / "lib"


def test_the_record_of_this_build_names_what_it_built(native_provider: str, host) -> None:
    record = json.loads((PACKAGE / "_build.json").read_text())
    assert record["native"] is True and record["host"] is True and record["reason"] is None
