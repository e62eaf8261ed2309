from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fastgan.cli import doctor, installation
from fastgan.cli.main import main
from fastgan.ops import gpu_images, native, providers
from fastgan.ops.operator import OPERATORS, Operator


def diagnosis(capsys: pytest.CaptureFixture[str], status: int) -> dict:
    assert main(["doctor", "--json"]) == status
    return json.loads(capsys.readouterr().out)


def test_this_machine_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    found = diagnosis(capsys, 0)
    assert found["healthy"] and found["problems"] == []
    assert found["machine"]["compiler"] == installation.compiler()
    assert found["versions"]["torch"] == torch.__version__
    assert found["machine"]["torch_threads"] == torch.get_num_threads()
    assert found["native"]["loaded"] is (native.unavailable is None)
    assert found["data"]["images"] > 1800
    assert {(row["op"], row["device"]) for row in found["operators"]} == {
        (op, device) for op in OPERATORS for device in ("cpu", "cuda")
    }
    for row in found["operators"]:
        assert row["serves"] or row["reason"], row
    defaults = [(row["op"], row["device"], row["dtype"]) for row in found["operators"] if row["default"]]
    assert len(defaults) == len(set(defaults)) == len(OPERATORS) * 2 * 4


def test_the_tables_hold_the_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "nothing is broken" in text and torch.__version__ in text
    for row in providers.report():
        assert row.reason in text


H100 = {
    "name": "NVIDIA H100",
    "capability": (9, 0),
    "multiprocessors": 132,
    "clock_khz": 1_980_000,
    "memory_clock_khz": 2_619_000,
    "memory_bus_bits": 5120,
    "memory_bytes_per_second": 3.35232e12,
    "memory_bytes": 80 * 2**30,
    "l2_bytes": 50 * 2**20,
    "shared_bytes_per_block_optin": 227 * 1024,
    "shared_bytes_per_multiprocessor": 228 * 1024,
    "registers_per_multiprocessor": 65536,
    "driver": 13000,
}


def host_with(monkeypatch: pytest.MonkeyPatch, cuda_devices: Callable[[], list[dict]] | None) -> None:
    """A fastgan._host with this cuda_devices; None is a build before it had one."""
    module: Any = types.ModuleType("fastgan._host")
    if cuda_devices is not None:
        module.cuda_devices = cuda_devices
    monkeypatch.setitem(sys.modules, "fastgan._host", module)


def test_devices_are_described(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    host_with(monkeypatch, lambda: [H100])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert main(["doctor"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    words = "NVIDIA H100 (sm_90, 80.0 GiB at 3352 GB/s by clock and bus width, 132 SMs at 1980 MHz, L2 50 MiB, "
    words += "shared 227 KiB a block, 228 an SM, 65536 registers an SM, driver for CUDA 13.0)"
    assert words in text and "not used: this torch is built without CUDA" in text
    assert diagnosis(capsys, 0)["machine"]["cuda_devices"] == [json.loads(json.dumps(H100))]


@pytest.mark.parametrize(
    ("capability", "driver", "words"),
    [
        ((9, 0), (13, 0), "NVIDIA H100: SASS sm_90a; built with CUDA 13.0, driver for CUDA 13.0"),
        ((11, 0), (13, 1), "PTX compute_80, which the driver compiles at first use; built with CUDA 13.0"),
        ((9, 0), None, "SASS sm_90a; built with CUDA 13.0, driver not known"),
        ((7, 5), (13, 0), "NVIDIA H100: none: NVIDIA H100 has compute capability 7.5, and the native library is built"),
        (
            (9, 0),
            (12, 8),
            "NVIDIA H100: none: the driver is for CUDA 12.8, and the native library was built with CUDA 13",
        ),
    ],
)
def test_the_image_that_serves_a_device_is_named(
    capability: tuple[int, int],
    driver: tuple[int, int] | None,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    host_with(monkeypatch, lambda: [{**H100, "capability": capability}])
    monkeypatch.setattr(gpu_images, "driver_version", lambda: driver)
    built = {"cuda": "80 90a-real 100-real 120-real", "cuda_compiler": "nvcc 13.0.88"}
    monkeypatch.setattr(native, "info", {**native.info, **built})
    assert main(["doctor"]) == 0
    assert words in " ".join(capsys.readouterr().out.split())


def test_why_there_are_no_devices(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def none() -> list[dict]:
        raise RuntimeError("this machine has no CUDA driver")

    host_with(monkeypatch, none)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    why = "torch sees no CUDA device or driver; this machine has no CUDA driver"
    assert diagnosis(capsys, 0)["machine"]["no_cuda_because"] == why
    host_with(monkeypatch, None)
    assert diagnosis(capsys, 0)["machine"]["no_cuda_because"] == why.split(";")[0]


def test_the_host_library_tells_the_devices_or_why_there_are_none(host) -> None:
    if torch.cuda.is_available():
        assert [device["name"] for device in host.cuda_devices()] == [
            torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())
        ]
    else:
        with pytest.raises(RuntimeError, match="this machine has no CUDA driver|lists no device|without the CUDA"):
            host.cuda_devices()


@pytest.fixture
def not_loading(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A package whose native library is there and does not load."""
    (tmp_path / "_native.so").touch()
    monkeypatch.setattr(installation, "PACKAGE", tmp_path)
    monkeypatch.setattr(native, "unavailable", "the native library does not load: undefined symbol: aoti_x")
    return tmp_path


def test_a_library_that_was_built_and_does_not_load_is_broken(
    capsys: pytest.CaptureFixture[str], not_loading: Path
) -> None:
    found = diagnosis(capsys, 1)
    (problem,) = found["problems"]
    assert problem.startswith("the native library does not load: undefined symbol: aoti_x; to mend that: ")
    assert found["native"]["state"] == "does not load"


def test_without_the_native_library_it_says_why_and_stays_healthy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, not_loading: Path
) -> None:
    (not_loading / "_native.so").unlink()
    monkeypatch.setattr(native, "unavailable", "the native library was not built: no C++ compiler was found")
    monkeypatch.setattr(native, "build_record", lambda: {"reason": "no C++ compiler was found", "remedy": "get one"})
    assert main(["doctor"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "native library not built" in text and "slower than it could be" in text
    assert "was not built: no C++ compiler was found; to mend that: get one; then: " in text


def test_an_unknown_provider_in_the_environment_is_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTGAN_PROVIDER", "natve")
    monkeypatch.setattr(providers._named, "default", "natve")
    found = diagnosis(capsys, 1)
    assert found["problems"] == ["FASTGAN_PROVIDER must be one of native, triton, reference; got 'natve': unset it"]


@pytest.mark.parametrize("op", OPERATORS)
def test_an_operator_that_computes_something_else_is_broken(
    op: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    right, calls = OPERATORS[op], iter([1.0, 0.0])
    off = Operator(op, lambda: right.example() + next(calls))
    monkeypatch.setitem(OPERATORS, op, off)
    found = diagnosis(capsys, 1)
    assert found["problems"] == [f"{op} on the CPU differs from its reference by 1: do not train with it"]


def test_missing_images_are_broken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(doctor.PACKAGED, "emoji64", tmp_path / "emoji64.zip")
    found = diagnosis(capsys, 1)
    assert len(found["problems"]) == 1 and "emoji64.zip cannot be read" in found["problems"][0]


def test_a_missing_required_library_is_broken_and_an_optional_one_is_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = ["torch>=2.11", "no-such-library>=3", "no-such-extra>=1; extra == 'video'"]
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: wanted)
    found = diagnosis(capsys, 1)
    assert found["problems"] == [
        "the library no-such-library>=3 is required and not installed: pip install 'no-such-library>=3'"
    ]
    assert [(row["extra"], row["installed"]) for row in found["libraries"]] == [
        (None, torch.__version__),
        (None, None),
        ("video", None),
    ]


def test_kernels_are_summed_up_or_the_reason_is_told(monkeypatch):
    from fastgan.cli import devices

    kernels = [{"name": "a", "registers": 32, "local_bytes": 0}, {"name": "b", "registers": 64, "local_bytes": 8}]
    monkeypatch.setattr(native, "kernel_resources", lambda: kernels)
    assert devices.kernels_in_words() == "2, of up to 64 registers a thread; spilling: b"
    monkeypatch.undo()
    if not torch.cuda.is_available():
        assert devices.kernels_in_words().startswith("not loaded: ")
